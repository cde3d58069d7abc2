"""Worker processes: order kept, few blocks in flight, and a named error when one fails or dies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nncomp.errors import FormatError, WorkerError
from nncomp.network.registry import shipped_path
from nncomp.stream.workers import run_in_order
from tests.conftest import Run

LARGE = 1_000_000  # of raw bytes: no reason to do it in this process


@dataclass(frozen=True)
class Task:
    number: int
    fault: str = ""

    @property
    def raw_bytes(self) -> int:
        return LARGE

    @property
    def input_bytes(self) -> int:
        return LARGE

    def run(self) -> tuple[int, int, str]:
        if self.fault == "slow":
            time.sleep(2)  # a process starts in less
        if self.fault == "named":
            raise FormatError("This block is altered.")
        if self.fault == "bug":
            raise ZeroDivisionError("by zero")
        if self.fault == "death":
            os._exit(9)
        time.sleep(0.05 if self.number % 3 == 0 else 0)
        return self.number, os.getpid(), os.environ.get("NUMBA_NUM_THREADS", "")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers: int) -> None:
    taken = given = 0

    def tasks() -> Iterator[Task]:
        nonlocal taken
        for number in range(12):
            taken += 1
            assert taken - given <= max(workers, 1) + 1
            yield Task(number)

    pids = set()
    for number, pid, threads in run_in_order(tasks(), Task.run, workers):
        assert number == given
        given += 1
        pids.add(pid)
        assert not workers or threads == "1"
    assert given == 12
    assert (os.getpid() in pids) == (workers == 0)
    assert len(pids) <= max(workers, 1)


@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        ("named", FormatError, "This block is altered"),
        ("bug", WorkerError, "bug in nncomp"),
        ("death", WorkerError, "ended before its block was done"),
    ],
)
def test_a_fault_in_a_worker_is_a_named_error(fault: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        list(run_in_order([Task(0), Task(1, fault), Task(2)], Task.run, 2))


def test_results_before_a_fault_come_first() -> None:
    """The first task ends after the second one has failed."""
    results = run_in_order([Task(0, "slow"), Task(1, "named"), Task(2)], Task.run, 2)
    assert next(results)[0] == 0
    with pytest.raises(FormatError, match="This block is altered"):
        next(results)


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_the_bytes_do_not_depend_on_cores(run: Run, tmp_path: Path, english: bytes) -> None:
    """One block in one process with one thread, and in one with two; each made file read with the other number."""
    text = b"".join(bytes([65 + i]) * 5 + english for i in range(7))  # 140 KB: two lanes, and a worker process
    (tmp_path / "text").write_bytes(text)
    for cores, other in (("1", "2"), ("2", "1")):
        assert run("compress", "-T", cores, "-o", f"{cores}.nnc", "text").returncode == 0
        assert run("decompress", "-T", other, "-o", f"{cores}.back", f"{cores}.nnc").returncode == 0
        assert (tmp_path / f"{cores}.back").read_bytes() == text
    assert (tmp_path / "1.nnc").read_bytes() == (tmp_path / "2.nnc").read_bytes()
    shown = json.loads(run("list", "--json", "1.nnc").stdout)
    assert "tokens" in json.dumps(shown), "a block that threads share"
