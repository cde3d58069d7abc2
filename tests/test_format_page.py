"""What docs/FORMAT.md states of files (numbers, tables of ids, lists of names, examples) is what the code has.

test_format_models.py has what it states of models and of mixing.
"""

from __future__ import annotations

import io
import itertools
import lzma
import re
import struct
from typing import Any

import numpy as np
import pytest

from checks.independent.range_decoder import RangeDecoder
from nncomp import range_coder
from nncomp.blocks import lzma_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.memory import MB
from nncomp.errors import FormatError, ModelError
from nncomp.format import frames, numbers
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import BytesHead, TokensHead
from nncomp.mixing import bit_histories, byte_predictor, token_histories
from nncomp.network import registry, vocabulary
from tests.conftest import ROOT

PAGE = (ROOT / "docs/FORMAT.md").read_text(encoding="utf-8")
TYPES: dict[str, Any] = {f"{sign}{8 * size}": np.dtype(f"{sign}{size}") for sign in "iu" for size in (1, 2, 4, 8)}


def section(name: str) -> str:
    """Return the text under a heading, up to the next heading of the same depth or a lesser one."""
    depth, rest = re.search(rf"^(#+) {re.escape(name)}\n(.*)", PAGE, re.M | re.S).groups()  # type: ignore[union-attr]
    return re.split(rf"^#{{1,{len(depth)}}} ", rest, maxsplit=1, flags=re.M)[0]


