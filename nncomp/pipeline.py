"""A stream of raw bytes to a stream of blocks and back, one block at a time or several in worker processes.

The bytes that come out are the same for any number of workers: blocks are independent and their order is kept. At most
one block more than there are workers is in memory. Knows streams, blocks and models; nothing of file names or terminals.
"""

from __future__ import annotations

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
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, TypeVar

from nncomp.codec import BlockKind, Codec, verify_block
from nncomp.container import Block, FrameBlock, FrameWriter, ModelReference, Readable, Writable, checksum, read_blocks, split
from nncomp.errors import FormatError, NncompError, WorkerError
from nncomp.registry import ModelFile

Progress = Callable[[int], None]  # told how many bytes of the input are done
FindModel = Callable[[ModelReference], ModelFile]
Task = TypeVar("Task", bound="Sized")
Result = TypeVar("Result")

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
    """A task that can say how many raw bytes it is about."""

    @property
    def raw_bytes(self) -> int: ...


@dataclass(frozen=True)
class EncodeTask:
    """Raw bytes to code with a model's network, or with none."""

    data: bytes = field(repr=False)
    is_last: bool
    model: ModelFile | None

    @property
    def raw_bytes(self) -> int:
        return len(self.data)

    def run(self) -> tuple[Block, float]:
        coded = _codec(self.model).encode_block(self.data)
        block = Block(int(coded.kind), len(self.data), coded.payload, checksum(self.data), self.is_last)
        return block, coded.cost_bits


@dataclass(frozen=True)
class DecodeTask:
    """A block to decode and verify."""

    block: Block
    model: ModelFile | None

    @property
    def raw_bytes(self) -> int:
        return self.block.raw_bytes

    def run(self) -> bytes:
        block = self.block
        data = _codec(self.model).decode_block(block.kind, block.payload, block.raw_bytes)
        verify_block(data, block.checksum)
        return data


@lru_cache(maxsize=1)
def _codec(model: ModelFile | None) -> Codec:
    """Return this process's codec: it keeps the model loaded from block to block."""
    return Codec(model)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compress(
    source: Readable, sink: Writable, model: ModelFile | None, workers: int, progress: Progress | None = None
) -> Summary:
    """Write one frame to `sink` that holds all that `source` gives."""
    summary = Summary()
    writer: FrameWriter | None = None
    tasks = (EncodeTask(data, is_last, model) for data, is_last in split(source))
    for block, cost_bits in run_in_order(tasks, EncodeTask.run, workers):
        if writer is None:
            # A frame of one block names a model only if it uses it; of several, the later ones cannot be foreseen.
            names_model = model is not None and (block.kind == BlockKind.TOKENS or not block.is_last)
            reference = ModelReference(model.model_id, model.hash8) if model and names_model else None
            writer = FrameWriter(sink, reference)
        writer.write(block)
        summary.raw_bytes += block.raw_bytes
        summary.cost_bits += cost_bits
        summary.kinds[BlockKind(block.kind).name.lower()] += 1
        if progress:
            progress(summary.raw_bytes)
    assert writer is not None  # split() gives at least one block
    summary.packed_bytes = writer.frame_bytes
    return summary


def decompress(
    source: Readable, sink: Writable, find_model: FindModel, workers: int, progress: Progress | None = None
) -> Summary:
    """Write to `sink` what all frames of `source` hold, each block verified before it is written.

    Raises FormatError for bytes that are not as a writer makes them, ModelError when a model that is needed is missing.
    """
    summary = Summary()
    positions: deque[tuple[FrameBlock, int]] = deque()  # of the blocks in flight, and where each ends in the input

    def tasks() -> Iterator[DecodeTask]:
        for found in read_blocks(source):
            model = find_model(found.model) if found.model and found.block.kind == BlockKind.TOKENS else None
            if found.block.kind == BlockKind.TOKENS and model is None:
                raise FormatError("A block is coded with a network, but its frame names no model; the file is altered.")
            positions.append((found, found.offset + found.header_bytes + len(found.block.payload)))
            yield DecodeTask(found.block, model)

    for data in run_in_order(tasks(), DecodeTask.run, workers):
        found, end = positions.popleft()
        sink.write(data)
        summary.raw_bytes += len(data)
        summary.packed_bytes = end
        summary.kinds[BlockKind(found.block.kind).name.lower()] += 1
        if progress:
            progress(end)
    return summary


def run_in_order(tasks: Iterable[Task], run: Callable[[Task], Result], workers: int) -> Iterator[Result]:
    """Yield `run(task)` for each task, in order, from `workers` processes; from this one for 0, or for one small task.

    Even a lone worker is a process of its own: compiled loops do not answer Ctrl-C, but a process can be ended in them.
    Raises what a task raises (an NncompError), or WorkerError when a worker ends. However it is left, no worker remains.
    """
    remaining = iter(tasks)
    first = list(islice(remaining, 2))
    if not workers or (len(first) == 1 and first[0].raw_bytes <= _SMALL_BYTES):
        for task in chain(first, remaining):
            yield run(task)
        return
    pool = _Pool(workers)
    try:
        yield from pool.run_in_order(chain(first, remaining), run)
    finally:
        pool.close()


class _Pool:
    """Worker processes that are started when there is work for them; each holds one task at a time."""

    def __init__(self, workers: int) -> None:
        self._limit = workers
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
        self._idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}  # and the number of the task it works on

    def run_in_order(self, tasks: Iterator[Task], run: Callable[[Task], Result]) -> Iterator[Result]:
        results: dict[int, Result] = {}
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
                yield results.pop(given - 1)
            elif is_exhausted and given == sent:
                return
            else:
                for connection in wait(list(self._busy)):
                    assert isinstance(connection, Connection)
                    number, result = self._receive(connection)
                    results[number] = result

    def _send(self, number: int, run: Callable[[Any], Any], task: Any) -> None:
        connection = self._idle.pop() if self._idle else self._start()
        self._busy[connection] = number
        try:
            connection.send((run, task))
        except OSError as error:
            raise _worker_died() from error

    def _receive(self, connection: Connection) -> tuple[int, Any]:
        try:
            result = connection.recv()
        except (EOFError, OSError) as error:
            raise _worker_died() from error
        number = self._busy.pop(connection)
        self._idle.append(connection)
        if isinstance(result, NncompError):
            raise result
        return number, result

    def _start(self) -> Connection:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_work, args=(there,), daemon=True)
        with _interrupt_ignored():
            process.start()
        there.close()  # so that a worker's end is seen as the end of its pipe
        self._processes.append(process)
        return here

    def close(self) -> None:
        """End all workers, at work or not."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for connection in [*self._idle, *self._busy]:
            connection.close()


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
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(connection: Connection) -> None:
    """Run the tasks that come in, in one thread, until the parent closes its end."""
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
