"""A stream of raw bytes to a stream of blocks and back, one block at a time or several in worker processes.

The bytes that come out are the same for any number of workers: blocks are independent and their order is kept.
Knows streams, blocks and models; nothing of file names or terminals.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nncomp.blocks.codec import Codec, decode_list, encode_list, verify_block
from nncomp.blocks.levels import USUAL, Effort
from nncomp.blocks.memory import Memory
from nncomp.blocks.primers import MAX_PRIMED_BYTES, PRIMER
from nncomp.errors import FormatError
from nncomp.format.copies import Copy, pack_copies, parse_copies
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import (
    Block,
    CopyList,
    FrameBlock,
    FrameHeader,
    FrameWriter,
    ModelReference,
    Readable,
    Writable,
    block_checksum,
)
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import asked_primer_bytes, primer_bytes
from nncomp.network.registry import ModelFile
from nncomp.stream.assembly import Assembly
from nncomp.stream.reference import Reference, needed_reference
from nncomp.stream.workers import Progress, run_in_order

if TYPE_CHECKING:
    from nncomp.stream.repeats import Cut

FindModel = Callable[[ModelReference], ModelFile]


@dataclass(frozen=True)
class Finder:
    """What finds the model of a frame (it is a FindModel), and has the reference of the frames that name one."""

    find_model: FindModel
    reference: Reference | None = None

    def __call__(self, named: ModelReference) -> ModelFile:
        return self.find_model(named)


def reference_of(find_model: FindModel) -> Reference | None:
    """Return the reference that a FindModel has; only a Finder has one."""
    return find_model.reference if isinstance(find_model, Finder) else None


@dataclass
class Summary:
    """What a stream came to: sizes in bytes, surprisal in bits (0 when decoding), blocks of each kind."""

    raw_bytes: int = 0
    packed_bytes: int = 0
    cost_bits: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)


class Encoded(NamedTuple):
    """A coded block, the surprisal of what was coded in bits, and with the last block the checksum of the content.

    `needs_reference`: it has copies of the reference, or begins with it.
    """

    block: Block
    cost_bits: float
    content: bytes | None
    needs_reference: bool = False


class Decoded(NamedTuple):
    """What a block holds: literals, and the copies between them."""

    literals: bytes
    copies: list[Copy]

    @property
    def raw_bytes(self) -> int:
        return len(self.literals) + sum(copy.length for copy in self.copies)


@dataclass(frozen=True)
class EncodeTask:
    """Literals and copies to code with a model's network, or with none, in so many threads; it may begin with a primer."""

    cut: Cut
    model: ModelFile | None
    threads: int = 1
    effort: Effort = USUAL
    primer: bytes = field(default=b"", repr=False)

    @property
    def raw_bytes(self) -> int:
        """The bytes that are coded."""
        return len(self.cut.literals)

    @property
    def input_bytes(self) -> int:
        return self.cut.raw_bytes

    def run(self) -> Encoded:
        cut = self.cut
        coded = codec_of(self.model, self.effort).encode_block(cut.literals, self.threads, self.primer)
        listed = pack_copies(cut.copies) if cut.copies else b""
        copies, list_bits = None, 0.0
        if listed:
            found = encode_list(listed)
            copies = CopyList(found.kind, cut.raw_bytes - len(cut.literals), len(listed), found.payload)
            list_bits = found.cost_bits
        checksum = block_checksum(listed, cut.literals)
        block = Block(int(coded.kind), len(cut.literals), coded.payload, checksum, cut.is_last, copies)
        needs_reference = cut.has_reference or asked_primer_bytes(block.kind, block.payload) > 0
        return Encoded(block, coded.cost_bits + list_bits, cut.content, needs_reference)


@dataclass(frozen=True)
class BlockTask:
    """A task about a block: its input is the payload."""

    block: Block

    @property
    def raw_bytes(self) -> int:
        return self.block.literal_bytes

    @property
    def input_bytes(self) -> int:
        return len(self.block.payload)


@dataclass(frozen=True)
class DecodeTask(BlockTask):
    """A block to decode and verify, in so many threads; `primer` is what it begins with."""

    model: ModelFile | None
    threads: int = 1
    primer: bytes = field(default=b"", repr=False)
    is_size_sure: bool = True  # of the copies: only a frame's index confirms what the header says of it

    def run(self) -> Decoded:
        block, copies = self.block, self.block.copies
        listed = decode_list(copies.kind, copies.payload, copies.list_bytes) if copies else b""
        codec = codec_of(self.model)
        literals = codec.decode_block(block.kind, block.payload, block.literal_bytes, self.threads, self.primer)
        verify_block(listed, literals, block.checksum)
        copied_bytes = copies.copied_bytes if copies and self.is_size_sure else None
        return Decoded(literals, parse_copies(listed, len(literals), copied_bytes) if copies else [])


