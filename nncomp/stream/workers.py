"""Runs tasks in this process or in worker processes, yields their results in order and reports progress.

Knows nothing of a task but its sizes in bytes. At most one task more than there are workers is in memory.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any, Protocol, TypeVar

from nncomp.errors import NncompError, WorkerError
from nncomp.machine import watch

Progress = Callable[[int], None]  # takes the bytes of the input done
Task = TypeVar("Task", bound="Sized")
Result = TypeVar("Result")

_POLL_S = 0.2  # between two progress reports
_PREPARING = "preparing", "preparing for now"  # sent by a worker that compiles kernels: kept in the cache, or not
_SMALL_BYTES = 64_000  # done before a process would have started
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")


class Sized(Protocol):
    """A task with the size of its raw bytes and the bytes of input that it consumes."""

    @property
    def raw_bytes(self) -> int: ...

    @property
    def input_bytes(self) -> int: ...


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_order(
    tasks: Iterable[Task], run: Callable[[Task], Result], workers: int, begun: Progress | None = None
) -> Iterator[Result]:
    """Yield `run(task)` for each task, in order, from `workers` processes; from this process for 0 or a single small task.

    While waiting, `begun` takes the input bytes done of the tasks whose results are not yielded yet. A single worker is also
    a process: compiled loops ignore Ctrl-C, but a process can be killed in a loop. Raises the NncompError of a task, or
    WorkerError if a worker ends. In every case all workers are ended.
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
    """A process, the parent's end of its pipe, its shared position, and its task."""

    process: SpawnProcess
    connection: Connection
    position: Any
    number: int = -1
    task: Any = None
    seen_share: float = 0.0  # the largest so far: samples are coded before the block, and the position goes back

    def input_bytes_done(self) -> int:
        share = self.position.value / self.task.raw_bytes if self.task.raw_bytes else 0.0
        self.seen_share = max(self.seen_share, min(share, 1.0))
        return int(self.task.input_bytes * self.seen_share)


class _Pool:
    """Worker processes, started when there is work. Each holds one task at a time."""

    def __init__(self, workers: int, begun: Progress | None) -> None:
        self._limit = workers
        self._begun = begun
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    def run_in_order(self, tasks: Iterator[Task], run: Callable[[Task], Result]) -> Iterator[Result]:
        results: dict[int, tuple[Result, int]] = {}  # and their bytes of input
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
        """Return the result that a worker sends, by the number of its task; nothing for a report that it compiles."""
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
        there.close()  # so that the pipe ends when the worker ends
        self._workers.append(_Worker(process, here, position))
        return self._workers[-1]

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            worker.process.kill()  # they hold nothing to clean up
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _worker_died() -> WorkerError:
    return WorkerError(
        "A worker process ended before its block was done: it was killed or ran out of memory. "
        "No partial file is left. Use fewer cores, for example -T 1."
    )


@contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Let a process that starts here ignore Ctrl-C from its first moment. Only the parent answers Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if hasattr(signal, "pthread_sigmask"):  # the signal is held here, not lost; the child keeps it blocked
        resource_tracker.ensure_running()  # a tracker that starts later would unblock the signal
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
    """Run the tasks that arrive, in one thread, until the parent closes its end."""
    watch.share_position(position)
    watch.on_preparing(lambda is_kept: connection.send(_PREPARING[0 if is_kept else 1]))
    for name in _THREAD_LIMITS:  # the numeric libraries read it when the first task imports them
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
            result = WorkerError("There is not enough memory for a block. Use fewer cores, for example -T 1.")
        except Exception as error:
            result = WorkerError(f"A worker process failed ({type(error).__name__}: {error}); this is a bug in nncomp.")
        connection.send(result)
