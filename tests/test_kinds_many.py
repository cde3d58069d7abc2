"""Many files: folders and lists of them, results in another folder, one summary, and what is compressed already."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

import nncomp
from nncomp.blocks import codec, compressed_already
from nncomp.blocks.compressed_already import compressed_kind, kind_by_first_bytes, looks_compressed
from nncomp.stream import workers
from tests.kinds.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are started as on Linux")

TEXT = b"a text, a text, and once more a text\n" * 30
PACKED = nncomp.compress(TEXT, model=None)
RANDOM = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(1500))  # 48 KB
NONE = "--model", "none"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with files in folders: texts, and compressed ones."""
    for name in ("in/x", "in/deep/x", "in/deep/y", "other/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TEXT + name.encode())
    (tmp_path / "packed").mkdir()
    for name in ("p", "q"):
        (tmp_path / f"packed/{name}.nnc").write_bytes(PACKED)
    return tmp_path


# Arguments, standard input, exit status, files that are made, a part of what is said.
LISTS: dict[str, tuple[list[str], bytes, int, set[str], str]] = {
    "a list": (["--files", "list"], b"", 0, {"in/x.nnc", "in/deep/y.nnc"}, "in/deep/y: "),
    "a list as zstd names it": (["--filelist", "list"], b"", 0, {"in/x.nnc", "in/deep/y.nnc"}, ""),
    "a list with an equals sign": (["--files=list"], b"", 0, {"in/x.nnc", "in/deep/y.nnc"}, ""),
    "a list of standard input": (["--files", "-"], b"in/x\nother/x\n", 0, {"in/x.nnc", "other/x.nnc"}, ""),
    "no newline at the end": (["--files", "-"], b"in/x", 0, {"in/x.nnc"}, ""),
    "empty lines": (["--files", "-"], b"\n\nin/x\n\n", 0, {"in/x.nnc"}, ""),
    "zero bytes": (["--files0", "-"], b"in/x\0in/two\nlines\0", 0, {"in/x.nnc", "in/two\nlines.nnc"}, "$'in/two\\nlines'"),
    "a list and names": (["other/x", "--files", "list"], b"", 0, {"other/x.nnc", "in/x.nnc", "in/deep/y.nnc"}, ""),
    "both lists": (["--files", "list", "--files0", "-"], b"other/x", 0, {"other/x.nnc", "in/x.nnc", "in/deep/y.nnc"}, ""),
    "an empty list": (["--files", "-"], b"", 0, set(), ""),
    "a folder in a list": (["-r", "--files", "-"], b"in/deep\n", 0, {"in/deep/x.nnc", "in/deep/y.nnc"}, ""),
    "a folder in a list without -r": (["--files", "-"], b"in/deep\nin/x\n", 1, {"in/x.nnc"}, "This is a folder"),
    "a missing file in a list": (["--files", "-"], b"missing\nin/x\n", 1, {"in/x.nnc"}, "missing: The file cannot be read"),
    "a missing list": (["--files", "missing"], b"", 1, set(), "The list of files missing cannot be read: No such file"),
    "a folder as a list": (["--files", "in"], b"", 1, set(), "cannot be read: Is a directory"),
    "a list twice": (["--files", "-", "--files0", "-"], b"in/x", 2, set(), "Standard input cannot be two lists"),
    "a list and a file": (["-", "--files", "-"], b"in/x", 2, set(), "Standard input cannot be a list of files and a file"),
    "a dash in a list": (["--files", "-"], b"-\n", 2, set(), "Standard input cannot be a list of files and a file"),
    "-o and a list": (["-o", "out", "--files", "list"], b"", 2, set(), "-o takes one FILE"),
    "a list with a cluster": (["--cluster", "local", "--files", "list"], b"", 2, set(), "--files cannot be used with --cluster"),
    "a folder": (["--output-dir", "out", "-r", "in"], b"", 0, {"out/x.nnc", "out/deep/x.nnc", "out/deep/y.nnc"}, ""),
    "a folder in a folder": (["--output-dir", "out/a/b/", "-r", "in/deep/"], b"", 0, {"out/a/b/x.nnc", "out/a/b/y.nnc"}, ""),
    "names in a folder": (["--output-dir", "out", "in/deep/x", "in/deep/y"], b"", 0, {"out/x.nnc", "out/y.nnc"}, ""),
    "a list in a folder": (["--output-dir", "out", "--files", "list"], b"", 0, {"out/in/x.nnc", "out/in/deep/y.nnc"}, ""),
    "one name for two": (["--output-dir", "out", "in/x", "other/x"], b"", 1, {"out/x.nnc"}, "the same name as that of in/x"),
    "a list out of the folder": (["--output-dir", "out", "--files", "-"], b"in/../in/x\n", 1, set(), "out of the output folder"),
    "flat": (["--output-dir-flat", "out", "--files", "list"], b"", 0, {"out/x.nnc", "out/y.nnc"}, ""),
    "flat, one name for two": (["--output-dir-flat", "out", "-r", "in"], b"", 1, {"out/x.nnc", "out/y.nnc"}, "the same name"),
    "two folders": (["--output-dir", "a", "--output-dir-flat", "b", "in/x"], b"", 2, set(), "cannot be used together"),
    "a folder and -c": (["--output-dir", "out", "-c", "in/x"], b"", 2, set(), "cannot be used together"),
    "a file as a folder": (["--output-dir", "other/x", "in/x"], b"", 1, set(), "The folder other/x cannot be made"),
    "standard input in a folder": (["--output-dir", "out", "-c", "-"], b"a", 2, set(), "cannot be used together"),
    "back": (["-d", "--output-dir", "out", "-r", "packed"], b"", 0, {"out/p", "out/q"}, "packed/q.nnc: 1,110 bytes"),
    "back, flat": (["-d", "--output-dir-flat", "out", "packed/p.nnc"], b"", 0, {"out/p"}, ""),
    "tested": (["-t", "--files", "-"], b"packed/p.nnc\npacked/q.nnc\n", 0, set(), "packed/q.nnc: whole"),
    "listed": (["-l", "--files0", "-"], b"packed/p.nnc\0", 0, set(), ""),
    "a name of a result": (["packed/p.nnc"], b"", 1, set(), "The name ends in .nnc already."),
    "a name of a result, forced": (["-f", "packed/p.nnc"], b"", 0, {"packed/p.nnc.nnc"}, ""),
    "a name of a result, named": (["packed/p.nnc", "-o", "out"], b"", 0, {"out"}, ""),
    "names of results among others": (["in/x", "packed/p.nnc", "other/x"], b"", 1, {"in/x.nnc", "other/x.nnc"}, "ends in .nnc"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_and_folders(commands: Commands, tree: Path, kind: str) -> None:
    arguments, given, code, made, said = LISTS[kind]
    (tree / "list").write_text("in/x\nin/deep/y\n")
    (tree / "in/two\nlines").write_bytes(TEXT) if kind == "zero bytes" else None
    before = names(tree)
    model = [] if "-l" in arguments else [*NONE]
    result = commands.run(*arguments, *model, cwd=tree, stdin=given)
    assert (result.code, names(tree) - before) == (code, made), result.said
    assert said in result.said
    assert ("Traceback" in result.said, before - names(tree)) == (False, set())
    for name in made:
        if name.endswith(".nnc") and not name.startswith("packed"):
            inner = name.removesuffix(".nnc")
            assert TEXT in nncomp.decompress((tree / name).read_bytes()), inner


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder with 40 small files in its folder `d`."""
    (tmp_path / "d").mkdir()
    for i in range(40):
        (tmp_path / f"d/f{i:02}").write_bytes(TEXT + b"%d" % i)
    return tmp_path


def test_many_files_there_and_back(commands: Commands, many: Path) -> None:
    """The same bytes as each file by itself, from two processes that are started once; one line says what became of all."""
    result = commands.run("-T", "2", *NONE, "-r", "d", cwd=many)
    assert result.code == 0
    size = sum((many / f"d/f{i:02}.nnc").stat().st_size for i in range(40))
    assert re.fullmatch(rf"nncomp: 40 files: 44,470 -> {size:,} bytes, ratio [\d.]+, .* bytes\n", result.said)
    for i in (0, 7, 39):
        assert (many / f"d/f{i:02}.nnc").read_bytes() == nncomp.compress(TEXT + b"%d" % i, model=None)
    result = commands.run("-T", "2", "-t", "-r", "d", cwd=many)
    assert (result.code, result.said) == (0, "nncomp: 40 files: whole, 44,470 bytes\n")
    result = commands.run("-T", "2", "-d", "--output-dir", "back", "-r", "d", cwd=many)
    assert (result.code, result.said) == (0, "nncomp: 40 files: 44,470 bytes\n")
    for i in range(40):
        assert (many / f"back/f{i:02}").read_bytes() == TEXT + b"%d" % i
    result = commands.run("-q", "-d", "-c", "-r", "d", cwd=many)
    assert (result.code, result.output) == (0, b"".join(TEXT + b"%d" % i for i in range(40)))


def test_many_files_of_which_some_fail(commands: Commands, many: Path) -> None:
    """All others are done, in order; what failed is said where it failed, and named once more at the end."""
    (many / "d/f07.nnc").write_bytes(b"something else")
    (many / "d/f09").unlink()
    (many / "d/f09").symlink_to("nowhere")
    listed = "".join(f"d/f{i:02}\n" for i in range(40)).encode()
    result = commands.run("-T", "2", *NONE, "--files", "-", cwd=many, stdin=listed)
    lines = result.said.splitlines()
    assert result.code == 1 and len(lines) == 4
    assert "d/f07.nnc already exists" in lines[0] and "d/f09: The file cannot be read" in lines[1]
    assert lines[2].startswith("nncomp: 38 files: ") and lines[3] == "nncomp: 2 of 40 files failed: d/f07, d/f09"
    (many / "d/f03.nnc").write_bytes(PACKED[:-3])
    result = commands.run("-q", "-T", "2", "-t", "-r", "d", cwd=many)
    assert result.code == 1
    assert result.said.splitlines()[-1] == "nncomp: 2 of 39 files failed: d/f03.nnc, d/f07.nnc"


def test_many_files_with_v_are_told_one_by_one(commands: Commands, many: Path) -> None:
    result = commands.run("-v", *NONE, "-r", "d", cwd=many)
    assert result.code == 0 and result.said.count("d/f39: ") == 2
    assert result.said.splitlines()[-1].startswith("nncomp: 40 files: ")


def test_many_files_and_rm(commands: Commands, many: Path) -> None:
    """Each source goes when its result was read again; that of a failure stays."""
    (many / "d/f07.nnc").write_bytes(b"something else")
    assert commands.run("-q", *NONE, "--rm", "-r", "d", cwd=many).code == 1
    assert {path.name for path in (many / "d").iterdir()} == {"f07", *(f"f{i:02}.nnc" for i in range(40))}
    (many / "d/f07.nnc").unlink()
    assert commands.run("-q", "-d", "--rm", "-r", "d", cwd=many).code == 0
    assert {path.name for path in (many / "d").iterdir()} == {f"f{i:02}" for i in range(40)}


def test_a_large_file_among_small_ones(commands: Commands, many: Path) -> None:
    """It is done by itself, after those before it; the order of what is written is that of the names."""
    (many / "large").write_bytes(RANDOM * 23)
    result = commands.run("-T", "2", *NONE, "-c", "d/f00", "large", "d/f01", cwd=many)
    assert result.code == 0
    assert nncomp.decompress(result.output) == TEXT + b"0" + RANDOM * 23 + TEXT + b"1"


def test_a_pipe_among_files_is_read_once(commands: Commands, many: Path) -> None:
    """Opened and closed again, it would lose its writer."""
    os.mkfifo(many / "pipe")
    running = commands.start(*NONE, "-c", "d/f00", "pipe", "d/f01", cwd=many)
    with (many / "pipe").open("wb") as file:
        file.write(b"from a pipe")
    result = running.finish()
    assert (result.code, nncomp.decompress(result.output)) == (0, TEXT + b"0" + b"from a pipe" + TEXT + b"1")


def test_a_process_that_is_killed_is_no_lost_file(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that were at work are done by themselves."""
    from nncomp.cli import file_options, several, works
    from nncomp.errors import WorkerError

    def dies(tasks: Any, run: Any, workers: int, begun: Any = None) -> Any:
        for number, task in enumerate(tasks):
            if number == 3:
                raise WorkerError("killed")
            yield run(task)

    monkeypatch.setattr(several, "run_in_order", dies)
    monkeypatch.chdir(many)
    options = file_options.Options(None, False, True, False, 0)
    works.compress_files([f"d/f{i:02}" for i in range(12)], None, options)
    assert {path.name for path in (many / "d").glob("*.nnc")} == {f"f{i:02}.nnc" for i in range(12)}


class _Square:
    def __init__(self, number: int) -> None:
        self.number, self.raw_bytes, self.input_bytes = number, 1, 1

    def run(self) -> tuple[int, int]:
        return self.number**2, os.getpid()


def test_kept_workers_are_started_once() -> None:
    """One use after another has the same processes; afterwards there is none."""
    with workers.kept_workers():
        found = [list(workers.run_in_order(map(_Square, range(n, n + 4)), _Square.run, 1)) for n in (0, 4)]
        assert [number for each in found for number, _ in each] == [n**2 for n in range(8)]
        (process,) = {process for each in found for _, process in each}
        assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def _png(rows: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + RANDOM[i * 300 : (i + 1) * 300] for i in range(rows))
    head = struct.pack(">IIBBBBB", 100, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


LETTERS = [hashlib.sha256(b"%d" % i).hexdigest()[: 3 + i % 7].encode() for i in range(977)]
WORDS = b" ".join(LETTERS[number % 977] for (number,) in struct.iter_unpack("<H", RANDOM))
ALREADY: dict[str, tuple[bytes, str | None]] = {
    "gzip": (gzip.compress(WORDS, mtime=0), "gzip"),
    "xz": (lzma.compress(WORDS), "xz"),
    "png": (_png(100), "png"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"a comment of some length, " * 20 + RANDOM, "jpeg"),
    "zip": (b"PK\x03\x04" + RANDOM, "zip"),
    "zstd": (b"\x28\xb5\x2f\xfd" + RANDOM, "zstd"),
    "nothing known": (RANDOM, "random bytes"),
    "a zip of what is not compressed": (b"PK\x03\x04" + WORDS, None),
    "a text": (WORDS, None),
    "an empty file": (b"", None),
    "a small file": (RANDOM[:500], None),
    "all bytes, in order": (bytes(range(256)) * 200, None),
    "a text after random bytes": (RANDOM + WORDS[:48_000], None),
    "base64": (__import__("base64").b64encode(RANDOM), None),
    "numbers of two bytes": (struct.pack("<20000h", *(i * 7 % 3000 for i in range(20_000))), None),
}


@pytest.mark.parametrize("kind", ALREADY)
def test_what_is_compressed_already(commands: Commands, tmp_path: Path, kind: str) -> None:
    """It is stored without a try, or left alone with --exclude-compressed; -v says so; the rest is compressed."""
    data, found = ALREADY[kind]
    path = tmp_path / "a"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert (compressed_kind(file, len(data)), file.tell()) == (found, 0)
    if found is None:
        if len(data) > 1000:
            return
        assert commands.run("-q", "--exclude-compressed", *NONE, "a", cwd=tmp_path).code == 0
        assert nncomp.decompress((tmp_path / "a.nnc").read_bytes()) == data
        return
    result = commands.run("--exclude-compressed", "-v", "a", cwd=tmp_path)
    assert (result.code, result.said) == (0, f"a: compressed already ({found}), so it is skipped.\n")
    assert commands.run("--exclude-compressed", "a", cwd=tmp_path).said == ""
    assert names(tmp_path) == {"a"}
    result = commands.run("-v", "a", cwd=tmp_path)
    assert result.code == 0 and f"a: compressed already ({found}), so it is stored." in result.said
    packed = (tmp_path / "a.nnc").read_bytes()
    assert nncomp.decompress(packed) == data
    assert len(packed) <= len(data) + 40


def test_nothing_is_tried_of_what_is_compressed_already(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither network nor mixing nor LZMA: its blocks are stored."""
    from nncomp.cli import file_options, transfer

    def tried(*given: Any) -> Any:
        raise AssertionError("something is tried")

    monkeypatch.setattr(codec, "quick_lzma_bytes", tried)
    monkeypatch.setattr(codec.Codec, "_encode", tried)
    (tmp_path / "a").write_bytes(RANDOM)
    transfer.compress_file(str(tmp_path / "a"), None, file_options.Options(None, False, True, False, 0))
    assert (tmp_path / "a.nnc").stat().st_size == len(RANDOM) + 17


def test_nothing_is_tried_of_a_block_that_looks_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe of such bytes is as quick as a file of them; 5,000 bytes of text among them, and the block is tried."""

    def tried(*given: Any) -> Any:
        raise KeyError("it is tried")

    monkeypatch.setattr(codec, "quick_lzma_bytes", tried)
    block = 6 * RANDOM
    assert codec.Codec().encode_block(block).payload == block
    with pytest.raises(KeyError):
        codec.Codec().encode_block(block[: 1 << 17] + (TEXT * 5)[:5000] + block[(1 << 17) + 5000 :])


def test_kinds_by_their_first_bytes() -> None:
    for offset, magic, name in compressed_already.KINDS:
        assert kind_by_first_bytes(bytes(offset) + magic + b"more") == name
        assert kind_by_first_bytes(bytes(offset) + magic[:-1] + b"\0") != name or magic[-1:] == b"\0"
    assert looks_compressed(RANDOM[:8192]) and not looks_compressed(WORDS[:8192])
    assert not looks_compressed(b"")  # of a file that has a size and gives nothing, as some of /sys do
