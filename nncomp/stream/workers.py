"""Runs tasks in this process or in worker processes, yields their results in order and reports progress.

Knows nothing of a task but its sizes in bytes. At most one task more than there are workers is in memory. What a
worker does is in `worker_process`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nncomp.errors import NncompError, WorkerError
from nncomp.machine import watch
from nncomp.machine.forks import ForkLock
from nncomp.stream.worker_process import POLL_S, PREPARING, Position, work

if TYPE_CHECKING:  # where no process is started, multiprocessing is not loaded
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Progress = Callable[[int], None]  # takes the bytes of the input done
Task = TypeVar("Task", bound="Sized")
Result = TypeVar("Result")

_PARENT_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # only the parent answers them
_SAFE_PATH = "PYTHONSAFEPATH"
_starting = ForkLock()  # the environment is that of all threads
FEW_BYTES = 64_000  # of several pieces of work: done here before processes would have started
_SMALL_BYTES = 256 * 1024  # of one piece: a process takes 0.2 s to start, and Ctrl-C waits for 0.3 s at most without one


def with_parts(progress: Progress | None, done_bytes: Callable[[], int]) -> Progress | None:
    """Return what tells `progress` the bytes of finished tasks and of the parts of others."""
    return (lambda part_bytes: progress(done_bytes() + part_bytes)) if progress else None


class Sized(Protocol):
    """A task with the size of its raw bytes and the bytes of input that it consumes."""

    @property
    def raw_bytes(self) -> int: ...

    @property
    def input_bytes(self) -> int: ...


def run_in_order(
    tasks: Iterable[Task], run: Callable[[Task], Result], workers: int, begun: Progress | None = None
) -> Iterator[Result]:
    """Yield `run(task)` for each task, in order, from `workers` processes; from this process for 0 or a single small task.

    While waiting, `begun` takes the input bytes done of the tasks whose results are not yielded yet. A single worker is also
    a process: compiled loops ignore Ctrl-C, but a process can be killed in a loop. Where the system allows no more processes,
    there are fewer, and with none the work is done here. Raises the NncompError of a task, or WorkerError if a worker ends, and
    what `tasks` raises: this only after the results of the tasks before. In every case all workers are ended.
    """
    failure: list[Exception] = []
    yield from _run_in_order(_until_failure(tasks, failure), run, workers, begun)
    if failure:
        raise failure[0]


def _until_failure(tasks: Iterable[Task], failure: list[Exception]) -> Iterator[Task]:
    """Yield the tasks up to an error, which is put into `failure`."""
    try:
        yield from tasks
    except Exception as error:
        failure.append(error)


def _run_in_order(
    remaining: Iterator[Task], run: Callable[[Task], Result], workers: int, begun: Progress | None
) -> Iterator[Result]:
    first = list(islice(remaining, 2))
    if not workers or (len(first) == 1 and first[0].raw_bytes <= _SMALL_BYTES):
        for task in chain(first, remaining):
            yield run(task)
        return
    keeper = _keeper.get()
    pool = keeper.take() if keeper else _Pool()
    is_whole = False
    try:
        yield from pool.run_in_order(chain(first, remaining), run, workers, begun)
        is_whole = True
    finally:
        if keeper and is_whole:
            keeper.idle.append(pool)
        else:
            pool.close()


@dataclass
class _Keeper:
    """Pools that are not at work: their processes are used again."""

    idle: list[_Pool] = field(default_factory=list)

    def take(self) -> _Pool:
        return self.idle.pop() if self.idle else _Pool()


_keeper: ContextVar[_Keeper | None] = ContextVar("keeper", default=None)


@contextmanager
def kept_workers() -> Iterator[None]:
    """Keep the worker processes from one use of `run_in_order` to the next: each is started, and opens a model, once.

    They are ended with the `with` block, and at once where something fails.
    """
    keeper = _Keeper()
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)
        for pool in keeper.idle:
            pool.close()


@dataclass
class _Worker:
    """A process, the parent's end of its pipe, and its task."""

    process: SpawnProcess
    connection: Connection
    number: int = -1
    task: Any = None
    tasks: int = 0  # that it was given
    seen_share: float = 0.0  # the largest so far: samples are coded before the block, and the position goes back

    def see(self, report: Position) -> None:
        """Take note of how many raw bytes of its task are done."""
        if report.tasks != self.tasks:
            return
        share = report.raw_bytes / self.task.raw_bytes if self.task.raw_bytes else 0.0
        self.seen_share = max(self.seen_share, min(share, 1.0))

    def input_bytes_done(self) -> int:
        return int(self.task.input_bytes * self.seen_share)


