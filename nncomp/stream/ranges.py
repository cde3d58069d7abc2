"""A part of the content of a `.nnc` file, by decoding only the blocks that hold some of it, and those that it is copied from.

A copy is of literals, never of another copy: so a block needs only what its own copies name. Knows streams, blocks and models, as
`nncomp/stream/pipeline.py` does; nothing of file names or terminals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from nncomp.blocks.codec import decode_list
from nncomp.blocks.memory import Memory
from nncomp.errors import DataError, FormatError
from nncomp.format.copies import parse_copies
from nncomp.format.frames import Writable
from nncomp.format.index import Place, locate_blocks, read_block
from nncomp.stream.assembly import Part, joined, pieces, put_together
from nncomp.stream.history import History
from nncomp.stream.pipeline import decompress
from nncomp.stream.reference import Reference, needed_reference
from nncomp.stream.tasks import Decoded, DecodeTask, FindModel, decode_task, reference_of
from nncomp.stream.workers import Progress, run_in_order, with_parts

Range = tuple[int, int | None]  # from the first byte up to but without the last; None is the end of the content


class Literals:
    """The literals of the blocks of a file that can seek: `decode` is asked for those that are not kept.

    Literals are kept in memory up to 16 MiB and then in a temporary file, as many as a window has. `reference` is that of
    the frames that name one.
    """

    def __init__(self, places: list[Place], decode: Callable[[Place], Decoded], reference: Reference | None = None) -> None:
        self.places, self._decode, self._reference = places, decode, reference
        self._kept: dict[int, int] = {}  # a block's number to where its literals are kept
        windows = [place.head.window_log2 for place in places]
        self._history = History(1 << max([*windows, 25]))  # a block has less than 32 MiB
        self._numbers = {place.offset: number for number, place in enumerate(places)}
        self._frames: dict[int, tuple[int, list[int]]] = {}  # the first block's number, and where the literals of each begin
        for number, place in enumerate(places):
            self._frames.setdefault(place.frame, (number, []))[1].append(place.literal_start)

    def keep(self, place: Place, literals: bytes) -> None:
        """Keep the literals of a block that is decoded."""
        self._kept[self._numbers[place.offset]] = self._history.end
        self._history.append(literals)

    def numbers(self, place: Place, first: int, last: int) -> range:
        """Return the numbers of the blocks, of the frame that `place` is of, that have the literals from `first` up to `last`."""
        number, starts = self._frames[place.frame]
        return range(number + bisect_right(starts, first) - 1, number + bisect_right(starts, last - 1))

    def read(self, place: Place, first: int, count: int) -> bytes:
        """Return literals of the frame that `place` is of."""
        number = self.numbers(place, first, first + 1)[0]
        block = self.places[number]
        count = min(count, block.literal_end - first)
        at = self._kept.get(number)
        if at is None or at < self._history.end - self._history.window_bytes:
            self.keep(block, self._decode(block).literals)
            at = self._kept[number]
        return self._history.read(at + first - block.literal_start, count)

    def raw(self, place: Place, decoded: Decoded, first: int = 0, last: int | None = None) -> Iterator[Part]:
        """Yield the raw bytes of a block, or those from `first` up to `last`."""
        earlier = _Before(self, place) if place.head.window_log2 else None
        return put_together(*decoded, earlier, first, last, needed_reference(place.head, self._reference))


@dataclass(frozen=True)
class _Before:
    """The literals of a frame before a block."""

    all: Literals
    place: Place

    @property
    def end(self) -> int:
        return self.place.literal_start

    @property
    def window_bytes(self) -> int:
        return 1 << self.place.head.window_log2

    def read(self, first: int, count: int) -> bytes:
        return self.all.read(self.place, first, count)


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

    A range that ends behind the content ends with the content. A `source` that cannot seek is decoded up to the end of the range.
    `progress` is told the bytes of payload that are done. Raises DataError when the content ends before the range begins, and
    what `pipeline.decompress` raises for the blocks that are decoded.
    """
    memory, (start, end) = memory or Memory(), span
    if not source.seekable():
        within = _Within(sink, start, end)
        summary = decompress(source, within, find_model, workers, progress, memory=memory)
        _check_start(start, summary.raw_bytes)
        return within.written_bytes
    failure: list[FormatError] = []  # of what comes after the blocks that can be found; it is told after the bytes
    places = locate_blocks(source, failure)
    raw_end = places[-1].raw_end if places else 0
    if failure and start >= raw_end:
        raise failure[0]
    _check_start(start, raw_end)
    is_beyond = end is None or end > raw_end
    end = raw_end if end is None else min(end, raw_end)
    literals = Literals(places, lambda place: task(place).run(), reference_of(find_model))
    needed, sources = _needed(source, literals, start, end)
    waiting: deque[tuple[Place, DecodeTask]] = deque()
    count = done_bytes = 0

    def task(place: Place, threads: int = 1) -> DecodeTask:
        return decode_task(read_block(source, place), place.head, find_model, threads, memory)

    def tasks() -> Iterator[DecodeTask]:
        for number in needed:
            waiting.append((places[number], task(places[number], max(1, workers) if len(needed) == 1 else 1)))
            yield waiting[-1][1]

    begun = with_parts(progress, lambda: done_bytes)
    for decoded in run_in_order(tasks(), DecodeTask.run, workers, begun):
        place, done = waiting.popleft()
        done_bytes += done.input_bytes
        if place.offset in sources:
            literals.keep(place, decoded.literals)
        first, last = max(0, start - place.raw_start), max(0, end - place.raw_start)
        for part in joined(literals.raw(place, decoded, first, last)):
            count += sink.write(part)
    if failure and is_beyond:
        raise failure[0]
    return count


