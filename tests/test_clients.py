"""What other libraries do with a file object, done with `nncomp.open` and with `lzma.open`: the same comes out."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import logging.handlers
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import nncomp
from tests.conftest import environment

TEXT = "".join(f"{i},line {i * 7919 % 1009},\u00e4\n" for i in range(300))
Open = Callable[..., Any]


def our_open(name: Any, mode: str = "rb", **more: Any) -> Any:
    """Open a file as `lzma.open` does, for writing without a network, which is quicker."""
    return nncomp.open(name, mode, **({} if "r" in mode else {"model": None}), **more)


def _tar(opened: Open, path: Path) -> object:
    """Members of a tar, written and read with seeks, then as a stream."""
    with opened(path, "wb") as file, tarfile.open(fileobj=file, mode="w:") as tar:
        for name in ("a", "b", "c"):
            member = tarfile.TarInfo(name)
            member.size = len(TEXT.encode())
            tar.addfile(member, io.BytesIO(TEXT.encode()))
    found: list[object] = []
    with opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for name in ("c", "a"):
            member_file = tar.extractfile(name)
            assert member_file
            found.append(member_file.read())
    with opened(path) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        return [*found, [member.name for member in tar]]


def _zip(opened: Open, path: Path) -> object:
    with opened(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a"), TEXT)
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        return archive.read("a")


def _copied(opened: Open, path: Path) -> object:
    with opened(path, "wb") as file:
        shutil.copyfileobj(io.BytesIO(TEXT.encode()), file, 100)
    back = io.BytesIO()
    with opened(path) as file:
        shutil.copyfileobj(file, back, 1000)
    return back.getvalue()


def _json(opened: Open, path: Path) -> object:
    with opened(path, "wt", encoding="utf-8") as file:
        json.dump({"text": TEXT, "numbers": [1, 2.5, None]}, file)
    with opened(path) as file:
        return json.load(file)


def _csv(opened: Open, path: Path) -> object:
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[1, "two\r\nlines", 'a "quote"'], ["", "ä", 3]])
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _pickle(opened: Open, path: Path) -> object:
    with opened(path, "wb") as file:
        pickle.dump([TEXT] * 3, file)
        pickle.dump({"more": 1}, file)
    with opened(path) as file:
        return pickle.load(file), pickle.load(file)


def _logged(opened: Open, path: Path) -> object:
    """A handler on a file that is open, which flushes after each record; two runs, the second one appends."""
    for run in range(2):
        with opened(path, "at", encoding="utf-8") as file:
            handler = logging.StreamHandler(file)
            log = logging.Logger(f"run {run}")
            log.addHandler(handler)
            for number in range(5):
                log.warning("record %d of %d", number, run)
            handler.close()
    with opened(path, "rt", encoding="utf-8") as file:
        return file.readlines()


def _rotated(opened: Open, path: Path) -> object:
    """A handler that makes a compressed file of each log that is full."""

    def rotate(source: str, target: str) -> None:
        with open(source, "rb") as plain, opened(target, "wb") as packed:  # noqa: PTH123
            shutil.copyfileobj(plain, packed)
        Path(source).unlink()

    log = logging.Logger("rotated")
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=200, backupCount=2)
    handler.rotator = rotate
    log.addHandler(handler)
    for number in range(8):
        log.warning("a record of some length with its number: %d", number)
    handler.close()
    with opened(f"{path}.1") as file:
        return file.read()


def _in_a_thread_of_asyncio(opened: Open, path: Path) -> object:
    def write(part: int) -> None:
        with opened(f"{path}.{part}", "wt", encoding="utf-8") as file:
            file.write(TEXT[part:])

    def read(part: int) -> str:
        with opened(f"{path}.{part}", "rt", encoding="utf-8") as file:
            return str(file.read())

    async def work() -> list[str]:
        await asyncio.gather(*(asyncio.to_thread(write, part) for part in range(4)))
        return await asyncio.gather(*(asyncio.to_thread(read, part) for part in range(4)))

    return asyncio.run(work())


def _ten_threads(opened: Open, path: Path) -> object:
    """Each with a file of its own, all at once."""
    begin = threading.Barrier(10)

    def work(number: int) -> object:
        begin.wait(60)
        with opened(f"{path}.{number}", "wb") as file:
            file.write(TEXT.encode() * 2 + b"%d" % number)
        with opened(f"{path}.{number}") as file:
            file.seek(5)
            return file.read()

    with ThreadPoolExecutor(10) as threads:
        return list(threads.map(work, range(10)))


def _one_reader_of_ten_threads(opened: Open, path: Path) -> object:
    """Ten threads read one file object: each line goes to one of them."""
    with opened(path, "wb") as file:
        file.write(TEXT.encode())
    lock = threading.Lock()
    with opened(path) as file, ThreadPoolExecutor(10) as threads:

        def line(_number: int) -> bytes:
            with lock:
                return bytes(file.readline())

        return sorted(threads.map(line, range(300)))


def _forked(opened: Open, path: Path) -> object:
    """A process forks while it reads one file and writes another; the new process reads on, and leaves the writing alone."""
    with opened(path, "wb") as file:
        file.write(TEXT.encode())
    with opened(path) as source, opened(f"{path}.2", "wb") as sink:
        sink.write(source.read(1000))
        child = os.fork()
        if not child:
            os._exit(0 if source.read() == TEXT.encode()[1000:] else 1)
        assert os.waitpid(child, 0)[1] == 0
        sink.write(source.read())
    with opened(f"{path}.2") as file:
        return file.read()


def _wrapped(opened: Open, path: Path) -> object:
    """Wrappers of one's own, of both kinds."""
    with opened(path, "wb") as file:
        wrapper = io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8")
        wrapper.write(TEXT)
        wrapper.flush()
        wrapper.detach()
    with opened(path) as file, io.TextIOWrapper(io.BufferedReader(file), encoding="utf-8") as reader:
        return reader.readlines()[-1]


