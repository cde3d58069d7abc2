"""Limits of the system, and processes that end: a named error or fewer workers, and nothing that goes on alone."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nncomp
from nncomp.blocks.memory import Memory
from nncomp.errors import MemoryLimitError
from nncomp.machine import kernel_cache, limits, watch
from nncomp.stream import worker_process
from nncomp.stream.workers import _worker_died
from tests.conftest import environment
from tests.kinds.commands import Commands, Running, has_group, members, open_to_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these limits are those of Linux")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(300))
PACKED = nncomp.compress(TEXT, model=None)
NOISE = os.urandom(70_000)  # a worker's work
NOBODY = 65534


def _is_named_or_done(folder: Path, running: Running, made: str, expected: bytes) -> int:
    """Check that a command did its work, or said one sentence and left nothing; return its exit status."""
    before = {path.name for path in folder.iterdir()} - {made}
    result = running.finish()
    left = {path.name for path in folder.iterdir()}
    assert left - {made} == before
    if result.code:
        assert result.code == 1 and result.said.startswith("nncomp: ") and result.said.count("\n") == 1, result
        assert made not in left
    else:
        data = (folder / made).read_bytes()
        assert (nncomp.decompress(data) if made.endswith(".nnc") else data) == expected
    return result.code


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 10, 16])
def test_few_open_files(commands: Commands, tmp_path: Path, command: str, number: int) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "b.nnc").write_bytes(PACKED)
    arguments = ["compress", "--model", "none", "a"] if command == "compress" else ["decompress", "b.nnc"]
    running = commands.start(*arguments, cwd=tmp_path, limits={"RLIMIT_NOFILE": number})
    code = _is_named_or_done(tmp_path, running, "a.nnc" if command == "compress" else "b", TEXT)
    assert code == 0 or number < 16


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("megabytes", [10, 100, 300, 500, 700, 1000, 4000])
def test_a_small_address_space(commands: Commands, tmp_path: Path, command: str, megabytes: int) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "b.nnc").write_bytes(PACKED)
    arguments = ["compress", "--model", "none", "a"] if command == "compress" else ["decompress", "b.nnc"]
    running = commands.start(*arguments, cwd=tmp_path, limits={"RLIMIT_AS": megabytes * 1_000_000})
    code = _is_named_or_done(tmp_path, running, "a.nnc" if command == "compress" else "b", TEXT)
    assert code == 0 or megabytes < 4000


@pytest.mark.skipif(os.getuid() != 0, reason="root starts the command as another user, who has no other processes")
def test_no_more_processes(commands: Commands, tmp_path: Path) -> None:
    """The work of a worker is done by the command itself."""
    (tmp_path / "a").write_bytes(NOISE)
    open_to_others(tmp_path)
    tmp_path.chmod(0o777)
    running = commands.start("compress", "--model", "none", "-T", "1", "a", cwd=tmp_path, limits={"RLIMIT_NPROC": 1}, user=NOBODY)
    assert _is_named_or_done(tmp_path, running, "a.nnc", NOISE) == 0


def test_what_the_system_refused_has_a_name() -> None:
    assert "not enough memory" in (limits.refused(MemoryError()) or "")
    assert "no more threads" in (limits.refused(RuntimeError("can't start new thread")) or "")
    assert "no more open files" in (limits.refused(OSError(24, "Too many open files")) or "")
    assert "-T, or workers=" in str(_worker_died()) and "__main__" in str(_worker_died()), "said to programs, too"
    assert limits.refused(RuntimeError("else")) is limits.refused(ValueError()) is limits.refused(OSError(5, "x")) is None


GROUPS = {
    "version 2": (
        "0::/outer/inner\n",
        {"cpu.max": "max 100000", "outer/cpu.max": "250000 100000", "outer/inner/cpu.max": "max 100000",
         "memory.max": "max", "outer/memory.max": "3000000000", "outer/inner/memory.max": "2000000000"},
        3, 2_000_000_000,
    ),
    "version 2, in a container": ("0::/\n", {"cpu.max": "50000 100000", "memory.max": "500000000"}, 1, 500_000_000),
    "version 2, told a path outside": ("0::/system/docker-1\n", {"cpu.max": "200000 100000", "memory.max": "7"}, 2, 7),
    "version 1": (
        "4:memory:/a\n3:cpuset:/\n2:cpu,cpuacct:/a\n",
        {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/a/memory.limit_in_bytes": "1000000000",
         "cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
         "cpu,cpuacct/a/cpu.cfs_quota_us": "150000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
        2, 1_000_000_000,
    ),
    "version 1, each alone": (
        "2:cpu:/\n1:memory:/\n",
        {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "1"},
        None, None,
    ),
    "no limit": ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
    "junk": ("0::/\nnonsense\n\n9\n", {"cpu.max": "a b c", "memory.max": "-5"}, None, None),
    "zeros": ("0::/\n", {"cpu.max": "0 0", "memory.max": "0"}, None, 0),
    "nothing": ("", {}, None, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROUPS)
def test_limits_of_control_groups(tmp_path: Path, kind: str) -> None:
    own, files, cores, memory_bytes = GROUPS[kind]
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert limits.group_cores(tmp_path / "groups", tmp_path / "own") == cores
    assert limits.group_memory_bytes(tmp_path / "groups", tmp_path / "own") == memory_bytes
    assert limits.group_cores(tmp_path / "groups", tmp_path / "missing") is None


def test_as_many_cores_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, cores in ((None, 8), (3, 3), (20, 8), (0, 1)):
        monkeypatch.setattr(limits, "group_cores", lambda quota=quota: quota)
        assert limits.usable_cores() == cores


def test_the_memory_of_a_container_is_a_limit() -> None:
    """Where no limit is asked for, fewer workers, and in the end a sentence; what is asked for comes first."""
    gigabyte = 1_000_000_000
    assert Memory().workers(8, None, is_coding=True) == 8
    assert 1 <= Memory(room_bytes=gigabyte).workers(8, None, is_coding=True) < 8
    assert Memory(8 * gigabyte, gigabyte).workers(8, None, is_coding=True) == 8
    Memory(room_bytes=64 * gigabyte).check_coding(6_000_000, None)
    with pytest.raises(MemoryLimitError, match="control group"):
        Memory(room_bytes=gigabyte // 10).check_coding(6_000_000, None)
    Memory(gigabyte, gigabyte // 10).check_coding(6_000_000, None)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return a cache folder that was prepared beforehand and that nobody may write."""
    folder = kernel_cache.cache_folder()
    if folder is None:
        pytest.skip("there is no cache folder")
    nncomp.compress(TEXT, model=None)
    shutil.copytree(folder.parent, tmp_path / "cache" / "nncomp", ignore=shutil.ignore_patterns("*.lock", "corpora", "models"))
    for place, _, _ in os.walk(tmp_path / "cache"):
        Path(place).chmod(0o555)
    return tmp_path / "cache"


