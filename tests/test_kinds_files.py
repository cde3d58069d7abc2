"""What a result takes over from its source, and names of every kind."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nncomp
from nncomp.cli import metadata
from nncomp.cli.names import shown
from nncomp.cli.sinks import open_sink
from nncomp.cli.sources import Source, descriptor_of
from nncomp.machine import kernel_cache
from nncomp.network import registry
from tests.conftest import environment
from tests.kinds.commands import Commands, open_to_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="owners and attributes are those of Linux")

TEXT = b"a text, a text, and once more a text\n" * 30
PACKED = nncomp.compress(TEXT, model=None)
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
NOBODY = 65534


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.nnc"
    path.write_bytes(PACKED)
    return path


def _modes(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def _source(status: os.stat_result, attributes: dict[str, bytes]) -> Source:
    return Source(io.BytesIO(), status, attributes=attributes)


def _status(path: Path, **changed: int) -> Any:
    """Return the status of a file, with something else in it."""
    status = path.stat()
    return SimpleNamespace(**{name: getattr(status, name) for name in dir(status) if name.startswith("st_")} | changed)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400, 0o444, 0o604, 0o666, 0o777, 0o4755, 0o2750])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_the_mode_is_that_of_the_source(commands: Commands, source: Path, mode: int, umask: int) -> None:
    source.chmod(mode)
    assert commands.run("-d", "a.nnc", cwd=source.parent, umask=umask).code == 0
    assert _modes(source.with_name("a"))[0] == mode & 0o777


@ROOT
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o755])
@pytest.mark.parametrize(("owner", "group"), [(1234, 1234), (0, 1234), (1234, 0)])
def test_owner_and_group_are_those_of_the_source(commands: Commands, source: Path, mode: int, owner: int, group: int) -> None:
    os.chown(source, owner, group)
    source.chmod(mode)
    for made, arguments in (("a", ["-d", "a.nnc"]), ("a.nnc.nnc", ["-f", "--model", "none", "a.nnc"])):
        assert commands.run(*arguments, cwd=source.parent).code == 0
        assert _modes(source.with_name(made)) == (mode, owner, group)


@ROOT
@pytest.mark.parametrize(("mode", "left"), [(0o640, 0o600), (0o664, 0o644), (0o660, 0o600), (0o674, 0o644), (0o646, 0o646)])
def test_a_group_that_cannot_be_given_opens_nothing(commands: Commands, source: Path, mode: int, left: int) -> None:
    """Another user may read the file, but not give the result to its group: the user's own group may do what all may."""
    source.chmod(mode | 0o004)
    os.chown(source, 0, 1234)
    made = source.parent / "open"
    made.mkdir()
    made.chmod(0o777)
    open_to_others(source.parent)
    result = commands.run("-d", "-o", made / "a", source, cwd=Path("/"), user=NOBODY)
    assert result.code == 0 and "the group of the source could not be taken over" in result.said
    expected = (left | 0o004) & ~0o070 | ((mode | 0o004) & 0o070 & (((mode | 0o004) & 0o007) << 3))
    assert _modes(made / "a") == (expected, NOBODY, NOBODY)


