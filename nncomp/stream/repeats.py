"""Finds long repeats in a stream, however far back, and takes them out as copies; what is left is the literals.

One pass, piece by piece. Where a sample (`nncomp/stream/samples.py`) was seen before, the bytes themselves are compared, forwards
and backwards: no hash decides what is a copy. A copy must pay. Within a block mixing predicts a repeat well, so only a long one
is taken out there (docs/log/copies.md). A reader needs none of this: it copies what the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.compressed_already import looks_random
from nncomp.blocks.primers import MAX_PRIMED_BYTES, PRIMER
from nncomp.format.copies import Copy
from nncomp.format.frames import Readable
from nncomp.format.numbers import BLOCK_BYTES, MAX_COPIES, MAX_RAW_BYTES
from nncomp.format.payloads import primer_bytes
from nncomp.stream.assembly import content_hash
from nncomp.stream.history import History
from nncomp.stream.reference import Reference
from nncomp.stream.samples import HASHED_BYTES, SampleTable, samples

_PIECE_BYTES = 1 << 16  # searched at a time; its hashes stay in a near cache
_READ_BYTES = 1 << 20
_NEAR_BYTES = 14 << 18  # mixing may still know what is within so many literals, if the block has so many
_LEAST_NEAR, _LEAST_FAR = 1024, 128  # bytes of a copy that pays
_SAME = 8  # a near repeat is looked at where so many samples in a row lie as far apart as their first occurrences
_RANDOM_BYTES = 1 << 20  # so many random bytes in a row have blocks of their own, which are stored without a try
_PERIOD_BYTES = 4096  # the longest period that is looked for where a piece begins
_FIRST_STEP, _LAST_STEP = 64, 1 << 16  # bytes compared at a time


@dataclass(frozen=True)
class Cut:
    """What becomes a block: literals, and the copies between them."""

    literals: bytes = field(repr=False)
    copies: tuple[Copy, ...]
    content: bytes | None = None  # with the last cut: the checksum of all bytes
    has_reference: bool = False  # some of the copies are of the reference

    @property
    def is_last(self) -> bool:
        return self.content is not None

    @property
    def raw_bytes(self) -> int:
        return len(self.literals) + sum(copy.length for copy in self.copies)


def cuts(
    source: Readable, window_bytes: int, reference: Reference | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[Cut]:
    """Yield what becomes each block of a stream; nothing in gives one empty block."""
    finder = RepeatFinder(window_bytes, reference, block_bytes)
    while data := source.read(min(_READ_BYTES, block_bytes)):  # a slow pipe gives a block as soon as it can
        yield from finder.take(data)
    yield from finder.finish()


@dataclass
class _Taken:
    """A copy that was found: so many literals of the cut are before it; it begins so far back in the literals."""

    place: int
    length: int
    distance: int


@dataclass
class _Kept:
    """Literals of a piece, from `first` up to `last`, and the place of the first one."""

    first: int
    last: int
    place: int


class RepeatFinder:
    """Takes a stream in parts and gives cuts. A copy reaches at most `window_bytes` back in the literals.

    Before the first literal stands the reference, if there is one: its places are negative. A copy of it ends where it ends.
    A cut has `block_bytes` literals, and the last one less than half as many again. It has fewer where random bytes begin or end.
    """

    def __init__(self, window_bytes: int, reference: Reference | None = None, block_bytes: int = BLOCK_BYTES) -> None:
        self._window_bytes, self._block_bytes = window_bytes, block_bytes
        self._near_bytes = min(_NEAR_BYTES, block_bytes)
        self._reference = reference
        self._first = -reference.size if reference else 0  # the first place there is
        self._history = History(window_bytes)  # the literals of the cuts that were given
        self._literals = bytearray()  # those since, and the copies between them
        self._copies: list[_Taken] = []
        self._copied_bytes = 0
        self._table = reference.sample_table() if reference else SampleTable()
        self._content = content_hash()
        self._held = bytearray()  # less than a piece
        self._context = b""  # before the next piece
        self._goes_on = False  # the last copy reaches to the next piece
        self._random: int | None = None  # from this one of the literals on they look random

    def take(self, data: bytes | bytearray | memoryview) -> Iterator[Cut]:
        """Take a part of the stream; yield the cuts that it completes."""
        self._held += data
        self._content.update(data)
        done = 0
        while len(self._held) - done >= _PIECE_BYTES:
            yield from self._add(bytes(self._held[done : done + _PIECE_BYTES]))
            done += _PIECE_BYTES
        del self._held[:done]

    def finish(self) -> Iterator[Cut]:
        """Yield the last cuts. Raises DataError if the reference was written in the meantime."""
        if self._reference:
            self._reference.check_unchanged()
        if self._held:
            yield from self._add(bytes(self._held))
            self._held.clear()
        yield self._cut(len(self._literals), self._content.digest())
        self._history.close()

    @property
    def _end(self) -> int:
        """The place after the last literal."""
        return self._history.end + len(self._literals)

    def _add(self, piece: bytes) -> Iterator[Cut]:
        """Take a piece, which is not empty; yield the cuts that are complete. Something is left for the last cut."""
        raw_bytes = len(self._literals) + self._copied_bytes
        if raw_bytes > MAX_RAW_BYTES - _PIECE_BYTES or len(self._copies) > MAX_COPIES - _PIECE_BYTES // HASHED_BYTES:
            yield self._cut(len(self._literals))
        kept = len(self._literals)
        self._search(piece)
        yield from self._part(looks_random(piece), min(kept, len(self._literals)))
        while 2 * len(self._literals) >= 3 * self._block_bytes:
            yield self._cut(self._block_bytes)

    def _part(self, is_random: bool, first: int) -> Iterator[Cut]:
        """Yield what is before random bytes once there are enough of them, and the random bytes where they end.

        The literals of the last piece begin at `first`; `is_random` says how the piece looks.
        """
        if first == len(self._literals):
            return  # all of the piece was copied
        if not is_random:
            if self._random == 0 and first >= _RANDOM_BYTES:
                yield self._cut(first)
            self._random = None
            return
        self._random = min(first if self._random is None else self._random, len(self._literals))
        if self._random and len(self._literals) - self._random >= _RANDOM_BYTES:
            yield self._cut(self._random)

    def _cut(self, count: int, content: bytes | None = None) -> Cut:
        """Give the next `count` literals, and the copies before, between and after them."""
        literals = bytes(self._literals[:count])
        inside = [copy for copy in self._copies if copy.place <= count]
        befores = [0, *(copy.place for copy in inside)]
        copies = tuple(Copy(c.place - before, c.length, c.distance) for c, before in zip(inside, befores, strict=False))
        has_reference = any(self._history.end + copy.place < copy.distance for copy in inside)
        self._history.append(literals)
        del self._literals[:count]
        self._copies = self._copies[len(inside) :]
        for copy in self._copies:
            copy.place -= count
        self._copied_bytes -= sum(copy.length for copy in copies)
        self._random = self._random and max(0, self._random - count)
        self._goes_on = self._goes_on and bool(self._copies)
        return Cut(literals, copies, content, has_reference)

    def _search(self, piece: bytes) -> None:
        """Divide a piece into literals and copies."""
        done = self._go_on(piece) if self._goes_on else 0
        ends, checks = samples(self._context, piece)
        self._context = (self._context + piece)[-HASHED_BYTES + 1 :]
        kept: list[_Kept] = []  # the literals of this piece
        failed_apart = failed_end = 0  # no copy there, for this distance
        for end, source in self._hits(piece, ends, checks):
            if end <= done or (end - source == failed_apart and end <= failed_end) or source >= self._end + end - done:
                continue
            self._keep(piece, done, end, kept)
            length, is_taken = self._try(piece, end, source)
            done = end
            if is_taken:
                done += length
            else:
                failed_apart, failed_end = end - source, end + length
        self._keep(piece, done, len(piece), kept)
        self._goes_on = bool(self._copies) and self._copies[-1].place == len(self._literals) and done == len(piece)
        for each in kept:
            inside = (ends > each.first) & (ends <= each.last)
            self._table.insert(checks[inside], ends[inside] - each.first + each.place)

    def _keep(self, piece: bytes, first: int, last: int, kept: list[_Kept]) -> None:
        """Add a part of the piece to the literals."""
        if kept and kept[-1].last == first and kept[-1].place + first - kept[-1].first == self._end:
            kept[-1].last = last
        else:
            kept.append(_Kept(first, last, self._end))
        self._literals += piece[first:last]

    def _hits(self, piece: bytes, ends: NDArray[np.int64], checks: NDArray[np.uint32]) -> list[tuple[int, int]]:
        """Return where text that was seen before ends, in the piece and where seen; of near text only likely repeats."""
        sources = self._table.find(checks)
        ends, sources = ends[sources >= 0], sources[sources >= 0]
        sources += (self._end - sources) >> 32 << 32  # known modulo 2**32
        apart = ends - sources
        is_likely = np.zeros(len(ends), np.bool_)
        is_likely[:-_SAME] = apart[:-_SAME] == apart[_SAME:]
        distances = self._end - sources
        is_likely |= distances >= self._near_bytes
        is_likely &= (distances < self._window_bytes - _PIECE_BYTES) & (sources > 0)
        is_likely |= (sources <= 0) & (sources > self._first)
        hits = list(zip(ends[is_likely].tolist(), sources[is_likely].tolist(), strict=True))
        last = self._literals[-_PERIOD_BYTES:].rfind(piece[:HASHED_BYTES])
        if last >= 0 and len(piece) >= HASHED_BYTES:  # a short period may have no sample
            hits.insert(0, (HASHED_BYTES, self._end - min(len(self._literals), _PERIOD_BYTES) + last + HASHED_BYTES))
        return hits

    def _try(self, piece: bytes, end: int, source: int) -> tuple[int, bool]:
        """Take out the repeat around a sample if it pays; return how many bytes after `end` it has, and whether it was taken.

        The literals go up to `end`. The sample was seen before in the literals or the reference, and ended at `source`.
        """
        distance = self._end - source
        after = self._equal_after(piece[end:], source, distance)
        before = self._equal_before(source)
        if before + after < (_LEAST_NEAR if self._is_near(source) else _LEAST_FAR):
            return after, False
        del self._literals[len(self._literals) - before :]
        self._copies.append(_Taken(len(self._literals), before + after, distance))
        self._copied_bytes += before + after
        return after, True

    def _is_near(self, source: int) -> bool:
        """Return whether mixing may know the text at `source` where it comes again: in the same block, or from the primer."""
        if source > 0:
            return self._end - source < self._near_bytes
        return source > -primer_bytes(PRIMER) and self._end < MAX_PRIMED_BYTES

    def _equal_after(self, data: bytes, source: int, distance: int) -> int:
        """Return how many bytes of `data` are the literals from `source` on, `distance` of them again and again.

        Those of the reference are not followed by literals.
        """
        count, step, once = 0, _FIRST_STEP, min(distance, len(data))
        if source <= 0 and self._reference:
            data = data[: min(once, -source)]
            once = len(data)
        while count < once:
            seen = self._read(source + count, min(step, once - count))
            here = data[count : count + len(seen)]
            if seen != here:
                return count + _equal(seen, here)
            count += len(seen)
            step = min(4 * step, _LAST_STEP)
        return count + _equal(data[count:], data[: len(data) - count])

    def _equal_before(self, source: int) -> int:
        """Return how many of the last literals since the last copy are those before `source`."""
        most = min(len(self._literals) - (self._copies[-1].place if self._copies else 0), self._reach(source))
        count, step = 0, _FIRST_STEP
        while count < most:
            beyond = source - count - self._history.end  # not past the end of given cuts in one step
            step = min(step, most - count, beyond if beyond > 0 else step)
            seen = self._read(source - count - step, step)
            stop = len(self._literals) - count
            here = bytes(self._literals[stop - step : stop])
            if seen != here:
                return count + _equal(seen[::-1], here[::-1])
            count += step
            step = min(4 * step, _LAST_STEP)
        return count

    def _reach(self, source: int) -> int:
        """Return how many bytes before `source` are still kept, of the reference or of the literals."""
        if source <= 0:
            return source - self._first
        return source - max(0, self._history.end - self._window_bytes)

    def _go_on(self, piece: bytes) -> int:
        """Let the last copy take what it can of the next piece; return how many bytes."""
        copy = self._copies[-1]
        begin = self._end - copy.distance
        phase = copy.length % copy.distance if begin >= 0 else copy.length
        first = self._equal_after(piece[: copy.distance - phase], begin + phase, copy.distance - phase)
        count = first
        if first == copy.distance - phase and begin >= 0:
            count += self._equal_after(piece[first:], begin, copy.distance)
        copy.length += count
        self._copied_bytes += count
        return count

    def _read(self, place: int, count: int) -> bytes:
        """Return literals of given cuts, or of those since, or bytes of the reference, at most as far as each goes."""
        sealed = self._history.end
        if place < 0:
            assert self._reference
            return self._reference.read(place - self._first, min(count, -place))
        if place >= sealed:
            return bytes(self._literals[place - sealed : place - sealed + count])
        return self._history.read(place, min(count, sealed - place))


def _equal(one: bytes, other: bytes) -> int:
    """Return how many first bytes are the same."""
    differs = np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)
    return int(differs.argmax()) if differs.any() else len(one)