def _keep_to_modes() -> None:
    """Let the modes of files count for root as well: drop the capability to pass them, for the program that is started."""
    drop, capability = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.mark.parametrize("without", [(), ("HOME", "TMPDIR", "USER", "PATH", "LANG", "LC_ALL")])
def test_a_cache_that_can_only_be_read_is_used(tmp_path: Path, prepared: Path, without: tuple[str, ...]) -> None:
    surroundings = {name: value for name, value in environment().items() if name not in without}
    result = subprocess.run(
        [sys.executable, "-m", "nncomp", "--model", "none", "-v", "-c", "-"],
        cwd="/",
        input=TEXT,
        capture_output=True,
        env=surroundings | {"XDG_CACHE_HOME": str(prepared)},
        check=False,
        preexec_fn=_keep_to_modes,
    )
    for place, _, _ in os.walk(prepared):
        Path(place).chmod(0o755)
    assert result.returncode == 0, result.stderr
    assert nncomp.decompress(result.stdout) == TEXT
    assert b"preparing" not in result.stderr


def _with_workers(commands: Commands, folder: Path) -> Running:
    """Start a command and return when its workers work."""
    (folder / "a").write_bytes(b"".join(b"%d is a number in a text.\n" % (i * 7919 % 1_000_003) for i in range(300_000)))
    running = commands.start("compress", "--model", "none", "-T", "2", "a", cwd=folder)
    for _ in range(2400):
        workers = members(running.process, "spawn_main")
        if workers and sum(_ticks(each) for each in workers) > 150:
            return running
        time.sleep(0.05)
    raise AssertionError("no worker works")


def _ticks(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])
    except (OSError, ValueError):
        return 0


def test_workers_end_with_their_parent(commands: Commands, tmp_path: Path) -> None:
    """kill -9 of the command alone: its workers are in the middle of a block, and end, silently."""
    running = _with_workers(commands, tmp_path)
    os.kill(running.process, signal.SIGKILL)
    assert not has_group(running.process)
    result = running.finish()
    assert (result.code, result.said) == (-signal.SIGKILL, "")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_all_processes_is_one_sentence(commands: Commands, tmp_path: Path, number: signal.Signals) -> None:
    """A terminal that is closed, Ctrl-C, a system that shuts down: only the command itself answers."""
    running = _with_workers(commands, tmp_path)
    os.killpg(running.process, number)
    result = running.finish()
    assert (result.code, result.said) == (1, "nncomp: Interrupted. No partial file is left.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class _NoMemory:
    """The end of a pipe in a process that has no memory for what comes or goes."""

    def recv(self) -> None:
        raise MemoryError

    def send(self, _: object) -> None:
        raise MemoryError


def test_a_worker_without_memory_for_a_task_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent says so."""

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(watch, "_cells", None)
    monkeypatch.setattr(watch, "_on_preparing", None)
    monkeypatch.setattr(os, "_exit", end)
    parent = worker_process._ToParent(_NoMemory())  # type: ignore[arg-type]
    for act in (parent.next_task, lambda: parent.send(b"")):
        with pytest.raises(SystemExit, match="1"):
            act()


def test_a_worker_that_is_killed_is_one_sentence(commands: Commands, tmp_path: Path) -> None:
    running = _with_workers(commands, tmp_path)
    os.kill(members(running.process, "spawn_main")[0], signal.SIGKILL)
    result = running.finish()
    assert result.code == 1 and "A worker process ended before its block was done" in result.said
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