def test_at_no_moment_it_is_more_open(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever something of the file is changed, it can be read by its owner only; the mode comes last."""
    seen: list[int] = []
    status = source.stat()

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *given: object) -> Any:
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            return real(descriptor, *given)

        return call

    for name in ("fchown", "setxattr", "fchmod", "removexattr"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    changed = _status(source, st_uid=status.st_uid + (os.getuid() == 0))
    with open_sink(str(source.with_name("out")), False, _source(changed, {"user.note": b"1"})) as sink:
        sink.write(TEXT)
    assert seen and set(seen) == {0o600}


def test_the_time_is_that_of_the_source(commands: Commands, source: Path) -> None:
    moment = 1_234_567_890_123_456_789
    os.utime(source, ns=(moment, moment))
    assert commands.run("-d", "a.nnc", cwd=source.parent).code == 0
    assert source.with_name("a").stat().st_mtime_ns == moment


def _attributes_work(path: Path) -> bool:
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        return False
    return True


def test_extended_attributes_are_those_of_the_source(commands: Commands, source: Path) -> None:
    if not _attributes_work(source):
        pytest.skip("this file system has no extended attributes")
    os.setxattr(source, "user.empty", b"")
    assert commands.run("-d", "a.nnc", cwd=source.parent).code == 0
    made = source.with_name("a")
    assert {name: os.getxattr(made, name) for name in os.listxattr(made)} == {"user.note": b"kept", "user.empty": b""}


def _list_of(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


# The owner may read and write, user 1234 may read, the group nothing, at most reading, others nothing.
ACCESS = _list_of((1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))


def test_an_access_list_is_that_of_the_source(commands: Commands, source: Path) -> None:
    try:
        os.setxattr(source, "system.posix_acl_access", ACCESS)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert commands.run("-d", "a.nnc", cwd=source.parent).code == 0
    made = source.with_name("a")
    assert os.getxattr(made, "system.posix_acl_access") == ACCESS
    assert _modes(made)[0] == 0o640


def test_an_access_list_of_the_folder_opens_nothing(commands: Commands, source: Path) -> None:
    try:
        os.setxattr(source.parent, "system.posix_acl_default", ACCESS)
    except OSError:
        pytest.skip("this file system has no access lists")
    source.chmod(0o640)
    assert commands.run("-d", "a.nnc", cwd=source.parent).code == 0
    assert "system.posix_acl_access" not in os.listxattr(source.with_name("a"))


def test_an_access_list_that_cannot_be_given_closes_the_group(source: Path) -> None:
    """Where the mode of the source tells what its list allows at most, the group alone may have had less."""
    status = _status(source, st_mode=0o100660)
    with open_sink(str(source.with_name("out")), False, _source(status, {"system.posix_acl_access": b"no list"})) as sink:
        sink.write(TEXT)
    assert sink.missing == ["the access list"]
    assert _modes(source.with_name("out"))[0] == 0o600


def test_a_file_system_without_attributes_is_no_failure(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("listxattr", "getxattr", "setxattr", "removexattr"):
        monkeypatch.setattr(os, name, unknown)
    with source.open("rb") as file:
        assert metadata.read_attributes(file.fileno()) == {}
    with open_sink(str(source.with_name("out")), False, _source(source.stat(), {"user.note": b"1"})) as sink:
        sink.write(TEXT)
    assert sink.missing == ["extended attributes"]


NAMES = {
    "Latin-1": (b"l\xe9.txt", r"$'l\xe9.txt'"),
    "a line feed": (b"two\nlines", r"$'two\nlines'"),
    "escape codes": (b"\x1b[31mred", r"$'\e[31mred'"),
    "a bell": (b"bell\a", r"$'bell\a'"),
    "turned round": ("txt\u202e.exe".encode(), r"$'txt\xe2\x80\xae.exe'"),
    "a quote and a tab": (b"it's\ta tab", r"$'it\'s\ta tab'"),
    "half of a pair": (b"\xed\xb3\xa9", r"$'\xed\xb3\xa9'"),
    "spaces": (b" two  spaces ", " two  spaces "),
    "Japanese": ("文".encode(), "文"),
    "an emoji": ("👩‍💻".encode(), "👩‍💻"),
    "a dash": (b"./-d", "./-d"),
    "two suffixes": (b"a.nnc", "a.nnc"),
    "a command": (b"./list", "./list"),
    "a pattern": (b"[a]*?", "[a]*?"),
    "markup": (b"[bold]x[red]", "[bold]x[red]"),
    "251 bytes": (b"n" * 251, "n" * 251),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_of_any_kind(commands: Commands, tmp_path: Path, kind: str) -> None:
    """There and back, listed and tested, shown in one line and so that nothing obeys it; the next file is shown, too."""
    name, said = NAMES[kind]
    path, other = tmp_path / os.fsdecode(name), tmp_path / "other.nnc"
    path.write_bytes(TEXT)
    other.write_bytes(PACKED)
    given = os.fsdecode(name)
    result = commands.run("compress", "-f", "--model", "none", given, cwd=tmp_path)
    assert result.code == 0 and result.said.startswith(f"{said}: ") and result.said.count("\n") == 1
    packed = said[:-1] + ".nnc'" if said.startswith("$'") else f"{said}.nnc"
    path.unlink()
    result = commands.run("list", f"{given}.nnc", "other.nnc", cwd=tmp_path)
    assert result.code == 0 and packed in result.output.decode() and "other.nnc" in result.output.decode()
    assert not any(byte < 32 for byte in result.output.replace(b"\n", b""))
    result = commands.run("test", f"{given}.nnc", "missing", "other.nnc", cwd=tmp_path)
    assert result.code == 1
    assert result.said.splitlines()[0].startswith(f"{packed}: whole") and len(result.said.splitlines()) == 3
    assert commands.run("decompress", f"{given}.nnc", cwd=tmp_path).code == 0
    assert path.read_bytes() == TEXT


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_an_error_is_shown_in_one_line(commands: Commands, tmp_path: Path, kind: str) -> None:
    name, said = NAMES[kind]
    (tmp_path / "in").write_bytes(TEXT)
    (tmp_path / os.fsdecode(name)).write_bytes(b"old")
    result = commands.run("compress", "--model", "none", "-o", os.fsdecode(name), "in", cwd=tmp_path)
    assert (result.code, result.said.count("\n")) == (1, 1)
    assert f"{said} already exists" in result.said


def test_what_bash_reads_is_the_name() -> None:
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("there is no bash")
    for name, said in NAMES.values():
        if said.startswith("$'"):
            printed = subprocess.run([bash, "-c", f"printf %s {said}"], capture_output=True, check=True).stdout
            assert printed == name
            assert shown(os.fsdecode(name)) == said


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("/dev/stdin", 0),
        ("/dev/stdout", 1),
        ("/dev/stderr", 2),
        ("/dev/fd/63", 63),
        ("/proc/self/fd/5", 5),
        ("/proc/thread-self/fd/5", 5),
        ("/dev/fd/../fd/5", 5),
        ("/dev/fd/x", None),
        ("/dev/fd", None),
        ("/dev/fd/", None),
        ("/dev/null", None),
        ("", None),
        ("fd/1", None),
        ("/proc/1/fd/1", None),
        ("nul\0l", None),
    ],
)
def test_which_names_are_descriptors(name: str, number: int | None) -> None:
    assert descriptor_of(name) == number


def test_a_link_to_a_link_to_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "b").symlink_to("/dev/stdout")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "loop").symlink_to("loop")
    assert [descriptor_of(str(tmp_path / name)) for name in ("a", "b", "loop", "missing")] == [1, 1, None, None]


def test_rm_never_removes_a_link(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "link").symlink_to("a")
    result = commands.run("compress", "--model", "none", "--rm", "link", cwd=tmp_path)
    assert result.code == 1 and "This is a link" in result.said
    assert {path.name for path in tmp_path.iterdir()} == {"a", "link"}


def test_many_small_files_read_each_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a model file once is not read again while the file is the same one; another one is."""
    registry._hash_of.cache_clear()
    folder = kernel_cache.cache_folder()
    for path in folder.glob("model-*") if folder else ():  # what earlier processes found
        path.unlink()
    hashed: list[Path] = []
    real = hashlib.file_digest

    def watched(file: Any, name: str) -> Any:
        hashed.append(Path(file.name))
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    for _ in range(30):
        assert nncomp.decompress(PACKED) == TEXT
        assert {file.path for file in registry.installed_models()} <= set(hashed)
        assert len(hashed) == len(set(hashed))
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"one")
    assert [registry.open_model(own).content_hash for _ in range(2)] == [hashlib.sha256(b"one").digest()] * 2
    own.write_bytes(b"other")
    assert registry.open_model(own).content_hash == hashlib.sha256(b"other").digest()
    assert hashed.count(own) == 2