CLIENTS = [
    _tar,
    _zip,
    _copied,
    _json,
    _csv,
    _pickle,
    _logged,
    _rotated,
    _in_a_thread_of_asyncio,
    _ten_threads,
    _one_reader_of_ten_threads,
    _forked,
    _wrapped,
]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda each: each.__name__.strip("_"))
def test_a_client_gets_what_it_gets_of_lzma(client: Callable[[Open, Path], object], tmp_path: Path) -> None:
    if client is _forked and not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    theirs = client(lzma.open, tmp_path / "theirs" / "a")
    assert theirs
    assert client(our_open, tmp_path / "ours" / "a") == theirs


def test_pandas_through_fsspec(tmp_path: Path) -> None:
    pandas, fsspec = pytest.importorskip("pandas"), pytest.importorskip("fsspec")
    nncomp.register_fsspec()
    path = str(tmp_path / "table.csv.nnc")
    with our_open(path, "wt", encoding="utf-8") as file:
        file.write("number,line,letter\n" + TEXT)
    with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
        table = pandas.read_csv(file)
    assert (len(table), int(table["number"].sum()), table["letter"].unique().tolist()) == (300, 44_850, ["ä"])
    with fsspec.open(path, "wt", compression="nncomp", encoding="utf-8") as file:
        table.to_csv(file, index=False)
    with our_open(path, "rt", encoding="utf-8") as file:
        assert file.read() == "number,line,letter\n" + TEXT


