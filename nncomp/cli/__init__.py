"""The command line: files, terminals, options, progress and exit codes. Knows nothing of tokens or probabilities."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with 0 (done), 1 (failed) or 2 (used wrongly)."""
    from nncomp.cli.failures import run

    run()
