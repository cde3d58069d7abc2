"""The checkpoint of a run: one file with the network, the optimiser and the place in the text.

Knows nothing of how a network learns.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
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
        has_all = document.keys() >= _PARTS
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # of any kind: what torch, zipfile and pickle raise for other bytes is in no list
        raise no_checkpoint(path) from error
    if not has_all:
        raise no_checkpoint(path)
    result: dict[str, Any] = document
    return result


def no_checkpoint(path: Path) -> DataError:
    """Return the error for a file that holds something else."""
    return DataError(f"{path} is not a checkpoint of this version, or damaged; remove it to start anew, or give another --work.")
