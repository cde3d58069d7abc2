"""A stream of raw bytes to a stream of blocks and back, one block at a time or several in worker processes.

The bytes that come out are the same for any number of workers: blocks are independent and their order is kept.
Knows streams, blocks and models; nothing of file names or terminals.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from nncomp.blocks.codec import Codec, verify_block
from nncomp.blocks.levels import USUAL, Effort
from nncomp.blocks.memory import Memory
from nncomp.errors import FormatError
from nncomp.format.frames import Block, FrameBlock, FrameWriter, ModelReference, Readable, Writable, checksum, read_blocks, split
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream.workers import Progress
from nncomp.stream.workers import run_in_order as run_in_order

FindModel = Callable[[ModelReference], ModelFile]


@dataclass
class Summary:
    """What a stream came to: sizes in bytes, surprisal in bits (0 when decoding), blocks of each kind."""

    raw_bytes: int = 0
    packed_bytes: int = 0
    cost_bits: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class EncodeTask:
    """Raw bytes to code with a model's network, or with none, in so many threads."""

    data: bytes = field(repr=False)
    is_last: bool
    model: ModelFile | None
    threads: int = 1
    effort: Effort = USUAL

    @property
    def raw_bytes(self) -> int:
        return len(self.data)

    @property
    def input_bytes(self) -> int:
        return len(self.data)

    def run(self) -> tuple[Block, float]:
        coded = _codec(self.model, self.effort).encode_block(self.data, self.threads)
        block = Block(int(coded.kind), len(self.data), coded.payload, checksum(self.data), self.is_last)
        return block, coded.cost_bits


@dataclass(frozen=True)
class BlockTask:
    """A task about a block: its input is the payload."""

    block: Block

    @property
    def raw_bytes(self) -> int:
        return self.block.raw_bytes

    @property
    def input_bytes(self) -> int:
        return len(self.block.payload)


@dataclass(frozen=True)
class DecodeTask(BlockTask):
    """A block to decode and verify, in so many threads."""

    model: ModelFile | None
    threads: int = 1

    def run(self) -> bytes:
        block = self.block
        data = _codec(self.model).decode_block(block.kind, block.payload, block.raw_bytes, self.threads)
        verify_block(data, block.checksum)
        return data


def _codec(model: ModelFile | None, effort: Effort = USUAL) -> Codec:
    """Return this process's codec: it keeps the model loaded from block to block, also if blocks between need none."""
    return _codec_with(model, effort) if model else _codec_without(effort)


@lru_cache(maxsize=1)
def _codec_with(model: ModelFile, effort: Effort) -> Codec:
    return Codec(model, effort)


@lru_cache(maxsize=1)
def _codec_without(effort: Effort) -> Codec:
    return Codec(None, effort)


@dataclass(frozen=True)
class Coding:
    """What a stream is coded with: a model or none, and how much effort."""

    model: ModelFile | None = None
    effort: Effort = USUAL


def compress(
    source: Readable,
    sink: Writable,
    coding: Coding,
    workers: int,
    progress: Progress | None = None,
    summary: Summary | None = None,
    memory: Memory | None = None,
) -> Summary:
    """Write one frame to `sink` that holds all that `source` gives; a `summary` that is given grows block by block.

    Raises MemoryLimitError when a block takes too much.
    """
    memory, summary = memory or Memory(), Summary() if summary is None else summary
    assembly = FrameAssembly(sink, coding.model, summary)

    def tasks() -> Iterator[EncodeTask]:
        for number, (data, is_last) in enumerate(split(source)):
            memory.check_coding(len(data), coding.model, coding.effort)
            # Threads are for a block that is alone; of several, each has a process.
            yield EncodeTask(data, is_last, coding.model, max(1, workers) if is_last and not number else 1, coding.effort)

    progress = _only_forward(progress)
    begun = _part(progress, lambda: summary.raw_bytes)
    for block, cost_bits in run_in_order(tasks(), EncodeTask.run, workers, begun):
        assembly.add(block, cost_bits)
        if progress:
            progress(summary.raw_bytes)
    return summary


class FrameAssembly:
    """Writes coded blocks, in order, as one frame; `summary` grows with each."""

    def __init__(self, sink: Writable, model: ModelFile | None, summary: Summary) -> None:
        self._sink, self._model, self._summary = sink, model, summary
        self._writer: FrameWriter | None = None

    def add(self, block: Block, cost_bits: float) -> None:
        if self._writer is None:
            self._writer = FrameWriter(self._sink, named_model(self._model, block))
        self._writer.write(block)
        self._summary.raw_bytes += block.raw_bytes
        self._summary.packed_bytes = self._writer.frame_bytes
        self._summary.cost_bits += cost_bits
        self._summary.kinds[BlockKind(block.kind).name.lower()] += 1


def decompress(
    source: Readable,
    sink: Writable,
    find_model: FindModel,
    workers: int,
    progress: Progress | None = None,
    summary: Summary | None = None,
    memory: Memory | None = None,
) -> Summary:
    """Write to `sink` what all frames of `source` hold, each block verified before it is written; `summary`: see `compress`.

    Raises FormatError for bytes that are not as a writer makes them, ModelError when a model that is needed is missing,
    MemoryLimitError when a block takes too much.
    """
    memory, summary = memory or Memory(), Summary() if summary is None else summary
    positions: deque[tuple[FrameBlock, int]] = deque()  # of the blocks in flight, and where each ends in the input

    def tasks() -> Iterator[DecodeTask]:
        is_first = True
        for found in read_blocks(source):
            is_alone, is_first = is_first and found.block.is_last, found.block.is_last
            model = needed_model(found.block.kind, found.model, find_model)
            memory.check_decoding(found.block, model)
            positions.append((found, found.offset + found.header_bytes + len(found.block.payload)))
            yield DecodeTask(found.block, model, max(1, workers) if is_alone else 1)

    progress = _only_forward(progress)
    begun = _part(progress, lambda: summary.packed_bytes)
    for data in run_in_order(tasks(), DecodeTask.run, workers, begun):
        found, end = positions.popleft()
        sink.write(data)
        summary.raw_bytes += len(data)
        summary.packed_bytes = end
        summary.kinds[BlockKind(found.block.kind).name.lower()] += 1
        if progress:
            progress(end)
    return summary


def named_model(model: ModelFile | None, first: Block) -> ModelReference | None:
    """Return which model the frame names that begins with this block: one block's only if it uses it.

    Of several blocks the later ones cannot be foreseen.
    """
    is_named = model is not None and (first.kind == BlockKind.TOKENS or not first.is_last)
    return ModelReference(model.model_id, model.hash8) if model and is_named else None


def needed_model(kind: int, named: ModelReference | None, find_model: FindModel) -> ModelFile | None:
    """Return the model that a block of this kind needs, if any, in a frame that names this one."""
    if kind != BlockKind.TOKENS:
        return None
    if named is None:
        raise FormatError("A block is coded with a network, but its frame names no model; the file is altered.")
    return find_model(named)


def _only_forward(progress: Progress | None) -> Progress | None:
    """Return `progress` without what would go back: blocks may be done in another order than they come out in."""
    most = 0

    def tell(done_bytes: int) -> None:
        nonlocal most
        if progress and done_bytes >= most:
            most = done_bytes
            progress(done_bytes)

    return tell if progress else None


def _part(progress: Progress | None, done_bytes: Callable[[], int]) -> Progress | None:
    """Return what tells `progress` the bytes of finished blocks and of the parts of others."""
    return (lambda part_bytes: progress(done_bytes() + part_bytes)) if progress else None