def test_polars(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    with our_open(tmp_path / "a", "wb") as file:
        file.write(b"number,line,letter\n" + TEXT.encode())
    with our_open(tmp_path / "a") as file:
        assert polars.read_csv(file)["number"].sum() == 44_850


def test_smart_open(tmp_path: Path) -> None:
    smart_open = pytest.importorskip("smart_open")
    smart_open.register_compressor(".nnc", our_open)
    for mode, text in (("w", TEXT), ("wb", TEXT.encode())):
        with smart_open.open(str(tmp_path / "a.nnc"), mode) as file:
            file.write(text)
        with smart_open.open(str(tmp_path / "a.nnc"), mode.replace("w", "r")) as file:
            assert file.read() == text
        with our_open(tmp_path / "a.nnc") as file:
            assert file.read() == TEXT.encode()


LEFT_OPEN = """
import io, sys
{imports}
text = "a line that is written by a program that ends, " * 20
plain = opened("plain", "wb")
plain.write(text.encode())
lines = opened("lines", "wt", encoding="utf-8")
lines.write(text)
wrapped = io.TextIOWrapper(io.BufferedWriter(opened("wrapped", "wb")), encoding="utf-8")
wrapped.write(text)
closed = opened("closed", "wb")
closed.write(text.encode())
closed.close()
held = io.BytesIO()
kept = [opened("in a list", "wb")]
kept[0].write(text.encode())
{end}
"""
ENDS = {"its last line": "", "an error": "raise OSError('on purpose')"}
OF_LZMA = "import lzma\nopened = lzma.open"
OF_NNCOMP = "import nncomp, functools\nopened = functools.partial(nncomp.open, model=None)"


@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_ends_with_an_open_writer(tmp_path: Path, end: str) -> None:
    """What was written is there, whatever the end is."""
    outcomes = []
    for name, imports, opened in (("theirs", OF_LZMA, lzma.open), ("ours", OF_NNCOMP, our_open)):
        folder = tmp_path / name
        folder.mkdir()
        code = LEFT_OPEN.format(imports=imports, end=ENDS[end])
        result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, env=environment(), check=False)
        contents = {}
        for each in sorted(folder.iterdir()):
            with opened(each) as file:
                contents[each.name] = file.read()
        outcomes.append((result.returncode, result.stderr.splitlines()[-1:], contents))
        assert len(contents) == 5 and set(contents.values()) == {b"a line that is written by a program that ends, " * 20}
    assert outcomes[0] == outcomes[1]
    if not end.startswith("its"):
        return
    code = f"{OF_NNCOMP}\nfile = opened('/dev/full', 'wb')\nfile.write(b'a')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False)
    assert b"No space left on device" in result.stderr, "what cannot be written is not lost silently"


def test_estimates_are_those_of_the_command(tmp_path: Path) -> None:
    """Typed results: sums are exact, and each token has its place."""
    text = TEXT.encode()[:1500]
    found = nncomp.estimate(text, model=None)
    assert isinstance(found, nncomp.Estimate)
    assert found.raw_bytes == len(text) and found.file_bytes == len(nncomp.compress(text, model=None))
    assert sum(found.parts_bits.values()) == 8 * found.file_bytes
    assert 0 < found.bound_bits <= found.cross_entropy_bits <= 8 * found.file_bytes
    assert found.bits.shape == found.sizes.shape == found.offsets.shape == found.ids.shape
    assert found.offsets[0] == 0 and (found.offsets[1:] == found.sizes.cumsum()[:-1]).all() and found.sizes.sum() == len(text)
    of_file = nncomp.estimate(nncomp.compress(text, model=None), model=None)
    assert (of_file.parts_bits, of_file.bits.tolist()) == (found.parts_bits, found.bits.tolist())
    empty = nncomp.estimate(b"", model=None)
    assert (empty.raw_bytes, len(empty.bits), empty.bound_bits_per_byte, empty.cross_entropy_bits_per_byte) == (0, 0, None, None)
    with pytest.raises(TypeError):
        nncomp.estimate("a text")  # type: ignore[arg-type]


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    packed = nncomp.compress(TEXT.encode(), model=None)
    path = tmp_path / "a.nnc"
    path.write_bytes(packed * 2)
    found = nncomp.info(path)
    assert isinstance(found, nncomp.Info)
    assert (found.file, found.frames, found.blocks, found.models) == (str(path), 2, {"bytes": 2}, [])
    assert (found.raw_bytes, found.packed_bytes) == (2 * len(TEXT.encode()), 2 * len(packed))
    with path.open("rb") as file:
        assert nncomp.info(file) == found and not file.closed
    assert nncomp.info(os.fsencode(path)) == found
    assert nncomp.info(io.BytesIO(packed)).file == ""
    with pytest.raises(nncomp.NncompError, match="truncated"):
        nncomp.info(io.BytesIO(packed[:-1]))
    with pytest.raises(FileNotFoundError):
        nncomp.info(tmp_path / "missing")
    with pytest.raises(TypeError):
        nncomp.info(3)  # type: ignore[arg-type]


def test_training_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    """Before anything is loaded: hours of training would be lost."""
    (tmp_path / "there").write_bytes(b"")
    for out, said in (("there", "exists already"), ("no/model", "There is no folder")):
        with pytest.raises(nncomp.NncompError, match=said):
            nncomp.train(tmp_path / "nothing", tmp_path / out, nncomp.Training(tokens=1))
