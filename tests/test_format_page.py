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

from checks.independent import copies as independent_copies
from checks.independent.range_decoder import RangeDecoder
from nncomp import range_coder
from nncomp.blocks import levels, lzma_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.memory import MB
from nncomp.errors import FormatError, ModelError
from nncomp.format import copies, frames, numbers
from nncomp.format.frame_reader import read_blocks
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import BytesHead, TokensHead, primer_bytes
from nncomp.format.varints import unsigned, varint
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
    return list(read_blocks(io.BytesIO(data)))


def test_the_conventions() -> None:
    words = " ".join(section("Conventions").split())
    assert f"300 is `{varint(300).hex(' ').upper()}`" in words
    assert f"That of no bytes is `{frames.checksum(b'').hex(' ').upper()}`" in words
    assert stated("Conventions", r"at most (\d+) bits in") == (numbers.MAX_TOTAL_BYTES.bit_length(),)
    assert stated("Conventions", r"1 MiB is ([\d,]+) bytes, 1 MB is ([\d,]+) bytes") == (1 << 20, MB)


def test_the_frame() -> None:
    fields = {row[0]: row for row in table("Frame", "field")}
    assert bytes.fromhex(fields["magic"][2]) == numbers.MAGIC and int(fields["magic"][1]) == len(numbers.MAGIC)
    assert f"version, {numbers.VERSION};" in fields["version and flags"][2]
    assert fields["model"][1].startswith(f"{1 + numbers.MODEL_HASH_BYTES}, if flag 0 is set")
    assert f"first {numbers.MODEL_HASH_BYTES} bytes" in fields["model"][2]
    assert fields["reference"][1] == f"{numbers.REFERENCE_HASH_BYTES}, if flag 3 is set"
    assert f"first {numbers.REFERENCE_HASH_BYTES} bytes" in fields["reference"][2]
    low, high = map(int, re.search(r"u8`, (\d+) to (\d+): log2", fields["window"][2]).groups())  # type: ignore[union-attr]
    assert (low, high) == (numbers.MIN_WINDOW_LOG2, numbers.MAX_WINDOW_LOG2)
    assert {level.effort.window_log2 for level in levels.LEVELS.values()} <= set(range(low, high + 1))
    for window in (low - 1, high + 1):
        with pytest.raises(FormatError, match="the exponent is"):
            read(numbers.MAGIC + bytes([numbers.VERSION << 4 | numbers.HAS_WINDOW, window]) + bytes(20))
    with pytest.raises(UnicodeDecodeError):
        numbers.MAGIC.decode()


@pytest.mark.parametrize("bit", range(4))
def test_flags_of_a_frame(bit: int) -> None:
    model = frames.ModelReference(1, bytes(8))
    pattern = (
        r"Bit (\d): the frame names a model.* Bit (\d): a window follows.* Bit (\d): the frame names a ref.* Bit (\d) is reserved"
    )
    has_model, has_window, has_reference, *reserved = stated("Frame", pattern)
    assert frames.frame_header(None, 0, bytes(8)).data[4] == numbers.VERSION << 4 | 1 << has_reference
    assert frames.frame_header(model, 0).data[4] == numbers.VERSION << 4 | 1 << has_model
    assert frames.frame_header(None, 16).data[4] == numbers.VERSION << 4 | 1 << has_window
    assert {has_model, has_window, has_reference, *reserved} == set(range(4))
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


