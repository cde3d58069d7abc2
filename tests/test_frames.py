"""The layout: round trips, sizes, limits, and that no damage passes unseen."""

from __future__ import annotations

import contextlib
import io
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nncomp
from nncomp.errors import FormatError, ModelError
from nncomp.format import index, numbers
from nncomp.format.frame_reader import ByteSource, read_blocks
from nncomp.format.frames import Block, ModelReference, checksum
from nncomp.format.numbers import MAX_LITERAL_BYTES
from nncomp.format.varints import varint
from nncomp.network.registry import ModelFile, find
from nncomp.stream import pipeline
from nncomp.stream.repeats import cuts
from tests.blocks import BLOCK_BYTES, SPLIT_BYTES, frame, lzma_block, lzma_payload, stored, stored_block

MODEL = ModelReference(1, bytes(range(8)))
LZMA = 1


def no_model(reference: ModelReference) -> ModelFile:
    return find(reference.model_id, reference.content_hash)


def unpack(packed: bytes) -> bytes:
    sink = io.BytesIO()
    pipeline.decompress(io.BytesIO(packed), sink, no_model, workers=0)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (0, [0]),
        (1, [1]),
        (SPLIT_BYTES - 1, [SPLIT_BYTES - 1]),
        (SPLIT_BYTES, [BLOCK_BYTES, SPLIT_BYTES - BLOCK_BYTES]),
        (2 * BLOCK_BYTES, [BLOCK_BYTES, BLOCK_BYTES]),
        (BLOCK_BYTES + SPLIT_BYTES - 1, [BLOCK_BYTES, SPLIT_BYTES - 1]),
        (BLOCK_BYTES + SPLIT_BYTES, [BLOCK_BYTES, BLOCK_BYTES, SPLIT_BYTES - BLOCK_BYTES]),
    ],
)
def test_block_rule(size: int, parts: list[int]) -> None:
    data = random.Random(size).randbytes(size)
    found = [(len(cut.literals), cut.is_last) for cut in cuts(io.BytesIO(data), 1 << 26, block_bytes=BLOCK_BYTES)]
    assert found == [(part, i == len(parts) - 1) for i, part in enumerate(parts)]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 100_000, SPLIT_BYTES - 1, SPLIT_BYTES, 2 * SPLIT_BYTES, 5 * BLOCK_BYTES])
@pytest.mark.parametrize("model", [None, MODEL])
def test_a_stored_file_grows_by_at_most_50_bytes_and_40_a_block(size: int, model: ModelReference | None) -> None:
    data = random.Random(size).randbytes(size)
    packed = stored(data, model)
    blocks = list(read_blocks(io.BytesIO(packed)))
    assert len(packed) - size <= 50 + 40 * len(blocks)
    assert len(packed) - size <= (31 if len(blocks) == 1 else 50 + 40 * len(blocks))
    assert unpack(packed) == data


def test_a_coded_block_costs_at_most_31_bytes_beside_its_payload() -> None:
    payload = bytes(MAX_LITERAL_BYTES)
    assert len(frame([Block(3, MAX_LITERAL_BYTES, payload, bytes(8), True)], MODEL)) - len(payload) == 31


def test_nothing_is_15_bytes() -> None:
    packed = stored(b"")
    assert packed.hex() == "d61ba4e3108000e4a6a0577479b2b4"
    assert unpack(packed) == b""


def test_the_magic_is_no_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        numbers.MAGIC.decode()
    assert not set(numbers.MAGIC) & {0x00, 0xFF, *range(0x20, 0x7F)}
    assert all(b - a not in (0, 1) for a, b in pairwise(numbers.MAGIC))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_concatenated_files_give_the_concatenation(a: bytes, b: bytes) -> None:
    assert unpack(stored(a) + stored(b)) == a + b


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_varint_is_read_back(value: int) -> None:
    read, taken = ByteSource(io.BytesIO(varint(value))).take_varint((1 << 63) - 1, "a number")
    assert (read, taken) == (value, varint(value))


@pytest.mark.parametrize("taken", ["8000", "ff8000", "80808000"])
def test_a_varint_in_a_longer_form_is_refused(taken: str) -> None:
    with pytest.raises(FormatError, match="shortest form"):
        ByteSource(io.BytesIO(bytes.fromhex(taken))).take_varint(1 << 40, "a number")


