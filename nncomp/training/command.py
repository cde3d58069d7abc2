"""How a command `python -m nncomp.training.NAME` ends: an error is one sentence on stderr, and exit status 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from nncomp.errors import NncompError


def run(main: Callable[[], None]) -> None:
    """Run a command to its end."""
    try:
        main()
    except NncompError as error:
        sys.exit(str(error))
    except OSError as error:  # a file that cannot be written
        sys.exit(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