def test_the_fields_of_a_block() -> None:
    """The header of a later block, with copies, is the table's fields in the table's order."""
    rows = table("Block", "field")
    assert bytes.fromhex(rows[0][2].split("`")[1]) == numbers.BLOCK_MAGIC
    copied, last = stated("Block", r"bits 0 to 2: kind; bit (\d): the block has copies; bit (\d): this is the last")
    copies = frames.CopyList(BlockKind.LZMA, 3000, 400, b"c" * 300)
    block = frames.Block(BlockKind.BYTES, 2000, b"p" * 1000, b"12345678", True, copies)
    header = frames.block_header(block, frames.Start(70_000, 60_000))
    written = {
        "block magic": numbers.BLOCK_MAGIC,
        "kind": bytes([BlockKind.BYTES | 1 << copied | 1 << last]),
        "place": varint(70_000) + varint(60_000),
        "literals": varint(2000),
        "payload size": varint(1000),
        "list kind": bytes([BlockKind.LZMA]),
        "copied bytes": varint(3000),
        "list size": varint(400),
        "list payload size": varint(300),
        "checksum": b"12345678",
    }
    assert [row[0] for row in rows] == [*written, "list payload", "payload"]
    assert header.data == b"".join(written.values())
    alone = frames.block_header(frames.Block(BlockKind.STORED, 2000, bytes(2000), b"12345678", True), None)
    assert alone.data == bytes([1 << last]) + varint(2000) + b"12345678"


def test_the_sizes_of_a_block() -> None:
    literals, raw = stated("Block", r"more than ([\d,]+) literals, or more than ([\d,]+) raw bytes \(64 MiB\)")
    assert (literals, raw) == (numbers.MAX_LITERAL_BYTES, numbers.MAX_RAW_BYTES) and raw == 64 << 20
    assert stated("Block", r"a list of more than ([\d,]+) bytes") == (numbers.MAX_LIST_BYTES,)
    pattern = r"after ([\d,]+) literals \(12 MiB\) when ([\d,]+) \(18 MiB\) are there"
    assert stated("Block", pattern) == (numbers.BLOCK_BYTES, numbers.SPLIT_BYTES)
    sink = io.BytesIO()
    frames.FrameWriter(sink).write(frames.Block(BlockKind.STORED, 0, b"", frames.checksum(b""), True))
    assert (len(sink.getvalue()),) == stated("Block", r"it is (\d+) bytes long")


def test_a_list_of_copies() -> None:
    words = " ".join(section("Copies").split())
    listed = bytes.fromhex(re.search(r"The list `([\dA-F ]+)` has two copies", words)[1])  # type: ignore[index]
    literals, copied = stated("Copies", r"a block of (\d+) literals or more with (\d+) copied bytes")
    numbers_of_copies = re.findall(r"run of (\d+), length (\d+), distance (\d+)", words)
    told = [copies.Copy(*map(int, each)) for each in numbers_of_copies]
    assert len(told) == 2 and copies.pack_copies(told) == listed
    assert copies.parse_copies(listed, literals, copied) == told
    given = independent_copies.parse_list(listed, literals, copied, 0)
    places = list(itertools.accumulate(run for run, _, _ in given))
    assert [(run, length, at - source) for at, (run, length, source) in zip(places, given, strict=True)] == told
    for fewer, other in ((literals - 1, copied), (literals, copied - 1), (literals, copied + 1)):
        with pytest.raises(FormatError, match="add up"):
            copies.parse_copies(listed, fewer, other)
    signed, coded = re.search(r"with a sign: ([-\d, ]+) are written as ([\d, ]+), and so on", words).groups()  # type: ignore[union-attr]
    assert [unsigned(int(each)) for each in signed.split(", ")] == [int(each) for each in coded.split(", ")]
    assert stated("Copies", r"how many copies, 1 to ([\d,]+)") == (numbers.MAX_COPIES,)
    assert stated("Copies", r"The count is 1 to ([\d,]+), and") == (numbers.MAX_COPIES,)
    assert stated("Copies", r"a length for each copy, less (\d+)") == (numbers.MIN_COPY_BYTES,)