def test_the_index_finds_every_block() -> None:
    data = random.Random(3).randbytes(2 * BLOCK_BYTES + 600_000)
    packed = stored(data, MODEL)
    entries = index.read_index(io.BytesIO(packed))
    found = list(read_blocks(io.BytesIO(packed)))
    assert [(e.offset, e.kind, e.raw_bytes, e.end) for e in entries] == [
        (f.offset, f.block.kind, f.block.raw_bytes, f.end) for f in found
    ]


@pytest.mark.parametrize("packed", [stored(b"one block"), stored(b"two") + stored(b"frames"), numbers.MAGIC + b"\x10", b""])
def test_what_has_no_index_is_said_to_have_none(packed: bytes) -> None:
    with pytest.raises(FormatError):
        index.read_index(io.BytesIO(packed))


def test_any_number_of_workers_gives_the_same_bytes() -> None:
    data = random.Random(5).randbytes(3_000_000)
    packed = stored(data)
    for workers in (0, 1, 3):
        back = io.BytesIO()
        done: list[int] = []
        summary = pipeline.decompress(io.BytesIO(packed), back, no_model, workers, done.append)
        assert back.getvalue() == data
        assert summary.kinds == {"stored": 3}
        assert done == sorted(done)


# Damage


def small_files() -> dict[str, bytes]:
    """Return files of one stored block, one coded as LZMA, two frames, and several blocks."""
    lines = b"".join(b"line %d, and again\n" % i for i in range(400))
    one = frame([lzma_block(lines, True)])
    zeros = bytes(BLOCK_BYTES)
    return {
        "stored": stored(b"Some bytes that are stored as they are."),
        "lzma": one,
        "frames": stored(b"first") + one,
        "several": frame([lzma_block(zeros, last) for last in (False, False, True)], content=3 * zeros),
    }


FILES = small_files()


@pytest.mark.parametrize("name", FILES)
def test_truncation_at_every_byte(name: str) -> None:
    packed = FILES[name]
    whole = unpack(packed)
    ends = {len(stored(b"first"))} if name == "frames" else set()  # there the file is whole, only shorter
    for end in range(len(packed)):
        if end in ends:
            assert unpack(packed[:end]) == b"first"
        else:
            with pytest.raises(FormatError):
                # Of the large one only the layout is read: that a block's bytes are all there is not up to its decoder.
                list(read_blocks(io.BytesIO(packed[:end]))) if name == "several" else unpack(packed[:end])
    assert unpack(packed) == whole


@pytest.mark.parametrize("name", FILES)
def test_2000_random_bit_flips(name: str) -> None:
    packed = FILES[name]
    whole = unpack(packed)
    chance = random.Random(name)
    for _ in range(600 if name != "several" else 200):
        damaged = bytearray(packed)
        damaged[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)
        _same_or_named_error(bytes(damaged), whole)


def _same_or_named_error(damaged: bytes, whole: bytes) -> None:
    with contextlib.suppress(FormatError, ModelError):
        assert unpack(damaged) == whole


@given(st.data())
@settings(max_examples=300)
def test_any_mutation_gives_the_same_bytes_or_a_named_error(data: st.DataObject) -> None:
    packed = FILES["frames"]
    at = data.draw(st.integers(0, len(packed)))
    removed = data.draw(st.integers(0, 12))
    put = data.draw(st.binary(max_size=12))
    damaged = packed[:at] + put + packed[at + removed :]
    allowed = {unpack(packed), b"first"}  # cutting exactly between frames leaves the first one whole
    with contextlib.suppress(FormatError, ModelError):
        assert unpack(damaged) in allowed or damaged == packed


