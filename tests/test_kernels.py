"""Kernels: object code that is loaded without Numba, kept in a cache that may be damaged, foreign, read-only or shared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import nncomp
from nncomp.cli import warmup_command
from nncomp.errors import OutputError
from nncomp.machine import kernel_cache, kernels, object_code, prepared, processor
from nncomp.machine.kernels import IS_COMPILED, Kernel, compiled, inlined
from nncomp.mixing import byte_predictor
from tests.conftest import ROOT, environment

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="nothing is compiled")


class Pair(NamedTuple):
    rows: Any  # (R, N) int32
    row: Any  # (N,) int64


@inlined
def _scaled(value: int, factor: int) -> int:
    return value * factor


@compiled
def add_row(pair: Pair, factor: int, is_negative: bool, mask: int, counts: Any) -> None:
    """Add a multiple of a row to all rows, masked, and count them by the parts of a plain tuple."""
    for i in range(pair.rows.shape[0]):
        for j in range(pair.rows.shape[1]):
            step = _scaled(pair.row[j], factor) & np.int64(mask)
            pair.rows[i, j] += -step if is_negative else step
        counts[0][0] += 1
        counts[1][0] += np.uint8(100)


def arguments() -> tuple[Any, ...]:
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    counts = np.zeros(1, np.uint64), np.zeros(1, np.uint8)
    return Pair(rows, np.array([1, -(1 << 40), 1 << 33])), -3, True, np.uint64(0xFFFF), counts


def result(kernel: Any) -> list[list[int]]:
    """Return what the kernel writes."""
    given = arguments()
    kernel(*given)
    return [given[0].rows.tolist(), given[4][0].tolist(), given[4][1].tolist()]


EXPECTED = result(add_row.py_func)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_bound_arguments_are_those_that_it_was_given(is_compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays may change between calls; nobody else need keep them; numbers stay what they were."""
    monkeypatch.setattr(kernels, "IS_COMPILED", is_compiled)
    counts, call = np.zeros(1, np.uint64), None
    for _ in range(3):  # memory that is freed would be taken again
        rows = np.zeros((1, 3), np.int32)
        call = add_row.bound(Pair(rows, np.array([1, 2, 3])), 2, False, np.uint64(0xFF), (counts, np.zeros(1, np.uint8)))
    assert call is not None
    call()
    rows += 1
    call()
    assert rows.tolist() == [[5, 9, 13]] and counts.tolist() == [2]


def a_new() -> Kernel:
    """Return the kernel as a process has it that has just begun."""
    return compiled(add_row.py_func)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the kernels that are compiled from now on."""
    from nncomp.machine import compiling

    names, real = list[str](), compiling.object_code

    def watched(kernel: Kernel, given: tuple[Any, ...]) -> bytes:
        names.append(kernel.name)
        return real(kernel, given)

    monkeypatch.setattr(compiling, "object_code", watched)
    return names


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Return name and content of the file in the cache of a kernel that was compiled."""
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_cache, "cache_folder", lambda: folder)
        assert result(a_new()) == EXPECTED
    (path,) = files(folder)
    return path.name, path.read_bytes()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.o"))


def test_machine_code_does_what_the_source_does(folder: Path, made: list[str]) -> None:
    assert result(add_row) == EXPECTED
    for _ in range(2):
        assert result(a_new()) == EXPECTED
    assert len(made) == len(files(folder)) == 1


def test_other_types_are_other_object_code(folder: Path, made: list[str]) -> None:
    kernel, (pair, *others) = a_new(), arguments()
    kernel(pair, *others)
    wide = Pair(np.arange(6).reshape(2, 3), pair.row)
    kernel(wide, *others)
    expected = Pair(np.arange(6).reshape(2, 3), pair.row)
    add_row.py_func(expected, *arguments()[1:])
    assert wide.rows.tolist() == expected.rows.tolist()
    assert len(made) == len(files(folder)) == 2


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.int32).T[:2], np.zeros(13, np.uint8)[1:].view(np.int32), [1], None, 0.5])
def test_what_no_kernel_takes(wrong: object) -> None:
    with pytest.raises(TypeError):
        object_code.flat((wrong,))


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:40], lambda b: b[:-9] + b"x" + b[-8:], lambda b: b * 2]
)
def test_a_damaged_file_is_made_again(folder: Path, made: list[str], whole: tuple[str, bytes], damage: Any) -> None:
    name, good = whole
    path = folder / name
    path.write_bytes(good)
    assert result(a_new()) == EXPECTED
    assert not made
    path.write_bytes(damage(good))
    assert result(a_new()) == EXPECTED
    assert files(folder) == [path]
    assert path.read_bytes()[:64] != damage(good)[:64] or len(path.read_bytes()) == len(good)
    assert result(a_new()) == EXPECTED
    assert len(made) == 1