def codec_of(model: ModelFile | None, effort: Effort = USUAL) -> Codec:
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
    """What a stream is coded with: a model or none, how much effort, and a reference that its readers have too."""

    model: ModelFile | None = None
    effort: Effort = USUAL
    reference: Reference | None = None

    def task(self, cut: Cut, threads: int = 1) -> EncodeTask:
        """Return the work on what becomes a block."""
        is_primed = self.reference is not None and len(cut.literals) <= MAX_PRIMED_BYTES
        primer = self.reference.tail(primer_bytes(PRIMER)) if self.reference and is_primed else b""
        return EncodeTask(cut, self.model, threads, self.effort, primer)


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
    from nncomp.stream.repeats import cuts

    memory, summary = memory or Memory(), Summary() if summary is None else summary
    assembly = FrameAssembly(sink, coding, summary)

    def tasks() -> Iterator[EncodeTask]:
        effort = coding.effort
        for cut in cuts(source, 1 << effort.window_log2, coding.reference, effort.block_bytes):
            memory.check_coding(len(cut.literals), coding.model, effort)
            yield coding.task(cut, threads_of(cut.is_last, workers))

    progress = _only_forward(progress)
    begun = _part(progress, lambda: summary.raw_bytes)
    for encoded in run_in_order(tasks(), EncodeTask.run, workers, begun):
        assembly.add(encoded)
        if progress:
            progress(summary.raw_bytes)
    return summary


class FrameAssembly:
    """Writes coded blocks, in order, as one frame; `summary` grows with each."""

    def __init__(self, sink: Writable, coding: Coding, summary: Summary) -> None:
        self._sink, self._coding, self._summary = sink, coding, summary
        self._writer: FrameWriter | None = None

    def add(self, encoded: Encoded) -> None:
        block, cost_bits, content, needs_reference = encoded
        assert block.raw_bytes or (block.is_last and self._writer is None)  # no reader takes an empty block among others
        if self._writer is None:
            model, reference = named_model(self._coding.model, block), self._coding.reference
            name = reference.name_bytes if reference and (needs_reference or not block.is_last) else b""
            self._writer = FrameWriter(self._sink, model, self._coding.effort.window_log2, name)
        self._writer.write(block, content or b"")
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
    NoReferenceError when the reference is, which a Finder has; MemoryLimitError when a block takes too much.
    """
    memory, summary = memory or Memory(), Summary() if summary is None else summary
    found_blocks: deque[FrameBlock] = deque()  # those in flight
    assembly = Assembly(reference_of(find_model))

    def tasks() -> Iterator[DecodeTask]:
        for found in read_blocks(source, assembly.expect):
            task = decode_task(found.block, found.head, find_model, threads_of(found.block.is_last, workers))
            memory.check_decoding(found.block, task.model)
            found_blocks.append(found)
            yield task

    progress = _only_forward(progress)
    begun = _part(progress, lambda: summary.packed_bytes)
    for decoded in run_in_order(tasks(), DecodeTask.run, workers, begun):
        found = found_blocks.popleft()
        for part in assembly.add(found.frame, found.head, *decoded):
            summary.raw_bytes += sink.write(part)
        summary.packed_bytes = found.end
        summary.kinds[BlockKind(found.block.kind).name.lower()] += 1
        if progress:
            progress(found.end)
    assembly.check()
    if reference := reference_of(find_model):
        reference.check_unchanged()
    return summary


def threads_of(is_last: bool, workers: int) -> int:
    """Return in how many threads a block is coded: one; all of them if it is the last, for the others come to have nothing to do.

    Until then it goes on in one (`nncomp.blocks.token_threads`).
    """
    return max(1, workers) if is_last else 1


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


def decode_task(block: Block, head: FrameHeader, find_model: FindModel, threads: int = 1) -> DecodeTask:
    """Return the work on a block of a frame with this header; raises ModelError and NoReferenceError for what is missing."""
    primer = needed_primer(block, needed_reference(head, reference_of(find_model)))
    return DecodeTask(block, needed_model(block.kind, head.model, find_model), threads, primer)


def needed_primer(block: Block, reference: Reference | None) -> bytes:
    """Return what a block begins with: of the reference of its frame, as much as the block asks for."""
    asked = asked_primer_bytes(block.kind, block.payload) if reference else 0
    return reference.tail(asked) if reference and asked else b""


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
