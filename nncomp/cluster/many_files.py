"""Many files, block by block, on a cluster. The results of a file's blocks are written in order; a file is complete or absent.

Blocks of several files are in work at the same time; one file is written at a time. A file that fails does not stop the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from nncomp.blocks.levels import Effort
from nncomp.blocks.memory import Memory
from nncomp.cluster.connection import Cluster
from nncomp.cluster.remote_task import Order
from nncomp.cluster.window import Flight, Window
from nncomp.errors import DataError, NncompError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import FrameBlock, Readable, Writable
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream.assembly import Assembly
from nncomp.stream.pipeline import FrameAssembly, Summary
from nncomp.stream.tasks import Coding, DecodeTask, EncodeTask, FindModel, needed_model
from nncomp.version import source_digest

_WAIT_S = 0.5

Opened = AbstractContextManager[Readable]
Sink = AbstractContextManager[Writable]


@dataclass
class Work:
    """One file: how its source and its result are opened, and what happened to it.

    `is_finished` is called first and returns whether a valid result exists already. `open_sink` is called for the first part
    of the result.
    """

    name: str
    open_source: Callable[[], Opened]
    open_sink: Callable[[], Sink]
    is_finished: Callable[[], bool] = lambda: False
    is_skipped: bool = False
    summary: Summary = field(default_factory=Summary)
    assembly: Assembly = field(default_factory=Assembly)  # of what is decompressed, and the blocks in work for it
    found: deque[FrameBlock] = field(default_factory=deque)
    worker_s: float = 0.0
    error: NncompError | None = None


class Kind(Protocol):
    """Compression or decompression: the orders of a source, in their sequence, and what receives their results."""

    def orders(self, work: Work) -> Iterator[Order]: ...

    def assemble(self, work: Work) -> Generator[None, Any, None]: ...


@dataclass(frozen=True)
class Compressing:
    cluster: Cluster
    model: ModelFile | None
    effort: Effort
    memory: Memory

    def orders(self, work: Work) -> Iterator[Order]:
        from nncomp.stream.repeats import cuts

        model_name = self.cluster.send_model(self.model) if self.model else None
        with work.open_source() as source:
            for cut in cuts(source, 1 << self.effort.window_log2, block_bytes=self.effort.block_bytes):
                self.memory.check_coding(len(cut.literals), self.model, self.effort)
                yield Order(EncodeTask(cut, None, 1, self.effort), model_name, source_digest())

    def assemble(self, work: Work) -> Generator[None, Any, None]:
        with work.open_sink() as sink:
            assembly = FrameAssembly(sink, Coding(self.model, self.effort), work.summary)
            while (encoded := (yield)) is not None:
                assembly.add(encoded)


@dataclass(frozen=True)
class Decompressing:
    cluster: Cluster
    find_model: FindModel
    memory: Memory

    def orders(self, work: Work) -> Iterator[Order]:
        with work.open_source() as source:
            for found in read_blocks(source, work.assembly.expect):
                if found.head.reference:
                    raise DataError("The file is compressed with a reference; decompress it without --cluster.")
                model = needed_model(found.block.kind, found.model, self.find_model)
                self.memory.check_decoding(found.block, model)
                model_name = self.cluster.send_model(model) if model else None
                work.summary.kinds[BlockKind(found.block.kind).label] += 1
                work.summary.packed_bytes = found.end
                work.found.append(found)
                yield Order(DecodeTask(found.block, None), model_name, source_digest())

    def assemble(self, work: Work) -> Generator[None, Any, None]:
        with work.open_sink() as sink:
            while (decoded := (yield)) is not None:
                found = work.found.popleft()
                for part in work.assembly.add(found.frame, found.head, *decoded):
                    work.summary.raw_bytes += sink.write(part)
            work.assembly.check()


_Queue = deque[tuple[Work, "Flight | None"]]  # None: the end of this file's source


def run(
    works: Iterable[Work],
    kind: Kind,
    cluster: Cluster,
    over: Callable[[Work], None],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Compress or decompress all files. `over` gets each file when it is complete or has failed, in the files' order.

    `progress` gets the number of input bytes that are done of the file whose turn it is. Raises WorkerError when the cluster
    itself fails.
    """
    window = Window(cluster)
    queue: _Queue = deque()
    feed = _Feed(works, kind)
    assembly: Generator[None, Any, None] | None = None
    done_bytes = 0
    try:
        while True:
            while not feed.is_over and window.has_room():
                if found := feed.next():
                    work, order = found
                    queue.append((work, window.send(order) if order else None))
            if not queue:
                return
            work, flight = queue[0]
            if flight and flight.done is None and work.error is None:
                window.wait(_WAIT_S)
                continue
            queue.popleft()
            if work.error is not None:
                if flight:
                    window.drop(flight)
            elif not work.is_skipped:
                try:
                    if assembly is None:
                        assembly, done_bytes = kind.assemble(work), 0
                        next(assembly)
                    done_bytes += _deliver(work, flight, window, assembly)
                except NncompError as error:
                    work.error = error
            if work.error is not None and assembly is not None:
                assembly.close()  # removes the incomplete result
                assembly = None
            if flight is None:
                assembly = None
                over(work)
            elif progress and work.error is None:
                progress(done_bytes)
    finally:
        if assembly is not None:
            assembly.close()
        feed.close()
        for _, flight in queue:
            if flight:
                window.drop(flight)


def _deliver(work: Work, flight: Flight | None, window: Window, assembly: Generator[None, Any, None]) -> int:
    """Give a result, or the end of the results, to `assembly`. Return the input bytes of the result."""
    if flight is None:
        try:
            assembly.send(None)
        except StopIteration:
            return 0
        raise AssertionError("there is no result after the end")
    done = window.take(flight)
    work.worker_s += done.worker_s
    if done.error is not None:
        raise done.error
    assembly.send(done.result)
    return flight.input_bytes


class _Feed:
    """The orders of all files, one after another. A source that cannot be read makes its file fail."""

    def __init__(self, works: Iterable[Work], kind: Kind) -> None:
        self._works, self._kind = iter(works), kind
        self._work: Work | None = None
        self._orders: Iterator[Order] = iter(())
        self.is_over = False

    def next(self) -> tuple[Work, Order | None] | None:
        """Return a file and its next order, or a file and None at the end of the file. Return None after the last file."""
        if self._work is None:
            self._work = next(self._works, None)
            if self._work is None:
                self.is_over = True
                return None
            self._orders = self._begin(self._work)
        work, order = self._work, None
        if work.error is None:
            try:
                order = next(self._orders, None)
            except NncompError as error:
                work.error = error
        if order is None:
            self.close()
        return work, order

    def _begin(self, work: Work) -> Iterator[Order]:
        work.is_skipped = work.is_finished()
        if not work.is_skipped:
            yield from self._kind.orders(work)

    def close(self) -> None:
        """Close the source that is open."""
        if isinstance(self._orders, Generator):
            self._orders.close()
        self._work, self._orders = None, iter(())
