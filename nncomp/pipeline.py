"""A stream of raw bytes to a stream of blocks and back, one block at a time or several in worker processes.

The bytes that come out are the same for any number of workers: blocks are independent and their order is kept. At most
one block more than there are workers is in memory. Knows streams, blocks and models; nothing of file names or terminals.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any, Protocol, TypeVar

from nncomp import watch
from nncomp.codec import BlockKind, Codec, verify_block
from nncomp.container import Block, FrameBlock, FrameWriter, ModelReference, Readable, Writable, checksum, read_blocks, split
from nncomp.errors import FormatError, NncompError, WorkerError
from nncomp.levels import USUAL, Effort
from nncomp.memory import Memory
from nncomp.registry import ModelFile

Progress = Callable[[int], None]  # told how many bytes of the input are done
FindModel = Callable[[ModelReference], ModelFile]
Task = TypeVar("Task", bound="Sized")
Result = TypeVar("Result")

_POLL_S = 0.2  # between looks at how far the blocks in work are
_PREPARING = "preparing", "preparing for now"  # what a worker says when it has to compile first: kept, or not kept
_SMALL_BYTES = 64_000  # done within moments, and quicker than a process starts
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass
class Summary:
    """What a stream came to: sizes in bytes, surprisal in bits (0 when decoding), blocks of each kind."""

    raw_bytes: int = 0
    packed_bytes: int = 0
    cost_bits: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)


class Sized(Protocol):
    """A task that can say how many raw bytes it is about, and how many bytes of the input it takes."""

    @property
    def raw_bytes(self) -> int: ...

    @property
    def input_bytes(self) -> int: ...


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
class DecodeTask:
    """A block to decode and verify, in so many threads."""

    block: Block
    model: ModelFile | None
    threads: int = 1

    @property
    def raw_bytes(self) -> int:
        return self.block.raw_bytes

    @property
    def input_bytes(self) -> int:
        return len(self.block.payload)

    def run(self) -> bytes:
        block = self.block
        data = _codec(self.model).decode_block(block.kind, block.payload, block.raw_bytes, self.threads)
        verify_block(data, block.checksum)
        return data


@lru_cache(maxsize=1)
def _codec(model: ModelFile | None, effort: Effort = USUAL) -> Codec:
    """Return this process's codec: it keeps the model loaded from block to block."""
    return Codec(model, effort)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compress(
    source: Readable,
    sink: Writable,
    model: ModelFile | None,
    workers: int,
    progress: Progress | None = None,
    summary: Summary | None = None,
    effort: Effort = USUAL,
    memory: Memory | None = None,
) -> Summary:
    """Write one frame to `sink` that holds all that `source` gives; a `summary` that is given grows block by block.

    Raises MemoryLimitError when a block takes too much.
    """
    memory, summary = memory or Memory(), Summary() if summary is None else summary
    writer: FrameWriter | None = None

    def tasks() -> Iterator[EncodeTask]:
        for number, (data, is_last) in enumerate(split(source)):
            memory.check_coding(len(data), model)
            # Threads are for a block that is alone; of several, each has a process.
            yield EncodeTask(data, is_last, model, max(1, workers) if is_last and not number else 1, effort)

    progress = _only_forward(progress)
    begun = _part(progress, lambda: summary.raw_bytes)
    for block, cost_bits in run_in_order(tasks(), EncodeTask.run, workers, begun):
        if writer is None:
            writer = FrameWriter(sink, named_model(model, block))
        writer.write(block)
        summary.raw_bytes += block.raw_bytes
        summary.packed_bytes = writer.frame_bytes
        summary.cost_bits += cost_bits
        summary.kinds[BlockKind(block.kind).name.lower()] += 1
        if progress:
            progress(summary.raw_bytes)
    assert writer is not None  # split() gives at least one block
    summary.packed_bytes = writer.frame_bytes
    return summary


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


def run_in_order(
    tasks: Iterable[Task], run: Callable[[Task], Result], workers: int, begun: Progress | None = None
) -> Iterator[Result]:
    """Yield `run(task)` for each task, in order, from `workers` processes; from this one for 0, or for one small task.

    While it waits, `begun` is told now and then how many input bytes are done of the tasks whose results are not out yet.
    Even a lone worker is a process of its own: compiled loops do not answer Ctrl-C, but a process can be ended in them.
    Raises what a task raises (an NncompError), or WorkerError when a worker ends. However it is left, no worker remains.
    """
    remaining = iter(tasks)
    first = list(islice(remaining, 2))
    if not workers or (len(first) == 1 and first[0].raw_bytes <= _SMALL_BYTES):
        for task in chain(first, remaining):
            yield run(task)
        return
    pool = _Pool(workers, begun)
    try:
        yield from pool.run_in_order(chain(first, remaining), run)
    finally:
        pool.close()


