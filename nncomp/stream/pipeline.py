"""A stream of raw bytes to a stream of blocks and back, one block at a time or several in worker processes.

The bytes that come out are the same for any number of workers: blocks are independent and their order is kept.
Knows streams, blocks and models; nothing of file names or terminals.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from nncomp.blocks.memory import Memory
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, FrameBlock, FrameWriter, ModelReference, Readable, Writable
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream.assembly import Assembly
from nncomp.stream.tasks import Coding, DecodeTask, Encoded, EncodeTask, FindModel, decode_task, reference_of
from nncomp.stream.workers import Progress, run_in_order, with_parts


@dataclass
class Summary:
    """What a stream came to: sizes in bytes, surprisal in bits (0 when decoding), blocks of each kind."""

    raw_bytes: int = 0
    packed_bytes: int = 0
    cost_bits: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)


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
    begun = with_parts(progress, lambda: summary.raw_bytes)
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
        self._summary.kinds[BlockKind(block.kind).label] += 1


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
            task = decode_task(found.block, found.head, find_model, threads_of(found.block.is_last, workers), memory)
            found_blocks.append(found)
            yield task

    progress = _only_forward(progress)
    begun = with_parts(progress, lambda: summary.packed_bytes)
    for decoded in run_in_order(tasks(), DecodeTask.run, workers, begun):
        found = found_blocks.popleft()
        for part in assembly.add(found.frame, found.head, *decoded):
            summary.raw_bytes += sink.write(part)
        summary.packed_bytes = found.end
        summary.kinds[BlockKind(found.block.kind).label] += 1
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


def _only_forward(progress: Progress | None) -> Progress | None:
    """Return `progress` without what would go back: blocks may be done in another order than they come out in."""
    most = 0

    def tell(done_bytes: int) -> None:
        nonlocal most
        if progress and done_bytes >= most:
            most = done_bytes
            progress(done_bytes)

    return tell if progress else None
