"""No file is larger than the best of other compressors', where much comes again: a small run of `checks/never_larger.py`."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable

import pytest

from checks.never_larger import KINDS
from nncomp.blocks.levels import level
from nncomp.network.registry import installed_model
from nncomp.stream import pipeline, repeats
from nncomp.stream.tasks import Coding

SIZE = 60_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_text_of_each_kind(kind: Callable[[random.Random, int], bytes]) -> None:
    data = kind(random.Random(kind.__name__), SIZE)
    sink, back = io.BytesIO(), io.BytesIO()
    fast = installed_model("fast")
    pipeline.compress(io.BytesIO(data), sink, Coding(fast, level(1).effort), 0)
    pipeline.decompress(io.BytesIO(sink.getvalue()), back, lambda reference: fast, 0)  # type: ignore[arg-type, return-value]
    assert back.getvalue() == data
    others = gzip.compress(data, 9), bz2.compress(data, 9), lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    assert len(sink.getvalue()) < min(map(len, others))


@pytest.mark.parametrize("kind", KINDS[:4])
def test_what_comes_again_in_a_later_block_costs_next_to_nothing(kind: Callable[[random.Random, int], bytes]) -> None:
    """With blocks of 40 KB: of a text that comes twice, little more than one is left."""
    data = kind(random.Random(kind.__name__), 400_000)
    found = list(repeats.cuts(io.BytesIO(data), 1 << 26, block_bytes=40_000))
    assert len(found) >= 3
    literals = b"".join(cut.literals for cut in found)
    assert len(literals) < 0.52 * len(data)
    assert sum(len(cut.copies) for cut in found) < 0.001 * len(data)
    assert zlib.crc32(b"".join(expanded(found))) == zlib.crc32(data)


def expanded(cuts: list[repeats.Cut]) -> list[bytes]:
    """Return the raw bytes of each cut, in the plainest way."""
    literals, parts = bytearray(), list[bytes]()
    for cut in cuts:
        out, at = bytearray(), 0
        for run, length, distance in cut.copies:
            out += cut.literals[at : at + run]
            literals += cut.literals[at : at + run]
            at += run
            source = literals[len(literals) - distance :]
            out += (source * (length // distance + 1))[:length]
        out += cut.literals[at:]
        literals += cut.literals[at:]
        parts.append(bytes(out))
    return parts


@pytest.mark.parametrize("seed", range(8))
def test_any_text_of_repeats_is_what_its_cuts_say(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts put together of pieces of themselves, in small blocks, with a small window, taken in pieces of any size."""
    monkeypatch.setattr(repeats, "_PIECE_BYTES", 1 << 12)
    monkeypatch.setattr(repeats, "_RANDOM_BYTES", 1 << 12 if seed % 2 else 1 << 30)
    chance = random.Random(seed)
    data = bytearray(chance.randbytes(3_000))
    while len(data) < 100_000:
        what = chance.random()
        if what < 0.2:
            data += chance.randbytes(chance.randrange(20_000 if chance.random() < 0.2 else 3_000))
        elif what < 0.3:
            data += chance.randbytes(chance.randrange(1, 5)) * chance.randrange(3_000)
        else:
            start = chance.randrange(len(data))
            data += data[start : start + chance.randrange(20_000)]
    for window_bytes in (1 << 16, 1 << 26):
        finder, found = repeats.RepeatFinder(window_bytes, block_bytes=4_000), list[repeats.Cut]()
        at = 0
        while at < len(data):
            size = chance.randrange(1, 30_000)
            found += finder.take(data[at : at + size])
            at += size
        found += finder.finish()
        assert b"".join(expanded(found)) == data
        assert found == list(repeats.cuts(io.BytesIO(data), window_bytes, block_bytes=4_000)), "the same for pieces of any size"
        assert all(copy.distance <= window_bytes for cut in found for copy in cut.copies)
        assert any(cut.copies for cut in found) and all(cut.raw_bytes for cut in found)


def test_random_bytes_have_blocks_of_their_own() -> None:
    """1 MiB of them and more, with up to 64 KiB of them beside the text before and after; and they may come again."""
    chance = random.Random(1)
    words = b"".join(b"%d words of a text, of which no line comes again\n" % i for i in range(9_000))
    for size, has_own in (((1 << 20) + (1 << 17), True), (1 << 19, False)):
        noise = chance.randbytes(size)
        found = list(repeats.cuts(io.BytesIO(words + noise + words[::-1]), 1 << 26))
        assert b"".join(expanded(found)) == words + noise + words[::-1]
        assert [cut.literals in noise for cut in found] == ([False, True, False] if has_own else [False])
        assert all(len(cut.literals) < len(words) + (1 << 16) for cut in found if cut.literals not in noise) or not has_own
    noise = chance.randbytes(1 << 21)
    for data in (noise, noise + words, words + noise, words + noise + words, noise + noise + words + noise[: 1 << 16]):
        found = list(repeats.cuts(io.BytesIO(data), 1 << 26))
        assert b"".join(expanded(found)) == data and all(cut.raw_bytes for cut in found)


@pytest.mark.parametrize("pieces", range(12))
def test_no_cut_is_empty_where_a_text_ends_with_a_full_one(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of several blocks must not have an empty one. Zeros are one copy, so only the limit on raw bytes cuts."""
    monkeypatch.setattr(repeats, "MAX_RAW_BYTES", 200_000)
    for more in (0, 1):
        data = bytes((pieces << 16) + more)
        found = list(repeats.cuts(io.BytesIO(data), 1 << 26))
        assert b"".join(expanded(found)) == data
        assert len(found) == 1 or all(0 < cut.raw_bytes <= 200_000 for cut in found)
        assert len(found) >= len(data) // 200_000
        sink, back = io.BytesIO(), io.BytesIO()
        pipeline.compress(io.BytesIO(data), sink, Coding(), 0)
        pipeline.decompress(io.BytesIO(sink.getvalue()), back, lambda reference: None, 0)  # type: ignore[arg-type, return-value]
        assert back.getvalue() == data


def test_what_does_not_repeat_is_left_as_it_is() -> None:
    data = random.Random(3).randbytes(200_000)
    (cut,) = repeats.cuts(io.BytesIO(data), 1 << 26)
    assert (cut.literals, cut.copies, cut.is_last) == (data, (), True)
