"""The checkpoint of a run: one file with the network, the optimiser and the place in the text.

Knows nothing of how a network learns.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from nncomp.errors import DataError

_PARTS = {"config", "training", "progress", "mode", "network", "optimizer", "state", "random"}


def write_checkpoint(document: dict[str, Any], path: Path) -> None:
    """Write a checkpoint: complete under its name, or not at all. Raises DataError when the disk is full."""
    temporary = path.with_suffix(".part")
    try:
        torch.save(document, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
        raise DataError(f"The checkpoint {path} cannot be written: {error}. The previous checkpoint is kept.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the document of a checkpoint; raises DataError for one that is damaged or of another version."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        if not document.keys() >= _PARTS:
            raise ValueError("parts of it are missing")
    except (OSError, RuntimeError, ValueError, AttributeError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"{path} is not a checkpoint of this version ({error}); remove it to start anew, or give another --work."
        ) from error
    result: dict[str, Any] = document
    return result