HEAD = numbers.MAGIC + b"\x10"
SEVERAL = numbers.MAGIC + b"\x14\x14"


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        (b"", "The file is empty"),
        (b"\xd6\x1b", "truncated"),
        (b"plain text", "not a .nnc file"),
        (numbers.MAGIC + b"\x20", "format version 2"),
        (numbers.MAGIC + b"\x12", "header sets bits"),
        (HEAD + b"\x90", "first byte sets bits"),
        (HEAD + b"\x80" + varint(MAX_LITERAL_BYTES + 1), "more than 18,874,367 bytes"),
        (HEAD + b"\x80" + b"\xff" * 9 + b"\x7f", "more than 18,874,367 bytes"),
        (HEAD + b"\x81" + varint(10) + varint(11), "more than 10 bytes"),
        (numbers.MAGIC + b"\x14\x0f", "copies from 2\\*\\*15 bytes back"),
        (numbers.MAGIC + b"\x14\x21", "copies from 2\\*\\*33 bytes back"),
        (HEAD + b"\x01" + varint(10), "several blocks says no window"),
        (SEVERAL + b"\x80\x00" + bytes(8), "one block says a window"),
        (SEVERAL + b"\x00\x00" + bytes(8), "block of several is empty"),
        (SEVERAL + b"\x00\x01" + checksum(b"x") + b"x\x80\x01\x02\x03", "magic number"),
        (HEAD + b"\x80\x80\x00", "shortest form"),
        (HEAD + b"\x84" + varint(3) + varint(1) + bytes(8) + b"x", "kind 4"),
        (HEAD + b"\x83" + varint(3) + varint(1) + bytes(8) + b"x", "names no model"),
        (HEAD + b"\x80" + varint(1) + bytes(8) + b"x", "checksum"),
        (stored(b"fine") + b"more", "no part of it"),
        (stored(b"fine") + b"\n", "no part of it"),
    ],
)
def test_each_way_to_be_wrong_has_its_sentence(packed: bytes, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        unpack(packed)


def test_a_bomb_is_not_unpacked_beyond_its_claim() -> None:
    payload = lzma_payload(bytes(50_000_000))
    claim = max(1000, len(payload))
    with pytest.raises(FormatError, match="does not end"):
        unpack(frame([Block(LZMA, claim, payload, bytes(8), True)]))


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match="0001020304050607"):
        unpack(frame([Block(3, 3, b"x", checksum(b"abc"), True)], MODEL))


def test_a_model_that_no_block_uses_is_not_demanded() -> None:
    assert unpack(stored(b"no network here", MODEL)) == b"no network here"


@pytest.mark.parametrize("block_bytes", [1, 1000, SPLIT_BYTES - 1, MAX_LITERAL_BYTES])
def test_blocks_of_any_size_are_read(block_bytes: int) -> None:
    data = random.Random(block_bytes).randbytes(2 * block_bytes + 7)
    found = [data[:block_bytes], data[block_bytes : 2 * block_bytes], data[2 * block_bytes :]]
    packed = frame([stored_block(part, i == 2) for i, part in enumerate(found)], MODEL, data)
    assert unpack(packed) == data
    places = index.read_index(io.BytesIO(packed))
    assert [place.raw_bytes for place in places] == [block_bytes, block_bytes, 7]
    decompressor = nncomp.Decompressor()
    pieces = [decompressor.decompress(packed[at : at + (1 << 20)]) for at in range(0, len(packed), 1 << 20)]
    assert b"".join(pieces) == data
    assert decompressor.eof


def test_the_content_is_that_of_its_checksum() -> None:
    packed = frame([stored_block(b"one", False), stored_block(b"two", True)], content=b"onetwo")
    assert unpack(packed) == b"onetwo"
    with pytest.raises(FormatError, match="content is not that of its checksum"):
        unpack(frame([stored_block(b"one", False), stored_block(b"two", True)], content=b"one and two"))


def test_of_one_block_no_window_is_said() -> None:
    assert stored(bytes(SPLIT_BYTES - 1))[4] == 0x10
    assert stored(bytes(SPLIT_BYTES))[4:6] == b"\x14\x14"


def test_what_is_one_block() -> None:
    """A text of less than 18 MiB; and with blocks of 1 MiB one of less than 1.5 MiB."""
    for block_bytes, most in ((numbers.BLOCK_BYTES, MAX_LITERAL_BYTES), (1 << 20, (3 << 19) - 1)):
        for size, count in ((most, 1), (most + 1, 2)):
            found = list(cuts(io.BytesIO(random.Random(2).randbytes(size)), 1 << 26, block_bytes=block_bytes))
            assert len(found) == count and max(len(cut.literals) for cut in found) <= most


def test_no_more_is_read_than_a_block_needs() -> None:
    """A slow pipe: what is there of the blocks after it may be long in coming."""
    source = io.BytesIO(random.Random(3).randbytes(1 << 20))
    first = next(cuts(source, 1 << 26, block_bytes=1 << 16)).literals
    assert len(first) == 1 << 16 and source.tell() <= 2 << 16