def _needed(source: BinaryIO, literals: Literals, start: int, end: int) -> tuple[list[int], set[int]]:
    """Return the numbers of the blocks that a range needs, in order, and the offsets of those that it copies from."""
    places = literals.places
    within = [i for i, place in enumerate(places) if place.raw_end > start and place.raw_start < end]
    spans: set[tuple[int, int]] = set()
    for number in within:
        place = places[number]
        first, last = max(0, start - place.raw_start), min(place.raw_bytes, end - place.raw_start)
        for at, distance, begin, stop in _pieces_of(source, place, first, last):
            if distance:
                begin, stop = (0, distance) if stop > distance else (begin, stop)
                begins, ends = place.literal_start + at + begin, min(place.literal_start + at + stop, place.literal_start)
                if 0 <= begins < ends:
                    found = literals.numbers(place, begins, ends)
                    spans.add((found.start, found.stop))
    sources = {number for number in _within_spans(spans) if places[number].literal_bytes}
    return sorted({*within, *sources}), {places[number].offset for number in sources}


def _within_spans(spans: set[tuple[int, int]]) -> Iterator[int]:
    """Yield each number once that one of the spans has, for they may be many and the same."""
    done = 0
    for first, stop in sorted(spans):
        yield from range(max(first, done), stop)
        done = max(done, stop)


def _pieces_of(source: BinaryIO, place: Place, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """Return the pieces of a block; none of a damaged one, which raises when it is decoded, after the blocks before it."""
    try:
        block = read_block(source, place)
        if (copies := block.copies) is None:
            return iter(())
        listed = decode_list(copies.kind, copies.payload, copies.list_bytes)
        return pieces(parse_copies(listed, block.literal_bytes, copies.copied_bytes), block.literal_bytes, first, last)
    except FormatError:
        return iter(())


class _Within:
    """A sink that passes on a part of what it takes."""

    def __init__(self, sink: Writable, start: int, end: int | None) -> None:
        self._sink, self._start, self._end = sink, start, end
        self._position = self.written_bytes = 0

    def write(self, data: bytes) -> int:
        first, last = self._start - self._position, len(data) if self._end is None else self._end - self._position
        self.written_bytes += self._sink.write(data[max(0, first) : max(0, last)])
        self._position += len(data)
        return len(data)


def _check_start(start: int, raw_bytes: int) -> None:
    if start > raw_bytes:
        raise DataError(f"The range begins at byte {start:,}, but there are {raw_bytes:,} bytes; give a smaller START.")
