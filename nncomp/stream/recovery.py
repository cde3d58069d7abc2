"""What can be saved of a damaged `.nnc` file: each block that is found and verified; one damaged block costs that block only.

`nncomp/format/survey.py` finds where blocks are or should be. A block counts only when it decodes to the bytes of its checksum.
Knows streams, blocks and models, as `nncomp/stream/pipeline.py` does; nothing of file names or terminals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from nncomp.blocks.memory import Memory
from nncomp.errors import FormatError, ModelError
from nncomp.format.frames import Block, TrailingError, Writable
from nncomp.format.index import locate_blocks
from nncomp.format.payloads import HEAD_BYTES, may_begin
from nncomp.format.survey import Found, Gap, Survey
from nncomp.network.registry import ModelFile
from nncomp.stream.pipeline import BlockTask, DecodeTask, FindModel, needed_model
from nncomp.stream.workers import Progress, run_in_order

_ZEROS = bytes(1 << 20)
_NO_HEADER = "Its header is damaged."
_NO_END = "The file ends there, or what follows is no part of it."


@dataclass(frozen=True)
class Loss:
    """Bytes of the content that are lost, from `start` to `end` (None: nobody knows how many), and why."""

    start: int
    end: int | None
    why: str


@dataclass
class Recovered:
    """What came of a recovery: what was verified and written, and what is lost."""

    kept_bytes: int = 0
    kept_blocks: int = 0
    lost: list[Loss] = field(default_factory=list)
    after: TrailingError | None = None  # nothing is lost, but bytes follow that are no part of it


@dataclass(frozen=True)
class RecoverTask(BlockTask):
    """A block to decode with the first of several models that gives the bytes of its checksum."""

    models: tuple[ModelFile | None, ...]

    def run(self) -> bytes | str:
        """Return the bytes, or the reason why there are none."""
        why = ""
        for model in self.models:
            try:
                return DecodeTask(self.block, model).run()
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
    `others` are models to try where the one that a frame names is not found, for its name may be what is damaged.
    Raises MemoryLimitError; damage of any kind is in the result.
    """
    result, position, zeros, done_bytes = Recovered(), 0, 0, 0
    waiting: deque[tuple[int | None, int, str]] = deque()  # raw bytes and payload bytes of a piece, and why it is lost already

    def task_of(found: Found) -> RecoverTask | str:
        try:
            models: tuple[ModelFile | None, ...] = (needed_model(found.kind, found.model, find_model),)
        except (FormatError, ModelError) as error:
            if not others:
                return str(error)
            models = tuple(others)
        source.seek(found.payload_offset)
        payload = source.read(found.payload_bytes)
        block = Block(found.kind, found.raw_bytes, payload, found.checksum, is_last=False)
        for model in models:
            memory.check_decoding(block, model)
        return RecoverTask(block, models)

    def is_right(found: Found) -> bool:
        source.seek(found.payload_offset)
        if not may_begin(found.kind, source.read(HEAD_BYTES), found.payload_bytes):
            return False
        task = task_of(found)
        return isinstance(task, RecoverTask) and isinstance(task.run(), bytes)

    def tasks() -> Iterator[RecoverTask]:
        for piece in Survey(source, is_right).pieces():
            if isinstance(piece, Gap):
                waiting.append((piece.raw_bytes, 0, _NO_END if piece.raw_bytes is None else _NO_HEADER))
                continue
            task = task_of(piece)
            waiting.append((piece.raw_bytes, piece.payload_bytes, task if isinstance(task, str) else ""))
            if isinstance(task, RecoverTask):
                yield task

    def lose(raw_bytes: int | None, why: str) -> None:
        nonlocal position, zeros
        result.lost.append(Loss(position, None if raw_bytes is None else position + raw_bytes, why))
        position += raw_bytes or 0
        zeros += raw_bytes or 0

    begun = (lambda part_bytes: progress(done_bytes + part_bytes)) if progress else None
    for data in run_in_order(tasks(), RecoverTask.run, workers, begun):
        while waiting[0][2]:
            raw_bytes, _, why = waiting.popleft()
            lose(raw_bytes, why)
        raw_bytes, payload_bytes, _ = waiting.popleft()
        done_bytes += payload_bytes
        if isinstance(data, str):
            lose(raw_bytes, data)
            continue
        while zeros:
            zeros -= sink.write(_ZEROS[:zeros])
        sink.write(data)
        position += len(data)
        result.kept_bytes += len(data)
        result.kept_blocks += 1
    while waiting:
        raw_bytes, _, why = waiting.popleft()
        lose(raw_bytes, why)
    if result.lost in ([], [Loss(result.kept_bytes, None, _NO_END)]):
        failure: list[FormatError] = []
        if len(locate_blocks(source, failure)) == result.kept_blocks and failure and isinstance(failure[0], TrailingError):
            result.lost, result.after = [], failure[0]
    return result