@dataclass
class _Worker:
    """A process, the parent's end of its pipe, where it shows its position, and the task it works on."""

    process: SpawnProcess
    connection: Connection
    position: Any
    number: int = -1
    task: Any = None
    seen_share: float = 0.0  # of the task, the most so far: a block is tried on samples before it is coded

    def input_bytes_done(self) -> int:
        share = self.position.value / self.task.raw_bytes if self.task.raw_bytes else 0.0
        self.seen_share = max(self.seen_share, min(share, 1.0))
        return int(self.task.input_bytes * self.seen_share)


class _Pool:
    """Worker processes that are started when there is work for them; each holds one task at a time."""

    def __init__(self, workers: int, begun: Progress | None) -> None:
        self._limit = workers
        self._begun = begun
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    def run_in_order(self, tasks: Iterator[Task], run: Callable[[Task], Result]) -> Iterator[Result]:
        results: dict[int, tuple[Result, int]] = {}  # and the bytes of input they are made from
        sent = given = 0
        is_exhausted = False
        while True:
            while not is_exhausted and sent - given <= self._limit and len(self._busy) < self._limit:
                task = next(tasks, None)
                if task is None:
                    is_exhausted = True
                else:
                    self._send(sent, run, task)
                    sent += 1
            if given in results:
                given += 1
                yield results.pop(given - 1)[0]
            elif is_exhausted and given == sent:
                return
            else:
                for connection in wait(list(self._busy), _POLL_S if self._begun else None):
                    assert isinstance(connection, Connection)
                    results |= self._receive(self._busy[connection])
                if self._begun and self._busy:
                    waiting = sum(input_bytes for _, input_bytes in results.values())
                    self._begun(waiting + sum(worker.input_bytes_done() for worker in self._busy.values()))

    def _send(self, number: int, run: Callable[[Any], Any], task: Any) -> None:
        worker = self._idle.pop() if self._idle else self._start()
        worker.number, worker.task, worker.seen_share, worker.position.value = number, task, 0.0, 0
        self._busy[worker.connection] = worker
        try:
            worker.connection.send((run, task))
        except OSError as error:
            raise _worker_died() from error

    def _receive(self, worker: _Worker) -> dict[int, tuple[Any, int]]:
        """Return the result that a worker sends, by the number of its task; nothing when it only says what it does."""
        try:
            result = worker.connection.recv()
        except (EOFError, OSError) as error:
            raise _worker_died() from error
        if isinstance(result, str) and result in _PREPARING:
            watch.say_preparing(result == _PREPARING[0])
            return {}
        del self._busy[worker.connection]
        self._idle.append(worker)
        if isinstance(result, NncompError):
            raise result
        return {worker.number: (result, worker.task.input_bytes)}

    def _start(self) -> _Worker:
        try:
            here, there = self._context.Pipe()
            position = RawValue(ctypes.c_int64, 0)  # shared memory is a temporary file
            process = self._context.Process(target=_work, args=(there, position), daemon=True)
            with _interrupt_ignored():
                process.start()
        except OSError as error:
            raise WorkerError(
                f"A worker process cannot be started: {error.strerror}. Is there room for temporary files?"
            ) from error
        there.close()  # so that a worker's end is seen as the end of its pipe
        self._workers.append(_Worker(process, here, position))
        return self._workers[-1]

    def close(self) -> None:
        """End all workers, at work or not."""
        for worker in self._workers:
            worker.process.kill()  # they hold nothing that would need tidying
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _worker_died() -> WorkerError:
    return WorkerError(
        "A worker process ended before its block was done (killed, or out of memory). "
        "No partial file is left; try again with fewer workers, for example -T 1."
    )


@contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Let a process that is started here ignore Ctrl-C from its first moment: its parent alone answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if hasattr(signal, "pthread_sigmask"):  # held back here, not lost; the child keeps it blocked
        resource_tracker.ensure_running()  # which would unblock it if it were started later
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(connection: Connection, position: Any) -> None:
    """Run the tasks that come in, in one thread, until the parent closes its end."""
    watch.share_position(position)
    watch.on_preparing(lambda is_kept: connection.send(_PREPARING[0 if is_kept else 1]))
    for name in _THREAD_LIMITS:  # read by the numeric libraries when the first task imports them
        os.environ[name] = "1"
    while True:
        try:
            run, task = connection.recv()
        except EOFError:
            return
        try:
            result = run(task)
        except NncompError as error:
            result = error
        except MemoryError:
            result = WorkerError("There is not enough memory for a block; try again with fewer workers, for example -T 1.")
        except Exception as error:
            result = WorkerError(f"A worker process failed ({type(error).__name__}: {error}); this is a fault of nncomp.")
        connection.send(result)
