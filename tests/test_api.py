"""nncomp from Python: bytes, file objects, and the places where other libraries take them."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nncomp
from nncomp.api.reading import _LocatedBlocks
from nncomp.blocks import memory
from nncomp.blocks.codec import Codec, CodedBlock
from nncomp.errors import DataError, FormatError, MemoryLimitError, ModelError
from nncomp.format import numbers
from nncomp.format.frames import FrameIndex
from nncomp.format.index import locate_blocks
from nncomp.format.numbers import BlockKind
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding
from tests.blocks import BLOCK_BYTES, frame, stored, stored_block

RANDOM = random.Random(7)
LARGE = RANDOM.randbytes(2 * BLOCK_BYTES + 600_000)  # three blocks


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        return self._data.read(count)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_there_and_back(kind: type) -> None:
    packed = nncomp.compress(kind(b"all work and no play " * 20), model=None)
    assert len(packed) < 80
    assert nncomp.decompress(kind(packed)) == b"all work and no play " * 20


def test_the_default_model_makes_what_the_command_makes(english: bytes) -> None:
    from nncomp.network.registry import installed_model

    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(english[:4000]), sink, Coding(installed_model("default")), 1)
    assert nncomp.compress(english[:4000]) == sink.getvalue()
    compressor = nncomp.Compressor()
    assert compressor.compress(english[:4000]) + compressor.flush() == sink.getvalue()
    assert nncomp.decompress(sink.getvalue()) == english[:4000]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model nowhere"):
        nncomp.compress(b"text", model="nowhere")
    with pytest.raises(ModelError):
        nncomp.open(tmp_path / "a.nnc", "wb", model="nowhere")
    assert not (tmp_path / "a.nnc").exists()


@pytest.mark.parametrize("level", ["5", 5.0, True, b"5"])
def test_a_level_is_an_int(level: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=rf"level is an int, 1 to 9, and not {level!r}\."):
        nncomp.compress(b"text", level=level)
    with pytest.raises(TypeError, match="level is an int"):
        nncomp.open(tmp_path / "a.nnc", "wb", level=level)
    assert not (tmp_path / "a.nnc").exists()


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (-1, ValueError, r"workers is -1\. It must be 0 or more\."),
        (0.5, TypeError, r"workers is an int, and not 0\.5\."),
        ("2", TypeError, r"workers is an int, and not '2'\."),
        (None, TypeError, r"workers is an int, and not None\."),
    ],
)
def test_workers_are_a_number(value: Any, error: type[Exception], sentence: str) -> None:
    for call in (nncomp.compress, nncomp.decompress, nncomp.estimate):
        with pytest.raises(error, match=sentence):
            call(nncomp.compress(b"a", model=None), workers=value)
    with pytest.raises(TypeError, match=r"block_size is an int, and not 70000\.5\."):
        nncomp.compress(b"a", model=None, block_size=70000.5)  # type: ignore[arg-type]


def test_names_that_no_file_has() -> None:
    for name in ("x" * 300 + ".safetensors", "a\0b"):
        with pytest.raises(ModelError, match=r"cannot be read|There is no model"):
            nncomp.compress(b"a", model=name)
    with pytest.raises(DataError, match="embedded null byte"):
        nncomp.compress(b"a", model=None, reference="a\0b")


def test_each_way_in_and_out_asks_how_much_memory_a_block_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = nncomp.compress(b"text", model=None)
    monkeypatch.setattr(memory, "DEFAULT_BYTES", 100)
    calls: list[Callable[[], object]] = [
        lambda: nncomp.compress(b"text", model=None),
        lambda: nncomp.Compressor(model=None).flush(),
        lambda: nncomp.open(io.BytesIO(), "w", model=None).close(),
        lambda: nncomp.decompress(packed),
        lambda: nncomp.Decompressor().decompress(packed),
        lambda: nncomp.open(io.BytesIO(packed)).read(),
        lambda: nncomp.open(Pipe(packed)).read(),
    ]
    for call in calls:
        with pytest.raises(MemoryLimitError, match="the limit is 0 MB"):
            call()


def test_a_footer_in_single_bytes_is_made_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    data, made, footer = bytes(range(200)), list[int](), FrameIndex.footer
    packed = frame([stored_block(data[i : i + 1], i == 199) for i in range(200)], content=data)

    def counted(self: FrameIndex, content: bytes) -> bytes:
        made.append(1)
        return footer(self, content)

    monkeypatch.setattr(FrameIndex, "footer", counted)
    decompressor = nncomp.Decompressor()
    assert b"".join(decompressor.decompress(packed[i : i + 1]) for i in range(len(packed))) == data
    assert decompressor.eof and len(made) < 6


def test_a_block_is_found_without_a_look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, count = 0, 2000

    class Watched(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().__getitem__(at)

        def __iter__(self) -> Any:
            nonlocal looks
            looks += len(self)
            return super().__iter__()

    found = _LocatedBlocks.places

    def watched(self: _LocatedBlocks) -> Any:
        if self._places is None:
            self._places = Watched(found(self))
        return self._places

    monkeypatch.setattr(_LocatedBlocks, "places", watched)
    monkeypatch.setattr(_LocatedBlocks, "_check_empty", lambda _: None)
    data = RANDOM.randbytes(count)
    packed = frame([stored_block(data[i : i + 1], i == count - 1) for i in range(count)], content=data)
    assert nncomp.open(io.BytesIO(packed)).read() == data
    assert looks < 30 * count


def test_a_file_that_is_open_for_writing_only(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(DataError, match=r"cannot be read: it is not open for reading\."):
        nncomp.open(file, "rb").read()


def test_blocks_have_the_size_that_is_asked_for() -> None:
    """One block in place of four; the command, a file and a compressor make the same file."""
    data = RANDOM.randbytes(250_000)
    packed = nncomp.compress(data, model=None, block_size=1 << 16)
    assert [place.raw_bytes for place in locate_blocks(io.BytesIO(packed))] == [65_536, 65_536, 65_536, 53_392]
    assert len(locate_blocks(io.BytesIO(nncomp.compress(data, model=None)))) == 1
    assert nncomp.decompress(packed) == data
    compressor, sink = nncomp.Compressor(model=None, block_size=1 << 16), io.BytesIO()
    assert compressor.compress(data) + compressor.flush() == packed
    with nncomp.open(sink, "wb", model=None, block_size=1 << 16) as file:
        file.write(data)
    assert sink.getvalue() == packed
    for size in ((1 << 16) - 1, numbers.BLOCK_BYTES + 1):
        with pytest.raises(ValueError, match="out of bounds"):
            nncomp.compress(data, model=None, block_size=size)


@pytest.mark.parametrize("size", [0, 1, numbers.SPLIT_BYTES - 1, numbers.SPLIT_BYTES, numbers.BLOCK_BYTES + numbers.SPLIT_BYTES])
def test_pieces_make_the_same_file(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Codec, "encode_block", lambda _, data, *given: CodedBlock(BlockKind.STORED, data, 0.0))
    data = RANDOM.randbytes(size)
    compressor = nncomp.Compressor(model=None)
    packed = b"".join(compressor.compress(data[i : i + 1_000_000]) for i in range(0, size, 1_000_000)) + compressor.flush()
    assert packed == nncomp.compress(data, model=None)
    for step in (1, 5) if size < 2 else (999_983, len(packed) + 1):
        decompressor = nncomp.Decompressor()
        pieces = [decompressor.decompress(packed[i : i + step]) for i in range(0, len(packed), step)]
        assert b"".join(pieces) == data
        assert (decompressor.eof, decompressor.unused_data) == (True, b"")


def test_a_decompressor_stops_at_the_end_of_a_frame() -> None:
    decompressor = nncomp.Decompressor()
    assert decompressor.decompress(stored(b"one") + stored(b"two")) == b"one"
    assert decompressor.unused_data == stored(b"two")
    with pytest.raises(EOFError):
        decompressor.decompress(b"more")
    cut = nncomp.Decompressor()
    cut.decompress(stored(b"one")[:-1])
    assert not cut.eof
    with pytest.raises(FormatError, match="is not a"):
        nncomp.Decompressor().decompress(b"some text")
    footer = bytearray(stored(LARGE))
    footer[-9] ^= 1
    with pytest.raises(FormatError, match="index at the end"):
        nncomp.Decompressor().decompress(footer)


def test_a_compressor_is_over_after_its_flush() -> None:
    compressor = nncomp.Compressor(model=None)
    compressor.flush()
    with pytest.raises(ValueError, match="flushed"):
        compressor.compress(b"more")
    with pytest.raises(ValueError, match="flushed"):
        compressor.flush()


def test_a_seek_decodes_only_the_block_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    at = _LocatedBlocks.at

    def watched(blocks: _LocatedBlocks, position: int) -> tuple[int, bytes] | None:
        asked.append(position)
        return at(blocks, position)

    monkeypatch.setattr(_LocatedBlocks, "at", watched)
    with nncomp.open(io.BytesIO(stored(LARGE))) as file:
        assert file.seek(-10, os.SEEK_END) == len(LARGE) - 10
        assert asked == []
        assert file.read(4) == LARGE[-10:-6]
        assert file.read() == LARGE[-6:]
        assert file.read(1) == b""
        for position in (0, BLOCK_BYTES - 3, 2 * BLOCK_BYTES):
            file.seek(position)
            assert file.tell() == position
            assert file.read(6) == LARGE[position : position + 6]
        assert file.seek(len(LARGE) + 5) == len(LARGE)  # as far as there is something
        assert file.read(1) == b""
        assert file.seek(-1) == 0
    assert {position // BLOCK_BYTES for position in asked if position < len(LARGE)} == {0, 1, 2}
    assert len([position for position in asked if position < len(LARGE)]) == 4


def test_random_reads_are_those_of_the_content() -> None:
    packed = stored(LARGE[:3_000_000]) + stored(b"") + stored(LARGE[3_000_000:])  # frames: no index, and an empty one between
    with nncomp.open(io.BytesIO(packed)) as file:
        for _ in range(30):
            start, count = RANDOM.randrange(len(LARGE)), RANDOM.randrange(100_000)
            file.seek(start)
            assert file.read(count) == LARGE[start : start + count]


def test_a_file_object_is_used_from_where_it_stands() -> None:
    held = io.BytesIO(b"before" + stored(LARGE))
    held.seek(6)
    with nncomp.open(held) as file:
        file.seek(5_000_000)
        assert file.read(9) == LARGE[5_000_000:5_000_009]
        file.seek(0)
        assert file.read() == LARGE
    assert not held.closed


def test_a_stream_that_cannot_seek_is_read_through() -> None:
    with nncomp.open(Pipe(stored(LARGE) + stored(b"and more"))) as file:
        assert not file.seekable()
        assert file.read(10) == LARGE[:10]
        assert file.read() == LARGE[10:] + b"and more"
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)


@pytest.mark.parametrize("packed", [stored(LARGE), Pipe(stored(LARGE))])
def test_damage_is_an_error_where_it_is_read(packed: bytes | Pipe) -> None:
    damaged = bytearray(stored(LARGE))
    damaged[-100_000] ^= 1
    with nncomp.open(io.BytesIO(damaged) if isinstance(packed, bytes) else Pipe(bytes(damaged))) as file:
        assert file.read(2 * BLOCK_BYTES) == LARGE[: 2 * BLOCK_BYTES]
        with pytest.raises(FormatError, match="checksum"):
            file.read(1)


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_damage_of_an_empty_file_is_an_error_too(kind: Callable[[bytes], Any]) -> None:
    empty = nncomp.compress(b"", model=None)
    for at in range(len(empty)):
        with nncomp.open(kind(altered := empty[:at] + bytes([empty[at] ^ 1]) + empty[at + 1 :])) as file:
            for _ in range(2):
                with pytest.raises(FormatError):
                    file.read()
        with pytest.raises(FormatError):
            nncomp.decompress(altered)


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "a.nnc"
    with nncomp.open(path, "xb", model=None) as file:
        assert (file.writable(), file.readable(), file.seekable(), file.closed) == (True, False, False, False)
        assert file.write(memoryview(b"first ")) == 6
        assert file.tell() == 6
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"late")
    with nncomp.open(path) as reader:
        assert reader.read(1) == b"f"
    assert reader._raw is None, "it holds no block"
    with nncomp.open(str(path), "ab", model=None) as file:
        file.write(b"second")
    with nncomp.open(os.fsencode(path)) as file:
        assert (file.writable(), file.readable(), file.seekable()) == (False, True, True)
        assert file.peek(1)[:1] == b"f"
        assert file.read1(3) == b"fir"
        part = bytearray(3)
        assert (file.readinto(part), bytes(part)) == (3, b"st ")
        assert file.read() == b"second"
        assert file.fileno() >= 0
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"more")
    with pytest.raises(FileExistsError):
        nncomp.open(path, "x", model=None)
    for mode in ("", "rw", "rbt", "q", "rbb"):
        with pytest.raises(ValueError, match="mode"):
            nncomp.open(path, mode)
    with pytest.raises(ValueError, match="for text"):
        nncomp.open(path, mode="rb" + "", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        nncomp.open(tmp_path / "missing.nnc")


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.nnc"
    with nncomp.open(path, "wt", model=None, encoding="utf-16-le", newline="\r\n") as file:
        file.write("große\nWorte\n")
    with nncomp.open(path, "rt", encoding="utf-16-le") as file:
        assert list(file) == ["große\n", "Worte\n"]
    with nncomp.open(path) as raw:
        assert raw.read().decode("utf-16-le") == "große\r\nWorte\r\n"


def test_json_csv_pickle_and_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.nnc"
    rows = [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]
    with nncomp.open(path, "wt", model=None, encoding="utf-8") as text:
        json.dump(rows, text)
    with nncomp.open(path, "rt", encoding="utf-8") as text:
        assert json.load(text) == rows
    with nncomp.open(path, "wt", model=None, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, ["name", "size"])
        writer.writeheader()
        writer.writerows(rows)
    with nncomp.open(path, "rt", encoding="utf-8", newline="") as text:
        assert list(csv.DictReader(text)) == rows
    with nncomp.open(path, "wb", model=None) as file:
        pickle.dump(rows, file)
    with nncomp.open(path) as file:
        assert pickle.load(file) == rows
    with nncomp.open(path) as file, (tmp_path / "plain").open("wb") as plain:
        shutil.copyfileobj(file, plain)
    assert (tmp_path / "plain").read_bytes() == pickle.dumps(rows)


@pytest.mark.parametrize("kind", [":", "|"])
def test_tar(tmp_path: Path, kind: str) -> None:
    (tmp_path / "one").write_bytes(b"1" * 2000)
    (tmp_path / "two").write_bytes(b"2" * 10)
    path = tmp_path / "both.tar.nnc"
    with nncomp.open(path, "wb", model=None) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        tar.add(tmp_path / "one", "one")
        tar.add(tmp_path / "two", "two")
    with nncomp.open(path) as file, tarfile.open(fileobj=file, mode=f"r{kind}") as tar:  # type: ignore[call-overload]
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {"one": b"1" * 2000, "two": b"2" * 10}


def test_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    nncomp.register_fsspec()
    nncomp.register_fsspec()
    path = tmp_path / "a.txt.nnc"
    for compression in ("nncomp", "infer"):
        with fsspec.open(path, "wt", compression=compression, encoding="utf-8") as file:
            file.write("a few words\n")
        assert nncomp.decompress(path.read_bytes()) == b"a few words\n"
        with fsspec.open(path, "rt", compression=compression, encoding="utf-8") as file:
            assert file.read() == "a few words\n"


def test_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "a.csv.nnc"
    path.write_bytes(nncomp.compress(b"name,size\na,1\nb,2\n", model=None))
    with nncomp.open(path) as file:
        assert pandas.read_csv(file)["size"].sum() == 3


def test_what_there_is() -> None:
    assert set(nncomp.__all__) <= set(dir(nncomp))
    assert FormatError.__bases__ == (nncomp.NncompError, OSError)
    with pytest.raises(AttributeError, match="nothing"):
        nncomp.nothing  # noqa: B018