class _Pool:
    """Worker processes, started when there is work. Each holds one task at a time."""

    def __init__(self) -> None:
        self._limit = 0
        self._begun: Progress | None = None
        import multiprocessing

        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    def run_in_order(
        self, tasks: Iterator[Task], run: Callable[[Task], Result], workers: int, begun: Progress | None
    ) -> Iterator[Result]:
        self._limit, self._begun = workers, begun
        from multiprocessing import connection as pipes

        results: dict[int, tuple[Result, int]] = {}  # and their bytes of input
        sent = given = 0
        is_exhausted = False
        while True:
            while not is_exhausted and sent - given <= self._limit and len(self._busy) < self._limit:
                task = next(tasks, None)
                if task is None:
                    is_exhausted = True
                elif worker := self._idle.pop() if self._idle else self._start():
                    self._send(worker, sent, run, task)
                    sent += 1
                elif self._busy:  # one of them does it later
                    self._limit, tasks = len(self._workers), chain([task], tasks)
                else:
                    yield from map(run, chain([task], tasks))
                    return
            if given in results:
                result = results.pop(given)[0]
                if isinstance(result, NncompError):
                    raise result
                given += 1
                yield result
            elif is_exhausted and given == sent:
                return
            else:
                for connection in pipes.wait(list(self._busy), POLL_S if self._begun else None):
                    assert isinstance(connection, pipes.Connection)
                    results |= self._receive(self._busy[connection])
                is_exhausted = is_exhausted or any(isinstance(each, NncompError) for each, _ in results.values())
                if self._begun and self._busy:
                    waiting = sum(input_bytes for _, input_bytes in results.values())
                    self._begun(waiting + sum(worker.input_bytes_done() for worker in self._busy.values()))

    def _send(self, worker: _Worker, number: int, run: Callable[[Any], Any], task: Any) -> None:
        worker.number, worker.task, worker.tasks, worker.seen_share = number, task, worker.tasks + 1, 0.0
        self._busy[worker.connection] = worker
        try:
            worker.connection.send((run, task))
        except OSError as error:
            raise _worker_died() from error

    def _receive(self, worker: _Worker) -> dict[int, tuple[Any, int]]:
        """Return what a worker sends, a result or an NncompError, by the number of its task; nothing for a report on the way."""
        try:
            result = worker.connection.recv()
        except (EOFError, OSError) as error:
            raise _worker_died() from error
        if isinstance(result, str) and result in PREPARING:
            watch.say_preparing(result == PREPARING[0])
            return {}
        if isinstance(result, Position):
            worker.see(result)
            return {}
        del self._busy[worker.connection]
        self._idle.append(worker)
        return {worker.number: (result, worker.task.input_bytes)}

    def _start(self) -> _Worker | None:
        """Start a worker; return None if the system does not allow another process."""
        try:
            here, there = self._context.Pipe()
            process = self._context.Process(target=work, args=(there, self._limit), daemon=True)
            with safe_path(), signals_held():
                process.start()
        except OSError:
            return None
        there.close()  # so that the pipe ends when the worker ends
        self._workers.append(_Worker(process, here))
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
        "A worker process ended before its block was done: it was killed, ran out of memory or could not begin. "
        "No partial file is left. Fewer worker processes (-T, or workers=) take less memory. "
        '(A script of your own calls nncomp below if __name__ == "__main__".)'
    )


@contextmanager
def safe_path() -> Iterator[None]:
    """Let Python processes that start here import nothing from the current folder: the files there are data, not programs.

    One thread at a time: others that start processes wait.
    """
    with _starting:
        before = os.environ.get(_SAFE_PATH)
        os.environ[_SAFE_PATH] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_SAFE_PATH]
            else:
                os.environ[_SAFE_PATH] = before


@contextmanager
def signals_held(names: Iterable[str] = _PARENT_SIGNALS) -> Iterator[None]:
    """Let a process that starts here take no signal that its parent answers, from its first moment.

    The parent takes them at the end of the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if hasattr(signal, "pthread_sigmask"):  # the signals are held here, not lost; the child keeps them blocked
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # a tracker that starts later would unblock SIGINT
        held = {getattr(signal, name) for name in names}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
