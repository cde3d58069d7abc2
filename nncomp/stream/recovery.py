"""What can be saved of a damaged `.nnc` file: each block that is verified. A damaged block costs its bytes and copies of them.

`nncomp/format/survey.py` finds where blocks are or should be. A block counts only when it is what its checksum says.
Knows streams, blocks and models, as `nncomp/stream/pipeline.py` does; nothing of file names or terminals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from nncomp.blocks.memory import Memory
from nncomp.errors import FormatError, MemoryLimitError, ModelError
from nncomp.format.frame_reader import TrailingError
from nncomp.format.frames import Writable
from nncomp.format.index import locate_blocks
from nncomp.format.payloads import HEAD_BYTES, asked_primer_bytes, may_begin
from nncomp.format.survey import Content, Found, Gap, Piece, Survey
from nncomp.network.registry import ModelFile
from nncomp.stream.assembly import AfterReference, Part, content_hash, piece_bytes, pieces
from nncomp.stream.history import History
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import BlockTask, Decoded, DecodeTask, FindModel, needed_model, needed_primer, reference_of
from nncomp.stream.workers import Progress, run_in_order, with_parts

_ZEROS = bytes(1 << 20)
_NO_HEADER = "Its header is damaged, or it is not there."
_NO_END = "The file ends there, or what follows is no part of it."
_NO_REST = "The rest of its frame is not there."  # and another frame follows
_NO_FRAME = "What is there in the file is no part of a frame, or it is damaged."
_NO_SOURCE = "It is a copy of bytes that are lost."
_NO_REFERENCE = "It is a copy of bytes that are lost, or of the reference, which is not given or not known."
_CONTENT = "It is no block."  # in place of a reason: nothing of it is to be decoded
_SHORT_BYTES = 4096  # a copy of fewer bytes again and again, some of them lost, is lost as a whole


@dataclass(frozen=True)
class Loss:
    """Bytes of the content that are lost, from `start` to `end` (None: nobody knows how many), and why."""

    start: int
    end: int | None
    why: str
    is_followed: bool = False  # of unknown size, and a block after it was saved
    is_sure: bool = True  # else of unknown size, perhaps of nothing


@dataclass
class Recovered:
    """What came of a recovery: what was verified and written, and what is lost."""

    kept_bytes: int = 0
    kept_blocks: int = 0
    lost: list[Loss] = field(default_factory=list)
    mixed: list[tuple[int, int]] = field(default_factory=list)  # of right blocks, but not those of the frame's checksum
    after: TrailingError | None = None  # nothing is lost, but bytes follow that are no part of it


@dataclass(frozen=True)
class RecoverTask(BlockTask):
    """A block to decode with the first of several models that gives what its checksum says."""

    models: tuple[ModelFile | None, ...]
    primer: bytes = b""

    def run(self) -> Decoded | str:
        """Return what the block holds, or the reason why nothing is known of it."""
        why = ""
        for model in self.models:
            try:
                return DecodeTask(self.block, model, primer=self.primer, is_size_sure=False).run()
            except (FormatError, ModelError) as error:
                why = why or str(error)
        return why


def recover(
    source: BinaryIO,
    sink: Writable,
    find_model: FindModel,
    others: list[ModelFile],
    workers: int,
    memory: Memory,
    progress: Progress | None = None,
) -> Recovered:
    """Write to `sink` every block of `source` (which can seek) that can be verified.

    Between them zeros stand for what is lost, so that the bytes after it keep their place; after the last nothing does.
    `others` are models to try where the one that a frame names is not found, for its name may be what is damaged. So the
    reference that `find_model` has is tried for the beginning of a block, but copies of it are only taken where its name is
    right: no checksum of a block tells of them. Raises MemoryLimitError; damage of any kind is in the result. What only may be
    a block is lost, not an error, where the limit is too low to tell.
    """
    search, output, done_bytes = _Search(source, find_model, others, memory), _Output(sink, reference_of(find_model)), 0
    begun = with_parts(progress, lambda: done_bytes)
    for result in run_in_order(search.tasks(), RecoverTask.run, workers, begun):
        while search.found[0][1]:
            output.pass_by(*search.found.popleft())
        piece, _ = search.found.popleft()
        assert isinstance(piece, Found)
        done_bytes += piece.header.payload_bytes
        if isinstance(result, str):
            output.lose(piece, result)
        else:
            output.keep(piece, result)
    while search.found:
        output.pass_by(*search.found.popleft())
    return _without_what_follows(source, output.result)


def _without_what_follows(source: BinaryIO, recovered: Recovered) -> Recovered:
    """Return what came of a recovery; bytes that follow a whole content are no loss."""
    if [(loss.start, loss.end) for loss in recovered.lost] in ([], [(recovered.kept_bytes, None)]):
        failure: list[FormatError] = []
        if len(locate_blocks(source, failure)) == recovered.kept_blocks and failure and isinstance(failure[0], TrailingError):
            recovered.lost, recovered.after = [], failure[0]
    return recovered


@dataclass
class _Search:
    """The pieces of a damaged file, and the tasks for those that may be blocks."""

    source: BinaryIO
    find_model: FindModel
    others: list[ModelFile]
    memory: Memory
    found: deque[tuple[Piece, str]] = field(default_factory=deque)  # in work, and why a piece is lost already
    _too_large: list[str] = field(default_factory=list)  # what might be a block since the last gap, and was not decoded to see

    def tasks(self) -> Iterator[RecoverTask]:
        """Yield the tasks in order; `found` has all pieces up to that of the last task."""
        for piece in Survey(self.source, self._is_right).pieces():
            task: RecoverTask | str = _CONTENT
            if isinstance(piece, Gap):
                why = _NO_END if piece.raw_bytes is None else _NO_HEADER
                task = self._too_large[-1] if self._too_large else why
                self._too_large.clear()
            elif isinstance(piece, Found):
                task = self._task_of(piece)
            self.found.append((piece, task if isinstance(task, str) else ""))
            if isinstance(task, RecoverTask):
                yield task

    def _task_of(self, found: Found) -> RecoverTask | str:
        """Return the task for a block, or why there is none; raises MemoryLimitError."""
        try:
            models: tuple[ModelFile | None, ...] = (needed_model(found.header.kind, found.head.model, self.find_model),)
        except (FormatError, ModelError) as error:
            if not self.others:
                return str(error)
            models = tuple(self.others)
        self.source.seek(found.body_offset)
        block, reference = found.header.block(self.source.read(found.header.body_bytes)), reference_of(self.find_model)
        if reference is None and found.head.reference and asked_primer_bytes(block.kind, block.payload):
            return "It begins with a reference, which is not given."
        for model in models:
            self.memory.check_decoding(block, model)
        return RecoverTask(block, models, needed_primer(block, reference if found.head.reference else None))

    def _is_right(self, found: Found) -> bool:
        """Return whether what may be a block is one."""
        header = found.header
        self.source.seek(found.body_offset + header.list_payload_bytes)
        if not may_begin(header.kind, self.source.read(HEAD_BYTES), header.payload_bytes):
            return False
        try:
            task = self._task_of(found)
        except MemoryLimitError as error:  # it may be no block at all
            self._too_large.append(str(error))
            return False
        return isinstance(task, RecoverTask) and isinstance(task.run(), Decoded)


class _Output:
    """Takes blocks and gaps in order: writes what is known, and zeros before it for what is not."""

    def __init__(self, sink: Writable, reference: Reference | None) -> None:
        self._sink = sink
        self._reference = reference
        self._position = self._zeros = 0
        self._frame: int | None = None
        self._excess = 0  # bytes that headers of the frame say more than their blocks have
        self._literals, self._is_placed = _Literals(), True
        self.result = Recovered()
        self._is_open = False  # the last block so far of the frame is not its last one
        self._followed = 0  # so many losses have a block after them that is saved
        self._hash, self._start, self._lost_before = content_hash(), 0, 0  # of the frame

    def pass_by(self, piece: Piece, why: str) -> None:
        """Take a block that is lost, a gap, or the checksum of the content so far of a frame."""
        if not isinstance(piece, Content):
            self.lose(piece, why)
        elif len(self.result.lost) == self._lost_before and self._hash.digest() != piece.checksum:
            self.result.mixed.append((self._start, self._position))

    def lose(self, piece: Found | Gap, why: str) -> None:
        """Take a block that is lost, or a gap."""
        self._begin(piece.frame)
        sizes, excess = piece.header if isinstance(piece, Found) else piece, 0
        if isinstance(piece, Gap):
            excess, self._excess = self._excess, 0
            self._is_open = self._is_open or piece.has_header
        raw_bytes = None if sizes.raw_bytes is None else sizes.raw_bytes + excess
        if sizes.literal_bytes is None or raw_bytes is None or raw_bytes < sizes.literal_bytes:
            self._literals, self._is_placed = _Literals(), False  # nobody knows how far back those before are
            raw_bytes = None
        else:
            self._literals.lose(sizes.literal_bytes)
        if isinstance(piece, Found) or raw_bytes != 0:  # a block of nothing is lost too
            is_sure = isinstance(piece, Found) or raw_bytes is not None or self._is_open
            self._lose(raw_bytes, why if is_sure or why != _NO_END else _NO_FRAME, is_sure)
        self._is_open = self._is_open if isinstance(piece, Gap) else not piece.header.is_last

    def keep(self, found: Found, decoded: Decoded) -> None:
        """Take a block that is verified."""
        self._begin(found.frame)
        self.result.kept_blocks += 1
        self._follow()
        is_named = self._reference and found.head.reference == self._reference.name_bytes
        self._literals.reference = self._reference if is_named and self._is_placed else None
        for part in self._literals.put_together(decoded):
            if isinstance(part, int):
                self._lose(part, _NO_SOURCE if self._literals.reference or not found.head.reference else _NO_REFERENCE)
                continue
            while self._zeros:
                self._zeros -= self._sink.write(_ZEROS[: self._zeros])
            self._sink.write(bytes(part))
            self._hash.update(part)
            self._position += len(part)
            self.result.kept_bytes += len(part)
        self._literals.keep(decoded.literals)
        self._excess += found.header.raw_bytes - decoded.raw_bytes
        self._is_open = not found.header.is_last

    def _begin(self, frame: int) -> None:
        if frame != self._frame:
            self._frame, self._literals, self._is_placed, self._excess = frame, _Literals(), True, 0
            self._is_open = False
            self._hash, self._start, self._lost_before = content_hash(), self._position, len(self.result.lost)

    def _follow(self) -> None:
        """Take note that a block that is saved follows on the losses so far."""
        lost = self.result.lost
        for i in range(self._followed, len(lost)):
            if lost[i].end is None:
                lost[i] = replace(lost[i], why=_NO_REST if lost[i].why == _NO_END else lost[i].why, is_followed=True)
        self._followed = len(lost)

    def _lose(self, raw_bytes: int | None, why: str, is_sure: bool = True) -> None:
        start, end = self._position, None if raw_bytes is None else self._position + raw_bytes
        lost = self.result.lost
        if lost and why in (_NO_SOURCE, _NO_REFERENCE) and why == lost[-1].why and lost[-1].end == start:
            start = lost.pop().start
        lost.append(Loss(start, end, why, is_sure=is_sure))
        self._position += raw_bytes or 0
        self._zeros += raw_bytes or 0


class _Literals:
    """The literals of a frame, as far as they are known, and the places of those that are lost."""

    def __init__(self) -> None:
        self._history = History(1 << 32)
        self._lost = [0]  # places: from the first to the second known, to the third lost, and so on
        self.reference: Reference | None = None  # what stands before them, where it is known where they begin

    @property
    def end(self) -> int:
        return self._history.end

    @property
    def window_bytes(self) -> int:
        return self._history.window_bytes

    @property
    def _first(self) -> int:
        """The first place that is kept."""
        return max(0, self.end - self.window_bytes)

    def read(self, place: int, count: int) -> bytes:
        return self._history.read(place, count)

    def keep(self, literals: bytes) -> None:
        self._history.append(literals)

    def lose(self, count: int) -> None:
        self._lost += [self.end, self.end + count]
        self._history.skip(count)

    def put_together(self, decoded: Decoded) -> Iterator[Part | int]:
        """Yield the raw bytes of a block in parts; for lost ones, how many they are."""
        view = memoryview(decoded.literals)
        for place, distance, start, stop in pieces(decoded.copies, len(view), 0, decoded.raw_bytes):
            if distance and self.end + place < 0:
                yield from self._of_reference(self.end + place, stop)
            elif not distance or self._is_known(self.end + place, min(distance, stop)):
                yield from piece_bytes(view, self, place, distance, start, stop)
            elif stop > distance and distance < _SHORT_BYTES:
                yield stop
            else:
                yield from self._copied(view, place, distance, stop)

    def _of_reference(self, place: int, length: int) -> Iterator[Part | int]:
        """Yield a copy of the reference, from a place on, which is negative; how many bytes it has if it is not there."""
        if self.reference is None or place < -self.reference.size or place + length > 0:
            yield length
        else:
            yield from piece_bytes(memoryview(b""), AfterReference(None, self.reference), place, length, 0, length)

    def _copied(self, view: memoryview, place: int, distance: int, length: int) -> Iterator[Part | int]:
        """Yield a copy of literals some of which are lost."""
        start = 0
        while start < length:
            within = start % distance
            at = self.end + place + within
            number = bisect_right(self._lost, at)
            until = self._first if at < self._first else self._lost[number] if number < len(self._lost) else at + length
            count = min(length - start, distance - within, until - at)
            if at < self._first or number % 2 == 0:
                yield count
            else:  # of the first time around, so that nothing that is lost is read
                yield from piece_bytes(view, self, place, distance, within, within + count)
            start += count

    def _is_known(self, place: int, count: int) -> bool:
        """Return whether no literal from a place on is lost; those of the block that is put together are known."""
        first, last = bisect_right(self._lost, place), bisect_right(self._lost, place + count - 1)
        return place >= self._first and first == last and first % 2 == 1
