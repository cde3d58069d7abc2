"""Small files, each compressed or decompressed whole by one task, so that many are at work in as many worker processes.

What comes out of a task is what the same file gives by itself. A task that fails gives nothing, and the file is then done by
itself, where its failure is told. Knows streams and models; nothing of the names of files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import NamedTuple

from nncomp.blocks.memory import Memory
from nncomp.errors import NncompError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import ModelReference
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream import pipeline
from nncomp.stream.pipeline import Coding, FindModel, Summary

MOST_BYTES = 1 << 20  # of a small file: a second or two of work
_MOST_CONTENT_BYTES = 4 << 20  # of what a small file holds


class Made(NamedTuple):
    """What a task made of a file, and its figures."""

    data: bytes
    summary: Summary


@dataclass(frozen=True)
class SmallFile:
    """A small file: `data` are its bytes."""

    data: bytes = field(repr=False)
    memory: Memory
    is_kept: bool = True  # what it becomes is returned, and not only the figures

    @property
    def raw_bytes(self) -> int:
        return len(self.data)

    @property
    def input_bytes(self) -> int:
        return len(self.data)

    def make(self, sink: io.BytesIO) -> Summary:
        raise NotImplementedError

    def run(self) -> Made | None:
        """Return what becomes of the file, or None where that fails."""
        sink = io.BytesIO()
        try:
            summary = self.make(sink)
        except NncompError:
            return None
        return Made(sink.getvalue() if self.is_kept else b"", summary)


@dataclass(frozen=True)
class CompressTask(SmallFile):
    """A small file to compress."""

    coding: Coding = field(default_factory=Coding)

    def make(self, sink: io.BytesIO) -> Summary:
        return pipeline.compress(io.BytesIO(self.data), sink, self.coding, 0, memory=self.memory)


@dataclass(frozen=True)
class DecompressTask(SmallFile):
    """A small .nnc file to decompress. `models` are those that its frames name."""

    models: dict[ModelReference, ModelFile] = field(default_factory=dict)

    def make(self, sink: io.BytesIO) -> Summary:
        return pipeline.decompress(io.BytesIO(self.data), sink, self.models.__getitem__, 0, memory=self.memory)


def decompress_task(data: bytes, find_model: FindModel, memory: Memory) -> DecompressTask | None:
    """Return the task for a .nnc file; None if it is none, if it claims a large content, or if a model is missing."""
    models: dict[ModelReference, ModelFile] = {}
    content_bytes = 0
    try:
        for found in read_blocks(io.BytesIO(data)):
            content_bytes += found.block.raw_bytes
            if content_bytes > _MOST_CONTENT_BYTES:
                return None
            if found.model and found.block.kind == BlockKind.TOKENS:
                models[found.model] = find_model(found.model)
    except NncompError:
        return None
    return DecompressTask(data, memory, models=models)
