"""What runs in a worker process: tasks that come through a pipe, and reports of how far the one at hand is.

A worker ends when its parent ends, whatever ends that, also in the middle of a task. `workers` is the parent's side.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nncomp.errors import NncompError, WorkerError
from nncomp.machine import watch
from nncomp.machine.limits import refused

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

POLL_S = 0.2  # between two progress reports
PREPARING = "preparing", "preparing for now"  # sent by a worker that compiles kernels: kept in the cache, or not
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")  # of a worker: 1
TOKENIZER_THREADS = "RAYON_NUM_THREADS"


@dataclass(frozen=True)
class Position:
    """A worker's report of how many raw bytes of its task are done, and which of its tasks that is, counted from 1."""

    tasks: int
    raw_bytes: int


class _ToParent:
    """The worker's end of its pipe, for its two threads: one works, the other reports and looks whether the parent is there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        import ctypes

        self._cells = (ctypes.c_int64 * 1)()
        self._tasks = 0
        watch.share_position(self._cells)
        watch.on_preparing(lambda is_kept: self.send(PREPARING[0 if is_kept else 1]))

    def send(self, result: object) -> None:
        """Send a result or a report; end this process if it cannot, as where there is no parent any more."""
        try:
            with self._lock:
                self._connection.send(result)
        except (OSError, MemoryError):  # the parent, if there is one, says that this process ended
            os._exit(1)

    def next_task(self) -> tuple[Callable[[Any], Any], Any]:
        """Return what to run on which task; end this process when the parent closes its end, or if a task cannot be taken."""
        self._tasks += 1
        self._cells[0] = 0
        try:
            return self._connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            os._exit(0)
        except MemoryError:  # the parent says that this process ended
            os._exit(1)

    def keep_watch(self) -> None:
        """Report the position while it changes, until the parent ends, and then end this process, in whatever it is."""
        from multiprocessing import parent_process
        from multiprocessing.connection import wait

        parent, seen = parent_process(), Position(0, 0)
        assert parent is not None
        while not wait([parent.sentinel], POLL_S):
            now = Position(self._tasks, self._cells[0])
            if now != seen and now.raw_bytes:
                self.send(now)
            seen = now
        os._exit(1)


def work(connection: Connection, most_threads: int) -> None:
    """Run the tasks that arrive until the parent closes its end. The tokenizer takes so many threads for a moment."""
    parent = _ToParent(connection)
    with suppress(RuntimeError):  # no more threads: then the parent's end is seen after the task
        threading.Thread(target=parent.keep_watch, daemon=True).start()
    for name in THREAD_LIMITS:  # the numeric libraries read it when the first task imports them
        os.environ[name] = "1"
    os.environ[TOKENIZER_THREADS] = str(most_threads)
    while True:
        run, task = parent.next_task()
        try:
            result = run(task)
        except NncompError as error:
            result = error
        except Exception as error:
            bug = f"A worker process failed ({type(error).__name__}: {error}); this is a bug in nncomp."
            result = WorkerError(refused(error) or bug)
        parent.send(result)