def test_the_footer() -> None:
    """A footer is the table's fields in the table's order."""
    fields = {row[0]: row for row in table("Footer", "field")}
    assert f"x {1 << numbers.KIND_BITS} + kind; literals; copied bytes" in fields["entry"][2]
    assert [int(fields[name][1]) for name in ("content", "digest", "footer size")] == [8, 8, 4]
    head = frames.frame_header(None, 16).data
    index, data = frames.FrameIndex(head), head
    listed = frames.CopyList(BlockKind.STORED, 50, 9, bytes(9))
    for block in (frames.Block(0, 3, b"abc", bytes(8), False), frames.Block(1, 200, bytes(100), bytes(8), True, listed)):
        header = frames.block_header(block, index.end if index.blocks else None)
        index.add(header)
        data += header.data
    sizes = [(10 + 3, 0, 3, 0), (len(header.data) + 9 + 100, 1, 200, 50)]
    entries = b"".join(varint(size * 8 + kind) + varint(each) + varint(more) for size, kind, each, more in sizes)
    start = varint(253) + varint(2) + entries + b"contents"
    whole = start + frames.checksum(data + start)
    assert list(fields) == ["total", "count", "entry", "content", "digest", "footer size"]
    assert index.footer(b"contents") == whole + (len(whole) + 4).to_bytes(4, "little")


def test_what_a_frame_takes_beside_its_content() -> None:
    """The most that the sizes of all fields add up to, with a model, for any number of stored blocks."""
    alone, more = stated("Footer", r"one block takes at most (\d+) bytes beside its payload; copies take (\d+) more")
    fixed, each = stated("Footer", r"at most (\d+) \+ (\d+) \*n\* bytes")
    model, most = frames.ModelReference(1, bytes(8)), numbers.MAX_LITERAL_BYTES
    size, long = len(varint(most)), len(varint(numbers.MAX_TOTAL_BYTES))
    assert len(frames.frame_header(model, 0).data) + 1 + 2 * size + numbers.CHECKSUM_BYTES == alone
    assert 1 + len(varint(numbers.MAX_RAW_BYTES)) + 2 * len(varint(numbers.MAX_LIST_BYTES)) == more
    entry = len(varint(most + 100 << numbers.KIND_BITS)) + size + 1
    first = 1 + size + numbers.CHECKSUM_BYTES
    later = len(numbers.BLOCK_MAGIC) + 2 * long + first
    ends = 2 * numbers.CHECKSUM_BYTES + numbers.TRAILER_BYTES
    for count in (2, 3, 100, 1 << 20, numbers.MAX_TOTAL_BYTES // numbers.BLOCK_BYTES):
        footer = long + len(varint(count)) + count * entry + ends
        assert len(frames.frame_header(model, 32).data) + first + (count - 1) * later + footer <= fixed + each * count


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
    assert list(rows)[:-1] == ["lanes", "lines", "code"]
    assert TokensHead(3, 9, code=7).pack() == bytes([3, 9, 7]) and rows["code"][2].startswith("0: none;")
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
    buckets, *_ = byte_predictor.sizes(numbers.MAX_LITERAL_BYTES, numbers.MAX_TABLE_BITS)
    most = (
        numbers.MAX_LITERAL_BYTES + numbers.MAX_LIST_BYTES + 100 << numbers.KIND_BITS,
        numbers.MAX_LITERAL_BYTES,
        numbers.MAX_RAW_BYTES,
    )
    expected = {
        "raw bytes of a frame": numbers.MAX_TOTAL_BYTES,
        "literals of a block": numbers.MAX_LITERAL_BYTES,
        "raw bytes of a block": numbers.MAX_RAW_BYTES,
        "copies of a block": numbers.MAX_COPIES,
        "list of copies, in bytes": numbers.MAX_LIST_BYTES,
        "primer, in bytes": primer_bytes(7),
        "lanes": 1 << numbers.MAX_LANES_LOG2,
        "hash table of kind 2, in bytes": 16 * buckets,
        "hash table of kind 3, in bytes": numbers.LINE_BYTES << numbers.MAX_LINES_LOG2,
        "model file, with the files that it names, in bytes": registry.MAX_BYTES,
        "footer entry, in bytes": sum(len(varint(each)) for each in most),
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
