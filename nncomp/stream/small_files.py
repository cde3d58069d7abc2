"""Small files, each compressed or decompressed whole, some of them in one task: many are at work in as many worker processes.

What a file becomes is what it becomes by itself. One that fails gives nothing, and is then done by itself, where its failure is
told. Knows streams and models; nothing of the names of files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from nncomp.blocks.memory import Memory
from nncomp.errors import NncompError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, ModelReference
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import Payload
from nncomp.machine.limits import open_files
from nncomp.network.registry import ModelFile
from nncomp.stream import pipeline
from nncomp.stream.pipeline import Summary
from nncomp.stream.tasks import Coding, FindModel, codec_of

MOST_BYTES = 1 << 20  # of a small file: a second or two of work
_MOST_CONTENT_BYTES = 4 << 20  # of what a small file holds
_BATCH_FILES, _BATCH_BYTES = 8, 1 << 19  # in a task, and of their contents: all of it is in memory, and the files are open
_OPEN_SHARE = 4  # of the files that the system lets a process open, one of so many may be of batches
_IN_HAND = 4  # blocks that are decoded in step: with more, their tables push each other out of the caches


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
    def content_bytes(self) -> int:
        """The bytes of the file, or of what it becomes: the raw ones."""
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
class Batch:
    """Small files that one task does. Some of their blocks are decoded first, together; then one file is done after another."""

    files: list[SmallFile] = field(repr=False)

    @property
    def input_bytes(self) -> int:
        return sum(len(file.data) for file in self.files)

    raw_bytes = input_bytes

    def run(self) -> list[Made | None]:
        """Return what becomes of each file, or None where that fails."""
        with _decoded_ahead([file for file in self.files if isinstance(file, DecompressTask)]):
            return [file.run() for file in self.files]


def batches(files: Iterable[SmallFile], left: Callable[[], int], workers: int) -> Iterator[Batch]:
    """Yield files in batches, in order; small ones where few files are `left`, so that each worker has some."""
    batch: list[SmallFile] = []
    most = min(_BATCH_FILES, open_files() // _OPEN_SHARE // (workers + 1))
    for file in files:
        batch.append(file)
        count = min(most, -(-left() // (2 * max(1, workers))))
        if len(batch) >= count or sum(each.content_bytes for each in batch) >= _BATCH_BYTES:
            yield Batch(batch)
            batch = []
    if batch:
        yield Batch(batch)


@dataclass(frozen=True)
class CompressTask(SmallFile):
    """A small file to compress."""

    coding: Coding = field(default_factory=Coding)

    def make(self, sink: io.BytesIO) -> Summary:
        return pipeline.compress(io.BytesIO(self.data), sink, self.coding, 0, memory=self.memory)


@dataclass(frozen=True)
class DecompressTask(SmallFile):
    """A small .nnc file to decompress. `models` are those that its frames name, `claimed_bytes` what they say they hold."""

    models: dict[ModelReference, ModelFile] = field(default_factory=dict)
    claimed_bytes: int = 0

    @property
    def content_bytes(self) -> int:
        return self.claimed_bytes

    def make(self, sink: io.BytesIO) -> Summary:
        return pipeline.decompress(io.BytesIO(self.data), sink, self.models.__getitem__, 0, memory=self.memory)


@contextmanager
def _decoded_ahead(files: list[DecompressTask]) -> Iterator[None]:
    """Have short blocks of several files decoded, in step, as far as that is possible and within the limit on memory.

    The codec of one model has them, and a process keeps one such codec: so it is done where all blocks are of one model.
    """
    blocks: dict[ModelFile, list[Block]] = {}
    for file in files if len(files) > 1 else []:
        with suppress(NncompError):
            for found in read_blocks(io.BytesIO(file.data)):
                if found.model and found.block.kind == BlockKind.TOKENS:
                    blocks.setdefault(file.models[found.model], []).append(found.block)
    if len(blocks) != 1:
        yield
        return
    ((model, some),) = blocks.items()
    codec, payloads = codec_of(model), [Payload(block.payload, block.literal_bytes) for block in some]
    with suppress(NncompError, MemoryError):  # then each file is decoded by itself
        codec.decode_ahead(payloads, files[0].memory.in_hand(some, model, _IN_HAND))
    try:
        yield
    finally:
        codec.forget()


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
    return DecompressTask(data, memory, models=models, claimed_bytes=content_bytes)
