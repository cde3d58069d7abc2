"""A part of the content of a `.nnc` file, by decoding only the blocks that hold some of it.

Knows streams, blocks and models, as `nncomp/stream/pipeline.py` does; nothing of file names or terminals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from nncomp.blocks.memory import Memory
from nncomp.errors import DataError, FormatError
from nncomp.format.frames import Block, ModelReference, Writable, read_blocks
from nncomp.format.index import locate_blocks, read_block
from nncomp.stream.pipeline import DecodeTask, FindModel, needed_model
from nncomp.stream.workers import Progress, run_in_order

Range = tuple[int, int | None]  # from the first byte up to but without the last; None is the end of the content


def decompress_range(
    source: BinaryIO,
    sink: Writable,
    find_model: FindModel,
    workers: int,
    span: Range,
    progress: Progress | None = None,
    memory: Memory | None = None,
) -> int:
    """Write the bytes of a range of the content to `sink`; return how many there were.

    A range that ends behind the content ends with the content. In a `source` that cannot seek, the blocks before the range are
    read and not decoded. `progress` is told the bytes of payload that are done. Raises DataError when the content ends before
    the range begins, and what `pipeline.decompress` raises for the blocks that are decoded.
    """
    waiting: deque[tuple[int, DecodeTask]] = deque()  # tasks in work, and where their blocks begin
    count = done_bytes = 0
    memory, (start, end) = memory or Memory(), span

    def tasks() -> Iterator[DecodeTask]:
        for raw_start, block, named, is_alone in _blocks_within(source, start, end):
            task = DecodeTask(block, needed_model(block.kind, named, find_model), max(1, workers) if is_alone else 1)
            memory.check_decoding(block, task.model)
            waiting.append((raw_start, task))
            yield task

    begun = (lambda part_bytes: progress(done_bytes + part_bytes)) if progress else None
    for data in run_in_order(tasks(), DecodeTask.run, workers, begun):
        raw_start, task = waiting.popleft()
        done_bytes += task.input_bytes
        part = data[max(0, start - raw_start) : None if end is None else max(0, end - raw_start)]
        sink.write(part)
        count += len(part)
    return count


def _blocks_within(source: BinaryIO, start: int, end: int | None) -> Iterator[tuple[int, Block, ModelReference | None, bool]]:
    """Yield where each block begins that holds some of the range, the block, its frame's model, and whether it is alone."""
    if source.seekable():
        failure: list[FormatError] = []  # of what comes after the blocks that can be found; it is told after the bytes
        places = locate_blocks(source, failure)
        raw_end = places[-1].raw_end if places else 0
        if failure and start >= raw_end:
            raise failure[0]
        _check_start(start, raw_end)
        within = [place for place in places if place.raw_end > start and (end is None or place.raw_start < end)]
        for place in within:
            yield place.raw_start, read_block(source, place), place.model, len(within) == 1
        if failure and (end is None or end > raw_end):
            raise failure[0]
        return
    raw_start = 0
    for found in read_blocks(source):
        if end is not None and raw_start >= end:
            return
        if raw_start + found.block.raw_bytes > start:
            yield raw_start, found.block, found.model, False
        raw_start += found.block.raw_bytes
    _check_start(start, raw_start)


def _check_start(start: int, raw_bytes: int) -> None:
    if start > raw_bytes:
        raise DataError(f"The range begins at byte {start:,}, but there are {raw_bytes:,} bytes; give a smaller START.")
