"""A forked child that begins while another thread of its parent is at work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from nncomp.machine.forks import ForkLock, once
from nncomp.stream.workers import safe_path


class Slow:
    made = 0
    begun = threading.Event()

    @once
    def value(self) -> int:
        """The value."""
        Slow.made += 1
        Slow.begun.set()
        time.sleep(0.3)
        return 7


def test_a_value_is_made_once() -> None:
    slow, before = Slow(), Slow.made
    assert (slow.value, slow.value, Slow.made - before) == (7, 7, 1)
    assert isinstance(Slow.value, once) and Slow.value.__doc__ == "The value."


def in_child(work: Callable[[], object]) -> int:
    """Return the exit status of a forked child that does the work; -1 if it has not ended after ten seconds."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(5)
        finally:
            os._exit(1)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    """`functools.cached_property` has one lock for all objects of a class before Python 3.12."""
    lock = ForkLock()
    Slow.begun.clear()

    def work() -> None:
        with lock:
            assert Slow().value == 7

    def take() -> None:
        with lock:
            assert Slow().value == 7

    thread = threading.Thread(target=work)
    thread.start()
    Slow.begun.wait()
    assert in_child(take) == 5
    thread.join()


def test_threads_that_start_processes_leave_the_environment_as_it_was() -> None:
    wrong: list[str | None] = []

    def work() -> None:
        for _ in range(200):
            with safe_path():
                time.sleep(0)
                if os.environ.get("PYTHONSAFEPATH") != "1":
                    wrong.append(os.environ.get("PYTHONSAFEPATH"))

    before, threads = os.environ.get("PYTHONSAFEPATH"), [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and os.environ.get("PYTHONSAFEPATH") == before