def table(name: str, first: str) -> list[list[str]]:
    """Return the cells of the table in a section whose first column has this title."""
    lines = itertools.dropwhile(lambda line: not line.startswith(f"| {first} |"), section(name).splitlines())
    rows = [line[1:-1].split("|") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    assert len(rows) > 2, (name, first)
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def stated(name: str, pattern: str) -> tuple[int, ...]:
    """Return the numbers in a section that stand where a pattern has groups; it must be found once."""
    (found,) = re.findall(pattern, " ".join(section(name).split()))
    return tuple(int(each.replace(",", "")) for each in ([found] if isinstance(found, str) else found))


def value(text: str, **letters: int) -> int:
    """Return what a number of the page is, as `2**31 - 1`, `3E` or `n * 256` (with letters)."""
    return int(eval(re.sub(r"(\d) ?([A-Za-z])", r"\1*\2", text.replace(",", "")), {}, letters))


def bounds(text: str, **letters: int) -> tuple[int, int]:
    low, high = text.split(" to ")
    return value(low, **letters), value(high, **letters)


def shape(text: str, **letters: int) -> tuple[int, ...]:
    return tuple(value(part, **letters) for part in text.split(","))


def read(data: bytes) -> list[frames.FrameBlock]:
    return list(frames.read_blocks(io.BytesIO(data)))


def test_the_conventions() -> None:
    words = " ".join(section("Conventions").split())
    assert f"300 is `{frames.varint(300).hex(' ').upper()}`" in words
    assert f"That of no bytes is `{frames.checksum(b'').hex(' ').upper()}`" in words
    assert stated("Conventions", r"at most (\d+) bits in") == (numbers.MAX_TOTAL_BYTES.bit_length(),)
    assert stated("Conventions", r"1 MiB is ([\d,]+) bytes, 1 MB is ([\d,]+) bytes") == (1 << 20, MB)


def test_the_frame() -> None:
    fields = {row[0]: row for row in table("Frame", "field")}
    assert bytes.fromhex(fields["magic"][2]) == numbers.MAGIC and int(fields["magic"][1]) == len(numbers.MAGIC)
    assert f"version, {numbers.VERSION};" in fields["version and flags"][2]
    assert fields["model"][1].startswith(f"{1 + numbers.MODEL_HASH_BYTES}, if flag 0 is set")
    assert f"first {numbers.MODEL_HASH_BYTES} bytes" in fields["model"][2]
    low, high, unit = re.search(r"(\d+) to (\d+), in units of ([\d,]+) bytes", fields["block size"][2]).groups()  # type: ignore[union-attr]
    assert (int(low), int(high), value(unit)) == (1, numbers.MAX_BLOCK_UNITS, numbers.BLOCK_UNIT_BYTES)
    written, size = stated("Frame", r"nncomp writes (\d+): ([\d,]+) bytes")
    assert written * numbers.BLOCK_UNIT_BYTES == size == numbers.BLOCK_BYTES
    with pytest.raises(UnicodeDecodeError):
        numbers.MAGIC.decode()


@pytest.mark.parametrize("bit", range(4))
def test_flags_of_a_frame(bit: int) -> None:
    model = frames.ModelReference(1, bytes(8))
    pattern = r"Bit (\d): the frame names.* Bit (\d): a block size.* Bits (\d) and (\d) are reserved"
    has_model, has_size, *reserved = stated("Frame", pattern)
    assert frames.frame_header(model, 0).data[4] == numbers.VERSION << 4 | 1 << has_model
    assert frames.frame_header(None, numbers.BLOCK_BYTES).data[4] == numbers.VERSION << 4 | 1 << has_size
    assert {has_model, has_size, *reserved} == set(range(4))
    if bit in reserved:
        with pytest.raises(FormatError, match="mean nothing"):
            read(numbers.MAGIC + bytes([numbers.VERSION << 4 | 1 << bit]) + bytes(20))


def test_ids_of_models() -> None:
    rows = {name: int(number) for number, name in table("Frame", "id")}
    assert rows == numbers.MODEL_IDS | {"any other model": numbers.OWN_MODEL}


def test_kinds_of_blocks() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \|", section("Block"), re.M)
    assert {int(number): name for number, name in rows} == {int(kind): kind.name.lower() for kind in BlockKind}
    low, high = stated("Block", r"Kinds (\d) to (\d) are reserved")
    assert [*BlockKind, *range(low, high + 1)] == list(range(1 << numbers.KIND_BITS))
    for kind in range(low, high + 1):
        with pytest.raises(FormatError):
            Codec().decode_block(kind, b"", 1)


def test_where_blocks_end() -> None:
    (limit,), (empty,) = stated("Block", r"fewer than ([\d,]+) bytes \(6 MiB\)"), stated("Block", r"it is (\d+) bytes long")
    assert limit == numbers.SPLIT_BYTES == 6 << 20
    sink = io.BytesIO()
    frames.FrameWriter(sink).write(frames.Block(BlockKind.STORED, 0, b"", frames.checksum(b""), True))
    assert len(sink.getvalue()) == empty


def test_the_footer() -> None:
    fields = {row[0]: row for row in table("Footer", "field")}
    assert f"payload size x {1 << numbers.KIND_BITS} + kind" in fields["entry"]
    assert int(fields["digest"][1]) == numbers.CHECKSUM_BYTES and int(fields["footer size"][1]) == numbers.TRAILER_BYTES
    assert stated("Footer", r"header of a block has (\d+) bytes") == (1 + numbers.CHECKSUM_BYTES,)


def test_what_a_frame_takes_beside_its_content() -> None:
    """The most that the sizes of all fields add up to, with a model, for any number of stored blocks."""
    (alone,) = stated("Footer", r"one block takes at most (\d+) bytes")
    fixed, each = stated("Footer", r"takes at most (\d+) \+ (\d+) \*n\* bytes")
    model, most = frames.ModelReference(1, bytes(8)), numbers.SPLIT_BYTES - 1
    header, sizes = 1 + numbers.CHECKSUM_BYTES, len(frames.varint(most))
    assert len(frames.frame_header(model, 0).data) + header + 2 * sizes == alone
    for units, count in itertools.product((1, 14, numbers.MAX_BLOCK_UNITS), (2, 3, 4, 5, 100, 1 << 20, 1 << 41)):
        block_bytes = units * numbers.BLOCK_UNIT_BYTES
        total = block_bytes * (count - 1) + most
        entry = len(frames.varint(block_bytes << numbers.KIND_BITS))
        footer = len(frames.varint(total)) + len(frames.varint(count)) + (count - 1) * entry
        footer += len(frames.varint(most << numbers.KIND_BITS)) + numbers.CHECKSUM_BYTES + numbers.TRAILER_BYTES
        taken = len(frames.frame_header(model, block_bytes).data) + count * header + sizes + footer
        assert taken <= fixed + each * count


def test_lzma() -> None:
    (filters,) = re.findall(r"filters=(\[.*?\])\)", section("Kind 1: LZMA"))
    (ours,) = lzma_payload.FILTERS
    (given,) = eval(filters, {"lzma": lzma})
    assert given == {key: ours[key] for key in given} and given["dict_size"] == numbers.LZMA_DICTIONARY_BYTES
    text = b"what nncomp writes comes back " * 9
    assert lzma.decompress(lzma_payload.encode_lzma(text), lzma.FORMAT_RAW, filters=[given]) == text


def test_heads_of_payloads() -> None:
    low, high, written = stated("Kind 2: bytes", r"hash table, (\d+) to (\d+) .*nncomp writes (\d+) \|")
    assert (low, high, written) == (numbers.MIN_TABLE_BITS, numbers.MAX_TABLE_BITS, numbers.MAX_TABLE_BITS)
    assert [row[1] for row in table("Kind 2: bytes", "field")][:-1] == ["1"] * BytesHead.SIZE
    rows = {row[0]: row for row in table("Kind 3: tokens", "field")}
    assert [row[1] for row in rows.values()][:-1] == ["1"] * TokensHead.SIZE
    assert list(rows)[:-1] == ["lanes", "lines", "flags"]
    assert TokensHead(3, 9, has_code=True).pack() == bytes([3, 9, 1]) and rows["flags"][2].startswith("bit 0:")
    assert rows["lanes"][2].endswith(f", 0 to {numbers.MAX_LANES_LOG2}")
    stated_lines = re.search(r", (\d+) to (\d+); a line is (\d) records and (\d) buckets .*, (\d+) bytes", rows["lines"][2])
    low, high, records, buckets, line = map(int, stated_lines.groups())  # type: ignore[union-attr]
    assert (low, high) == (numbers.MIN_LINES_LOG2, numbers.MAX_LINES_LOG2) and line == numbers.LINE_BYTES
    assert records == token_histories.LINE_RECORDS
    assert line == token_histories.LINE_BYTES == token_histories.RECORD_BYTES * records + bit_histories.BUCKET_BYTES * buckets


def test_the_range_coder() -> None:
    words = " ".join(section("Range coder").split())
    decisions, p1, coded = (
        [int(number) for number in part.split(", ")]
        for part in re.search(r"The decisions ([\d, ]+) with p1 = ([\d, ]+) are the words ([\d, ]+)\.", words).groups()  # type: ignore[union-attr]
    )
    found = range_coder.encode(np.array(decisions, np.uint8), np.array(p1, np.uint16))
    assert found.tolist() == coded
    decoder = RangeDecoder(struct.pack(f"<{len(coded)}I", *coded))
    assert [decoder.decide(p) for p in p1] == decisions
    low, high = stated("Range coder", r"(\d+) <= left <= (\d+)")
    assert [((65536 - p) * (2**24 - 2) >> 16) + 1 for p in (65535, 1)] == [low, high]
    (most,) = stated("Range coder", r"At most ([\d,]+) decisions come from one word")
    for count in (1, 7):
        range_coder.check_claim(np.zeros(count, np.uint32), (count + 1) * most)
        with pytest.raises(FormatError, match="claims more"):
            range_coder.check_claim(np.zeros(count, np.uint32), (count + 1) * most + 1)


def test_tokens() -> None:
    low, high, shortest, longest = stated(
        "Tokens", r"(\d+) <= bits <= (\d+)\. Tokens are distinct strings of (\d+) to (\d+) bytes"
    )
    assert shortest == 1
    singles = [bytes([i]) for i in range(256)]

    def accepts(tokens: int, longest: int) -> bool:
        more = [b"\xff" + i.to_bytes(longest - 1, "big") for i in range(max(0, tokens - 256))]
        try:
            vocabulary.Vocabulary((*singles[:tokens], *more))
        except ModelError:
            return False
        return True

    assert [bits for bits in range(7, 18) if accepts(1 << bits, 4)] == list(range(low, high + 1))
    assert [size for size in range(2, 40) if accepts(512, size)] == list(range(2, longest + 1))


def test_limits() -> None:
    rows = {row[0]: row[1] for row in table("Limits that a reader keeps", "what")}
    buckets, *_ = byte_predictor.sizes(numbers.SPLIT_BYTES - 1, numbers.MAX_TABLE_BITS)
    entry = frames.varint((numbers.SPLIT_BYTES - 1) << numbers.KIND_BITS | 7)
    expected = {
        "raw bytes of a frame": numbers.MAX_TOTAL_BYTES,
        "raw bytes of a block": numbers.SPLIT_BYTES - 1,
        "raw bytes of a block that is not the last": numbers.MAX_BLOCK_UNITS * numbers.BLOCK_UNIT_BYTES,
        "lanes": 1 << numbers.MAX_LANES_LOG2,
        "hash table of kind 2, in bytes": 16 * buckets,
        "hash table of kind 3, in bytes": numbers.LINE_BYTES << numbers.MAX_LINES_LOG2,
        "model file, with the file of its base, in bytes": registry.MAX_BYTES,
        "footer entry, in bytes": len(entry),
    }
    assert {name: value(limit) for name, limit in rows.items() if limit[0].isdigit()} == expected


def test_what_the_page_refers_to_is_there() -> None:
    for path in re.findall(r"`((?:nncomp|checks|tests)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    headings = {line.lstrip("# ") for line in PAGE.splitlines() if line.startswith("#")}
    for name in re.findall(r"see \*([A-Z][^*]+)\*", PAGE):
        assert any(heading == name or heading.startswith(f"{name}:") for heading in headings), name
    for link, anchor in re.findall(r"\]\(([\w/.]+)#([\w-]+)\)", PAGE):
        titles = re.findall(r"^#+ (.*)$", (ROOT / "docs" / link).read_text(encoding="utf-8"), re.M)
        assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], link
