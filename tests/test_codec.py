"""Blocks: each kind brings its bytes back, the smallest is kept, and damage is named."""

from __future__ import annotations

import pydoc_data.topics
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nncomp.blocks import codec
from nncomp.blocks.codec import Codec, verify_block
from nncomp.errors import FormatError
from nncomp.format.frames import checksum
from nncomp.format.numbers import BlockKind
from nncomp.mixing import byte_predictor
from nncomp.network.registry import installed_model


def test_text_is_mixed_and_comes_back(english: bytes) -> None:
    coded = Codec().encode_block(english)
    assert coded.kind == BlockKind.BYTES
    assert 0 <= 8 * len(coded.payload) - coded.cost_bits < 400
    assert Codec().decode_block(coded.kind, coded.payload, len(english)) == english


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)), b"\r\n" * 50, b"\xff\xfe\x80 not UTF-8", bytes(5000)])
def test_any_bytes_come_back(data: bytes) -> None:
    coded = Codec().encode_block(data)
    assert len(coded.payload) <= len(data)
    assert Codec().decode_block(coded.kind, coded.payload, len(data)) == data


def test_what_cannot_be_made_smaller_is_stored() -> None:
    data = random.Random(1).randbytes(3000)
    coded = Codec().encode_block(data)
    assert (coded.kind, coded.payload, coded.cost_bits) == (BlockKind.STORED, data, 24_000)


def test_a_long_random_block_is_tried_on_a_sample_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    encode = codec._encode_bytes

    def watched(data: bytes, *rest: Callable[[list[float]], bool]) -> codec.CodedBlock | None:
        tried.append(len(data))
        return encode(data, *rest)

    monkeypatch.setattr(codec, "_encode_bytes", watched)
    data = bytes(600) + random.Random(3).randbytes(99_400)  # the zeros at the start do not look random
    assert Codec().encode_block(data).kind == BlockKind.STORED
    assert tried == [1 << 16]


@pytest.mark.parametrize(
    ("leaves", "first", "early", "lead", "token_bits", "parts"),
    [
        (0.3, 1.21, 1.0, 1.0, 3200, 2),
        (0.29, 1.21, 1.0, 1.0, 3200, None),
        (0.3, 1.19, 1.11, 1.0, 3200, 4),
        (0.29, 1.0, 1.11, 1.0, 3200, None),
        (0.3, 1.0, 1.0, 1.11, 3200, 8),
        (0.3, 1.0, 1.09, 1.09, 3200, None),
        (0.29, 1.0, 1.0, 1.11, 3200, 16),
        (0.29, 1.0, 1.0, 1.09, 3200, None),
        (0.19, 1.11, 1.11, 1.11, 3200, None),
        (0.19, 1.0, 1.0, 1.11, 2550, 26),
        (0.3, 1.0, 1.0, 1.0, 2550, 26),
        (0.3, 1.0, 1.0, 1.0, 750, 8),
    ],
)
def test_when_bytes_after_tokens_are_given_up(
    leaves: float, first: float, early: float, lead: float, token_bits: float, parts: int | None
) -> None:
    """Where they take a fifth more in the later half of the first sixteenth, or a tenth more in that of an eighth or a quarter,
    of what repeats little; or a tenth more in the second quarter, or more in all. A sixteenth of a short block does not tell."""
    part_bits = (1.0, 100 / first, *[100 / early] * 2, *[100 / lead] * 12, *[1.0] * 16)
    tokens = codec.CodedBlock(BlockKind.TOKENS, b"", token_bits, part_bits)
    for raw_bytes in (2 << 20, (2 << 20) - 1):
        lost = [n for n in range(1, 33) if codec._is_lost(tokens, leaves, raw_bytes, [100.0] * n)]
        if parts != 2 or raw_bytes == 2 << 20:
            assert lost[:1] == ([parts] if parts else [])
        else:
            assert 2 not in lost
    stored = codec.CodedBlock(BlockKind.STORED, b"", token_bits)
    assert codec._is_lost(stored, leaves, 1 << 30, [100.0] * 8) == (token_bits < 800)


@pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")
@pytest.mark.parametrize("threads", [1, 2])
def test_bytes_are_given_up_early_where_little_repeats(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prose = Path(pydoc_data.topics.__file__).read_bytes()[20_000:120_000]
    seen: list[int] = []
    encode = codec._encode_bytes

    def watched(data: bytes, is_lost: Callable[[list[float]], bool]) -> codec.CodedBlock | None:
        def counted(part_bits: list[float]) -> bool:
            seen.append(len(part_bits))
            return is_lost(part_bits)

        return encode(data, counted)

    monkeypatch.setattr(codec, "_encode_bytes", watched)
    monkeypatch.setattr(codec, "_MOST_OF_LZMA", 0.0)  # no text is plain
    monkeypatch.setattr(codec, "_LOOKS", {4: (0.0, 1.1)})
    block = Codec(installed_model("default")).encode_block(prose, threads)
    assert block.kind == BlockKind.TOKENS
    assert sum(block.part_bits) == pytest.approx(block.cost_bits)
    assert max(seen) == 4
    monkeypatch.setattr(codec, "_LOOKS", {4: (1.0, 1.1)})
    assert Codec(installed_model("default")).encode_block(prose, threads).payload == block.payload
    assert max(seen) > 4


def _roman(number: int) -> str:
    tens = "", "x", "xx", "xxx", "xl", "l", "lx", "lxx", "lxxx", "xc"
    ones = "", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"
    return "c" * (number // 100) + tens[number // 10 % 10] + ones[number % 10]


@pytest.mark.skipif(installed_model("fast") is None, reason="no shipped model")
@pytest.mark.parametrize(
    ("make", "is_tried", "kind"),
    [
        (lambda prose: prose, False, BlockKind.TOKENS),
        (lambda prose: prose + b"".join(b"%d " % (n * n) for n in range(300)), True, BlockKind.TOKENS),
        (lambda prose: "\n".join(map(_roman, range(1, 300))).encode(), True, BlockKind.BYTES),
        (lambda prose: "\n".join(map(str, range(1, 600))).encode(), True, BlockKind.BYTES),
    ],
    ids=["prose", "prose and squares", "Roman numerals", "numbers"],
)
def test_plain_text_is_not_tried_as_bytes(
    make: Callable[[bytes], bytes], is_tried: bool, kind: BlockKind, english: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, encode = list[int](), codec._encode_bytes

    def watched(data: bytes, *given: Any) -> codec.CodedBlock | None:
        tried.append(len(data))
        return encode(data, *given)

    monkeypatch.setattr(codec, "_encode_bytes", watched)
    block = Codec(installed_model("fast")).encode_block(make(english[:6000]))
    assert block.kind == kind
    assert bool(tried) == is_tried


def test_bytes_are_given_up_when_they_are_the_larger(english: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = codec._encode_bytes(english)
    assert whole is not None
    most = whole.cost_bits + 1
    assert codec._encode_bytes(english, lambda part_bits: sum(part_bits) > most) == whole
    done: list[int] = []
    parts = byte_predictor.probabilities_in_parts

    def watched(data: NDArray[np.uint8], part_bytes: int, *given: Any) -> Iterator[NDArray[np.uint16]]:
        for part in parts(data, part_bytes, *given):
            done.append(len(part) // 8)
            yield part

    monkeypatch.setattr(byte_predictor, "probabilities_in_parts", watched)
    assert codec._encode_bytes(english, lambda part_bits: sum(part_bits) > most / 2) is None
    assert sum(done) < len(english)


@pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")
def test_threads_give_bytes_up_at_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they would have been the smaller in the end: a file is the same for any number of threads."""
    table = b"".join(b"%d;%d;%d\n" % (i, i * i % 97, i % 7) for i in range(2_500))
    kinds = []
    for lead in (1.1, 0.0):  # at the second, bytes are given up whatever they take
        monkeypatch.setattr(codec, "_LOOKS", {4: (1.0, lead), 8: (0.0, lead)})
        one, two = (Codec(installed_model("default")).encode_block(table, threads) for threads in (1, 2))
        assert one == two
        kinds.append(one.kind)
    assert kinds == [BlockKind.BYTES, BlockKind.TOKENS]


@pytest.mark.parametrize("kind", [BlockKind.LZMA, BlockKind.BYTES])
def test_an_altered_payload_is_a_named_error(kind: BlockKind, english: bytes) -> None:
    data = english[:2000]
    coded = codec._encode_lzma(data) if kind == BlockKind.LZMA else codec._encode_bytes(data)
    assert coded is not None and coded.kind == kind
    chance = random.Random(2)
    for _ in range(100):
        altered = bytearray(coded.payload)
        altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
        try:
            decoded = Codec().decode_block(kind, bytes(altered), len(data))
            if decoded != data:
                with pytest.raises(FormatError, match="checksum"):
                    verify_block(b"", decoded, checksum(data))
        except FormatError:
            pass
    for wrong_bytes in (len(data) - 1, len(data) + 1000):
        with pytest.raises(FormatError):
            verify_block(b"", Codec().decode_block(kind, coded.payload, wrong_bytes), checksum(data))


@pytest.mark.parametrize("payload", [b"", b"\x09" + bytes(8), b"\x1b" + bytes(8), b"\x14" + bytes(7)])
def test_a_payload_of_mixing_that_cannot_be(payload: bytes) -> None:
    with pytest.raises(FormatError):
        Codec().decode_block(BlockKind.BYTES, payload, 10)