def test_code_for_another_processor_is_not_taken(folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by its name, and not if somebody gives it the name that is searched for."""
    assert result(a_new()) == EXPECTED
    (own,) = files(folder)
    monkeypatch.setattr(processor, "name", lambda: "another")
    kinds = object_code.flat(arguments())[1]
    name = kernel_cache.entry_name(add_row.name, " ".join(kinds))
    assert name != own.name and kernel_cache.read(name) is None
    own.rename(folder / name)
    assert kernel_cache.read(name) is None
    monkeypatch.undo()
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: folder)
    assert result(a_new()) == EXPECTED


@pytest.mark.parametrize("other", ["source", "compiler"])
def test_another_version_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = kernel_cache.cache_folder.__wrapped__()
    assert found and found == kernel_cache.cache_folder.__wrapped__()
    if other == "source":
        more = tmp_path / "more.py"
        more.write_text("A = 1\n")
        of_source = prepared.hashed_files()
        monkeypatch.setattr(prepared, "hashed_files", lambda: [*of_source, more])
    else:
        monkeypatch.setattr(processor, "compiler_versions", lambda: b"another")
    assert kernel_cache.cache_folder.__wrapped__() not in (None, found)


def test_where_nothing_is_kept_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: None)
    assert [result(a_new()) for _ in range(2)] == [EXPECTED] * 2
    assert len(made) == 2


def test_two_processes_at_once_compile_once(tmp_path: Path) -> None:
    code = (
        "from tests import test_kernels as t\n"
        "from nncomp.machine import compiling\n"
        "real = compiling.object_code\n"
        "compiling.object_code = lambda *given: (print('compiled'), real(*given))[1]\n"
        "print('ready', flush=True); input()\n"
        "print(t.result(t.add_row) == t.EXPECTED)\n"
    )
    surroundings = environment() | {"XDG_CACHE_HOME": str(tmp_path)}
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=surroundings, stdin=pipe, stdout=pipe, text=True)
        for _ in range(2)
    ]
    for each in both:
        assert each.stdout and each.stdout.readline() == "ready\n"
    for each in both:
        assert each.stdin
        each.stdin.write("\n")
        each.stdin.flush()
    said = sorted(each.communicate(timeout=300)[0] for each in both)
    assert said == ["True\n", "compiled\nTrue\n"]


def test_a_prepared_machine_loads_no_compiler() -> None:
    """After `nncomp warmup` every level compresses and decompresses with what is there, and without Numba."""
    folder = kernel_cache.cache_folder()
    if folder is None:
        pytest.skip("there is no cache folder")
    warm = [sys.executable, "-m", "nncomp", "warmup"]
    subprocess.run(warm, env=environment(), check=True, capture_output=True)
    again = subprocess.run(warm, env=environment(), check=True, capture_output=True, text=True)
    assert again.stdout.startswith("all kernels were there; models: default, fast, max; kept in ")
    code = (
        "import sys, nncomp\n"
        "text = b'the same words, and other words, ' * 9\n"
        "for level in (1, 5, 9):\n"
        "    assert nncomp.decompress(nncomp.compress(text, level=level)) == text\n"
        "assert nncomp.decompress(nncomp.compress(text, model=None)) == text\n"
        "print(sorted({'numba', 'safetensors', 'multiprocessing'} & set(sys.modules)))\n"
    )
    before = files(folder)
    found = subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"
    assert files(folder) == before


@pytest.fixture
def full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for object code on a disk that is full."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(kernel_cache, "_failures", [])
    return folder


def keep_one() -> list[str]:
    kernel_cache.write("a.o", b"code")
    return ["fast"]


def test_what_cannot_be_kept_leaves_nothing(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    keep_one()
    failure = kernel_cache.failure()
    assert failure is not None and failure.errno == errno.ENOSPC
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keep_one()
    assert not list(full.iterdir())


@pytest.mark.usefixtures("full")
def test_a_warmup_fails_where_something_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a folder that can be written, with no room for a file."""
    monkeypatch.setattr(kernel_cache, "is_kept", lambda: True)
    monkeypatch.setattr(warmup_command, "prepare_all", keep_one)
    with pytest.raises(OutputError, match=r"could not be kept in .* \(No space left on device\)"):
        warmup_command.warm_up()


@pytest.mark.usefixtures("folder")
def test_a_warmup_counts_what_it_made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernel_cache, "is_kept", lambda: True)
    monkeypatch.setattr(kernel_cache, "_failures", [])
    monkeypatch.setattr(warmup_command, "prepare_all", keep_one)
    warmup_command.warm_up()
    assert capsys.readouterr().out.startswith("1 kernel compiled in 0 s; models: fast; kept in ")