def test_a_hash_is_remembered_for_a_version_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By later processes too; a file of the same size and time that was written again is another version."""
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: kept)
    monkeypatch.setattr(registry, "_YOUNG_NS", -1)
    own, real, hashed = tmp_path / "own.safetensors", hashlib.file_digest, list[str]()

    def watched(file: Any, name: str) -> Any:
        hashed.append(file.name)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", watched)

    def hash_in_a_new_process() -> bytes:
        registry._hash_of.cache_clear()
        return registry._content_hash(own)

    own.write_bytes(b"one")
    before = own.stat()
    one, two = (hashlib.sha256(text).digest() for text in (b"one", b"two"))
    assert [hash_in_a_new_process() for _ in range(3)] == [one] * 3
    assert hashed.count(str(own)) == 1
    own.write_bytes(b"two")
    os.utime(own, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert own.stat().st_ctime_ns != before.st_ctime_ns
    assert hash_in_a_new_process() == two
    for path in kept.glob("model-*"):  # damaged
        path.write_bytes(b"x" + path.read_bytes()[1:])
    assert hash_in_a_new_process() == two
    monkeypatch.setattr(registry, "_YOUNG_NS", 10**12)  # it may be written again within the same tick of the clock
    for path in kept.glob("model-*"):
        path.unlink()
    assert hash_in_a_new_process() == two
    assert not list(kept.glob("model-*"))


@pytest.mark.parametrize("arguments", ["-dc {}", "-d -f {}", "-d < {}"])
def test_a_current_folder_that_was_removed_is_not_needed(source: Path, arguments: str) -> None:
    """All names are absolute, or standard streams."""
    gone = source.parent / "gone"
    gone.mkdir()
    line = f'rmdir "$PWD" && exec "$0" -P -m nncomp {arguments.format(source)}'
    result = subprocess.run(["sh", "-c", line, sys.executable], cwd=gone, env=environment(), capture_output=True, check=False)
    assert (result.returncode, b"No such file" in result.stderr) == (0, False), result.stderr
    assert (source.with_name("a").read_bytes() if "-f" in arguments else result.stdout) == TEXT


def test_a_result_in_a_current_folder_that_was_removed_says_its_name(source: Path) -> None:
    gone = source.parent / "gone"
    gone.mkdir()
    line = f'rmdir "$PWD" && exec "$0" -P -m nncomp -d -o b {source}'
    result = subprocess.run(["sh", "-c", line, sys.executable], cwd=gone, env=environment(), capture_output=True, check=False)
    assert result.returncode == 1 and b": b cannot be written: No such file or directory." in result.stderr
