"""What a .nnc file says of itself: sizes, kinds of block, models. Nothing is decoded."""

from __future__ import annotations

import builtins
import io
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from nncomp.api.file_objects import FileName
from nncomp.errors import FormatError
from nncomp.format.frame_reader import ByteSource, read_headers
from nncomp.format.frames import Block, Readable
from nncomp.format.numbers import MODEL_IDS, BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.stream.patience import PatientReader


@dataclass
class Info:
    """One file: sizes in bytes, blocks of each kind, models by name and hash, blocks with a code, references by hash."""

    file: str
    frames: int = 0
    blocks: dict[str, int] = field(default_factory=dict)
    raw_bytes: int = 0
    packed_bytes: int = 0
    models: list[str] = field(default_factory=list)
    payload_bytes: int = 0
    codes: int = 0
    references: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Raw bytes for each packed byte; 0 for a file of nothing at all."""
        return self.raw_bytes / self.packed_bytes if self.packed_bytes else 0.0

    @property
    def bits_per_byte(self) -> float | None:
        """Bits of the file for each byte of the content, None for an empty content."""
        return 8 * self.packed_bytes / self.raw_bytes if self.raw_bytes else None

    @property
    def payload_bits_per_byte(self) -> float | None:
        """Bits of the payloads for each byte of the content, None for an empty content."""
        return 8 * self.payload_bytes / self.raw_bytes if self.raw_bytes else None


def info(file: FileName) -> Info:
    """Return what `nncomp list` shows of a .nnc file, given by name or as a binary file object. Nothing is decoded.

    A given file object is read from its position to its end, and stays open. Raises FormatError if the file is not laid out as a
    .nnc file, OSError if it cannot be opened.

    >>> import io, nncomp
    >>> found = nncomp.info(io.BytesIO(nncomp.compress(b"one, " * 100, model=None)))
    >>> found.raw_bytes, found.blocks, found.models
    (500, {'bytes': 1}, [])
    """
    with ExitStack() as stack:
        if isinstance(file, (str, bytes, os.PathLike)):
            opened: Any = stack.enter_context(builtins.open(file, "rb"))  # noqa: PTH123 (a name may be bytes)
            name = os.fsdecode(file)
        else:
            opened, name = file, str(getattr(file, "name", ""))
        source = opened if isinstance(opened, io.BytesIO) else cast(BinaryIO, PatientReader(opened))
        return read_info(source, name)


def read_info(stream: Readable, name: str) -> Info:
    """Return what a stream says of itself; raises FormatError if it is not laid out as a .nnc file."""
    found, kinds = Info(name), Counter[str]()
    models: dict[str, None] = {}  # in order of appearance
    references: dict[str, None] = {}
    source = ByteSource(stream)
    for at in read_headers(source):
        head, header = at.head, at.header
        block = header.block(source.take(header.body_bytes))
        found.frames = at.frame + 1
        found.raw_bytes += block.raw_bytes
        found.payload_bytes += header.body_bytes
        kinds[_kind_name(block)] += 1
        found.codes += _has_code(block)
        if head.model:
            models[f"{_model_name(head.model.model_id)} {head.model.content_hash.hex()}"] = None
        if head.reference:
            references[head.reference.hex()] = None
    found.packed_bytes = source.position
    found.blocks, found.models, found.references = dict(kinds), list(models), list(references)
    return found


def _has_code(block: Block) -> bool:
    """Return whether a block has a code, a byte of its payload's head; a damaged head has none."""
    try:
        return block.kind == BlockKind.TOKENS and TokensHead.parse(block.payload).code != 0
    except FormatError:
        return False


def _kind_name(block: Block) -> str:
    try:
        return BlockKind(block.kind).label
    except ValueError:
        return f"kind {block.kind}"


def _model_name(model_id: int) -> str:
    return next((name for name, known in MODEL_IDS.items() if known == model_id), "own")