# Compiling beside: another process compiles what this one needs later, once, and this one goes on.


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands of the processes that are started from now on; none is."""
    commands: list[list[str]] = []

    def start(command: list[str], **_: object) -> subprocess.Popen[bytes]:
        commands.append(command)
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(byte_predictor.run_model, "_codes", {})  # this process may have loaded it for another test
    return commands


@pytest.mark.usefixtures("two_cores", "folder")
def test_what_is_not_there_is_compiled_by_another_process(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    byte_predictor.prepare_beside()
    (command,) = started
    assert command[:2] == [sys.executable, "-Pc"]  # without the folder that a person stands in
    monkeypatch.undo()
    surroundings = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=surroundings, stdin=subprocess.PIPE) as helper:
        assert helper.wait(300) == 0
    assert [path.name.split("-")[0] for path in tmp_path.rglob("*.o")] == ["mixing.byte_predictor.run_model"]


@pytest.mark.usefixtures("two_cores", "folder")
def test_a_helper_ends_when_its_parent_ends(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    byte_predictor.prepare_beside()
    (command,) = started
    monkeypatch.undo()
    code = command[2].rpartition("; ")[0] + "; import time; time.sleep(60)"
    with subprocess.Popen([*command[:2], code], stdin=subprocess.PIPE) as helper:
        assert helper.stdin
        helper.stdin.close()  # as when the parent is killed
        assert helper.wait(30) == 0


@pytest.mark.usefixtures("two_cores")
def test_what_is_there_is_not_compiled_again(started: list[list[str]]) -> None:
    nncomp.compress(b"a", model=None)
    byte_predictor.prepare_beside()
    assert not started


@pytest.mark.usefixtures("folder")
def test_one_core_compiles_one_after_the_other(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    byte_predictor.prepare_beside()
    assert not started


def test_where_nothing_is_kept_no_helper_starts(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "is_kept", lambda: False)
    kernels.compile_beside(byte_predictor.run_model, byte_predictor.__name__, "prepare")
    assert not started


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_a_folder_that_others_may_write_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Object code runs from it. What is made there, others may read, whatever the umask."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.umask(0o002)
    try:
        kernel_cache.cache_folder.cache_clear()
        folder = kernel_cache.cache_folder()
        assert folder is not None and folder.stat().st_mode & 0o777 == 0o755
        kernel_cache.write("a.o", b"code")
        assert (folder / "a.o").stat().st_mode & 0o777 == 0o644
        for one in (folder, folder.parent):
            one.chmod(0o775)
            kernel_cache.cache_folder.cache_clear()
            assert kernel_cache.cache_folder() is None
            one.chmod(0o755)
        kernel_cache.cache_folder.cache_clear()
        assert kernel_cache.read("a.o") == b"code"
    finally:
        os.umask(before)
        monkeypatch.undo()
        kernel_cache.cache_folder.cache_clear()
