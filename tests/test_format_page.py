"""What docs/FORMAT.md states (numbers, tables of ids, lists of names, formulas of contexts, examples) is what the code has."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import lzma
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from checks.independent.byte_model import ByteModel
from checks.independent.range_decoder import RangeDecoder
from nncomp import range_coder
from nncomp.blocks import lzma_payload, token_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.memory import MB, Memory, decoding_bytes
from nncomp.errors import FormatError, MemoryLimitError, ModelError
from nncomp.format import frames, numbers
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import BytesHead, TokensHead
from nncomp.mixing import byte_predictor, start_values, tables, token_predictor
from nncomp.mixing.byte_contexts import CONTEXTS
from nncomp.mixing.byte_contexts_reference import Text, chain, combine, last_bytes, pack
from nncomp.mixing.byte_predictor_reference import probabilities
from nncomp.mixing.token_predictor_reference import TokenReference
from nncomp.network import base_model, registry, vocabulary
from nncomp.network.model import MODEL_FORMAT, TRAINED_ON, Arrays, parse_model
from nncomp.training.mixing_start import plain_values
from tests.conftest import ROOT
from tests.golden.models import SMALL, model_bytes

PAGE = (ROOT / "docs/FORMAT.md").read_text(encoding="utf-8")
TYPES: dict[str, Any] = {f"{sign}{8 * size}": np.dtype(f"{sign}{size}") for sign in "iu" for size in (1, 2, 4, 8)}
HTML = b'<page id="7">\n  <title>Old key: value</title>\n  <b>a, b; c</b>\n</page>\n| one | two |\n| three | four |\nWord word 12'


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
    low, high, buckets, line = map(int, re.search(r", (\d+) to (\d+); a line is (\d) buckets, (\d+) ", rows["lines"][2]).groups())  # type: ignore[union-attr]
    assert (low, high) == (numbers.MIN_LINES_LOG2, numbers.MAX_LINES_LOG2) and line == numbers.LINE_BYTES == 16 * buckets


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


# A model file made of nothing but what the page says: every tensor full of its least value.
LETTERS = {"V": 256, "G": 16, "D": 3, "E": 4, "F": 5, "H": 6, "N": 2, "C": 2, "K": 3}


@functools.cache
def page_tensors() -> dict[str, tuple[Any, tuple[int, ...], tuple[int, int]]]:
    """Return type, shape and bounds of each tensor of the network and of a code."""
    found = {}
    for name, kind, dims, bound in table("Model file", "tensor"):
        if name != "token_lengths" and re.fullmatch(r"\S+ to \S+( - 1)?", bound):
            found[name] = TYPES[kind], shape(dims, **LETTERS), bounds(bound)
    words = " ".join(section("Model file").split())
    parts = {part: re.search(rf"`_{part}` \((\w+), shape ([\w, ]+); ([^)]+)\)", words) for part in ("weight", "scale", "bias")}
    for name, rows, columns, has_bias in table("Model file", "product"):
        for part, match in parts.items():
            assert match is not None and match[2] == ("rows, columns" if part == "weight" else "rows")
            if part != "bias" or {"yes": True, "no": False}[has_bias]:
                dims = f"{rows}, {columns}" if part == "weight" else rows
                found[f"{name}_{part}"] = TYPES[match[1]], shape(dims, **LETTERS), bounds(match[3])
    return found


def page_sizes() -> dict[str, int]:
    sizes = {name: LETTERS[letter] for name, letter, _ in table("Model file", "size") if letter}
    return sizes | {"start_token": 0}


def page_model() -> dict[str, NDArray[Any]]:
    tensors = {name: np.full(dims, low, dtype) for name, (dtype, dims, (low, _)) in page_tensors().items()}
    return tensors | {
        "token_text": np.arange(256, dtype=np.uint8),
        "token_lengths": np.ones(256, np.uint8),
        "merges": np.zeros((0, 2), np.uint16),
    }


def packed(tensors: dict[str, NDArray[Any]], **sizes: int) -> bytes:
    (kind,) = re.findall(r"MUST be `(\S+)`", section("Model file"))
    return save(tensors, metadata={"format": kind, "sizes": json.dumps(page_sizes() | sizes), "record": "{}"})


def test_a_model_file_as_the_page_says() -> None:
    model = parse_model(packed(page_model()), "m")
    assert model.code is not None and {f"code_{name}" for name in model.code._fields} < set(page_tensors())
    named = {name for name, *_ in table("Model file", "tensor")} | set(page_tensors())
    others = {"token_text", "token_lengths", "merges", "extra.mixing.*", f"extra.{TRAINED_ON}"}
    assert named == {*Arrays._fields, *(f"code_{name}" for name in model.code._fields), *others}
    assert f"MUST be `{MODEL_FORMAT}`" in section("Model file")
    assert bounds({name: bound for name, _, _, bound in table("Model file", "tensor")}["token_lengths"]) == (1, 24)


@pytest.mark.parametrize("name", sorted(page_tensors()))
def test_bounds_of_a_tensor(name: str) -> None:
    dtype, dims, (low, high) = page_tensors()[name]
    limits = np.iinfo(dtype)
    for number in (low, high, low - 1, high + 1):
        tensors = page_model()
        if limits.min <= number <= limits.max:
            tensors[name].flat[-1] = number
            if low <= number <= high:
                parse_model(packed(tensors), "m")
                continue
            with pytest.raises(ModelError, match=name):
                parse_model(packed(tensors), "m")
    for wrong in (np.full((*dims, 1), low, dtype), np.full(dims, max(low, 0), np.uint32)):
        with pytest.raises(ModelError, match=name):
            parse_model(packed(page_model() | {name: wrong}), "m")


SIZES = {name: bound for name, _, bound in table("Model file", "size")}


@pytest.mark.parametrize("name", SIZES)
def test_bounds_of_a_size(name: str) -> None:
    """Within its bounds a size is refused only because a tensor has another shape; beyond them, for itself."""
    bound = SIZES[name]
    if name == "vocab_size":
        good, bad = [256], [128, 257, 512]
    elif name == "group_count":
        assert bound.startswith("a power of two, 2 to 256, with 2 <= S <= 256 ")
        good, bad = [2, 4, 128], [0, 1, 3, 256, 512]  # of 256 tokens: S is 1 with 256 groups
    elif name == "code_dimensions":
        low, high = bounds(bound.split(";")[0])
        good, bad = [low, high], [high + 1, low - 2]
    else:
        low, high = bounds(bound.split(";")[0].split(":")[0], V=256)
        good, bad = [low, high], [low - 1, high + 1]
    for number in good + bad:
        if number in good and (name == "start_token" or page_sizes()[name] == number):
            parse_model(packed(page_model(), **{name: number}), "m")
        else:
            with pytest.raises(ModelError) as refused:
                parse_model(packed(page_model(), **{name: number}), "m")
            assert ("array" in str(refused.value)) == (number in good), number


def test_layers_of_a_base() -> None:
    (listed,) = re.findall(r"first axis is N \((.*?)\)", section("Base models"))
    names = set(re.findall(r"`(\w+)`", listed))
    parts = {name for name in page_tensors() if any(name in (each, f"{each}_{part}") for each in names for part in PARTS)}
    assert parts == set(base_model.LAYERS)
    rows = {name: dims for name, _, dims, _ in table("Model file", "tensor")}
    rows |= {name: dims for name, dims, *_ in table("Model file", "product")}
    assert names == {name for name, dims in rows.items() if dims.startswith("N")}


PARTS = "weight", "scale", "bias"


def test_the_constant_tables() -> None:
    successor, first = tables.history_tables()
    made: dict[str, NDArray[Any]] = {
        "squash": tables.squash_table(),
        "stretch": tables.stretch_table(),
        "rate": tables.rate_table(1024, 15),
        "next": successor[:510],
        "first": first[:255],
    }
    rows = {name: (int(re.match(r"\d+", entries)[0]), digest) for name, entries, digest in table("Tables", "table")}  # type: ignore[index]
    assert rows == {n: (len(a), hashlib.sha256(a.astype("<i4").tobytes()).hexdigest()[:16]) for n, a in made.items()}
    assert stated("Tables", r"for (\d+) \*bit histories\*") == (tables.HISTORY_STATES,)
    assert stated("Hash", r"combine\(1, 2\) is ([\d,]+)\.") == (combine(1, 2),)


def formulas(name: str, first: str) -> dict[int, Any]:
    """Return the formulas of a table with two columns of them, by number and compiled; `w = f` sets w, too."""
    cells = [(row[i], row[i + 1]) for row in table(name, first) for i in (0, 2) if row[i]]
    found = {}
    for number, formula in cells:
        source = re.sub(r"(\d) (?=[a-z])", r"\1 * ", re.split(r", (?:depth|with|see) ", formula)[0])
        found[int(number)] = compile(re.sub(r"^(\w) = (.*)", r"(\1 := \2)", source), f"{name}, {number}", "eval")
    return {number: found[number] for number in sorted(found)}


def known_of(text: Text, data: bytes | bytearray) -> dict[str, Any]:
    """Return the names that the formulas use, for the byte after `data`."""
    f = min(text.field, 255)
    names = {f"b{i + 1}": byte for i, byte in enumerate(last_bytes(data, 8))}
    names |= {name: getattr(text, name) for name in ("word", "previous_word", "older_word", "key", "first", "indent", "column")}
    names |= {name: getattr(text, name) for name in ("format", "mode", "depth", "field", "field_hash")}
    above = {"above": text.above(data), "above_next": text.above(data, 1), "field_above": text.field_above(data)}
    return names | above | {"f": f, "hash_above": text.hashes_above, "tag": text.tags, "combine": chain, "p": pack, "min": min}


def test_contexts_of_the_byte_model() -> None:
    """The formulas of the page, evaluated, are the hashes of the slow twin."""
    listed = formulas("The byte model", "i")
    assert list(listed) == list(range(CONTEXTS))
    text, data, x = Text(), bytearray(), 32 * 66 + 7
    for c in HTML:
        data.append(c)
        text.follow(data)
        names = known_of(text, data) | {"x": x}
        assert [combine(eval(h, names), i + 1) for i, h in listed.items()] == text.contexts(bytes(data), x)


def test_numbers_of_the_byte_model() -> None:
    rows = [int(row[1]) for row in table("The byte model", "selector")]
    model = ByteModel(16, 3)
    starts = [*model.mixer.set_starts.tolist(), len(model.mixer.weights)]
    assert rows == [end - start for start, end in itertools.pairwise(starts)]
    of_contexts, of_matches = stated("The byte model", r"Inputs: (\d+) of the contexts, (\d+) of the matches, the bias")
    assert (of_contexts, of_matches) == (2 * CONTEXTS, 2 * len(byte_predictor.MATCH_LEAST))
    first = stated("The byte model", r"starts as (\d+), (\d+) for each context; (\d+), (\d+) for each match; 0")
    assert first == (*byte_predictor.FIRST_WEIGHTS, *byte_predictor.FIRST_MATCH_WEIGHTS)
    assert stated("The byte model", r"k = 0 with least (\d), then k = 1 with least (\d)") == byte_predictor.MATCH_LEAST
    assert stated("The byte model", r"final weights start as (\d+)") == (65536 // len(rows),)
    pattern = r"b = min\(T, max\((\d+), .*?There are (\d+) \* 2\*\*\(b - (\d)\) buckets, M = 2\*\*min\((\d+), b - (\d)\)"
    least, factor, less, most, fewer = stated("The byte model", pattern)
    for count, bits in ((3, 16), (3, 26), (1000, 26), (10**6, 20), (10**6, 26)):
        b = min(bits, max(least, (512 * count).bit_length()))
        assert byte_predictor.sizes(count, bits)[:2] == (factor * 2 ** (b - less), 2 ** min(most, b - fewer))


def test_the_probabilities_of_the_byte_model() -> None:
    (bits,) = stated("The byte model", r"With T = (\d+) the text `aaa`")
    (listed,) = re.findall(r"the text `aaa` has p1 = ([\d\s,]+)\.", section("The byte model"))
    assert probabilities(b"aaa", bits) == [int(p) for p in listed.replace(",", " ").split()]


def known_contexts() -> list[int]:
    """Return the numbers of contexts that a model may use."""

    def is_known(number: int) -> bool:
        try:
            return bool(start_values.chosen_parts({"contexts": np.array([number], np.uint8), "row_sets": np.zeros(1, np.uint8)}))
        except ModelError:
            return False

    return [number for number in range(256) if is_known(number)]


def test_contexts_of_the_token_tree() -> None:
    """The formulas of the page, evaluated, are the hashes of the slow twin, for every source and reach in two lanes."""
    listed = formulas("The token tree", "s")
    reaches: dict[int, Any] = {}
    for which, _, w in table("The token tree", "r"):
        first, last = which.split(" to ") if " to " in which else (which, which)
        reaches |= dict.fromkeys(range(int(first), int(last) + 1), compile(w.replace("16 (", "16 * ("), which, "eval"))
    assert list(listed) == list(range(len(listed))) and list(reaches) == list(range(len(reaches)))
    numbers_of_all = [32 * reach + source for reach in reaches for source in listed]
    assert numbers_of_all == known_contexts()
    tree = TokenReference(8, [0, 1000, 2000], 256, plain_values(tuple(numbers_of_all)))
    for at, c in enumerate(HTML[:60] * 2):
        lane = at % 2
        tree.begin_token(lane)
        names = known_of(tree.texts[lane], tree.data[lane])
        t1, t2, t3, t4, t5 = tree.history.last_tokens(lane, 5)
        j, (longer, shorter) = combine(t1, t2) % 2**18, tree.matches[lane]
        names |= {"t1": t1, "t2": t2, "t3": t3, "t4": t4, "t5": t5, "j": j}
        names |= {"after": {t1: tree.followers.get(t1, 0)}, "after2": {j: tree.pair_followers.get(j, 0)}}
        if longer.expected is not None:
            names["x"] = combine(32 * longer.expected + min(longer.length, 31), names["b1"])
        else:
            names["x"] = combine(0 if shorter.expected is None else shorter.expected + 1, names["b1"] + 256)
        sources = {s: eval(h, names) for s, h in listed.items()}
        where = {r: eval(w, {"l": lane, "a": len(tree.data[lane]), "r": r}) for r, w in reaches.items()}
        assert tree.contexts == [combine(sources[i % 32], i + 1 + 256 * where[i // 32]) for i in numbers_of_all]
        tree.end_token(lane, c, bytes([c]))


def test_numbers_of_the_token_tree() -> None:
    shapes = {name: dims for name, (_, dims) in start_values.shapes(5, 3).items()}
    rows = [int(row[1]) for row in table("The token tree", "selector")]
    assert sum(rows) == shapes["weights"][0]
    assert stated("The token tree", r"Final weight set: 16 sure \+ depth, of (\d+)") == shapes["final_weights"][:1]
    first, last = stated("The token tree", r"APMs: top, of (\d+);.*, 15\), of (\d+)\.")
    assert ((25 * first,), (25 * last,)) == (shapes["map_0"], shapes["map_2"])
    assert stated("The token tree", r"k = 0 with least (\d), then k = 1 with least (\d)") == token_predictor.MATCH_LEAST


@pytest.mark.parametrize("contexts", [tuple(range(20)), (0, 33, 248)])
@pytest.mark.parametrize("selectors", [(0, 1, 2, 3), (1, 3)])
def test_start_values(contexts: tuple[int, ...], selectors: tuple[int, ...]) -> None:
    n, r = len(contexts), len(selectors)
    letters = {"n": n, "R": r, "I": -(-(2 * n + 7) // 8) * 8}
    made = plain_values(contexts, selectors)
    rows = {name: cells for name, *cells in table("Start values", "`extra.mixing.`")}
    assert set(rows) == set(made)
    for name, (kind, dims, bound) in rows.items():
        with pytest.raises(ModelError, match=f"lacks the start value {name} of"):
            start_values.check_start({key: array for key, array in made.items() if key != name})
        assert made[name].dtype == TYPES[kind] and made[name].shape == shape(dims, **letters), name
        if re.fullmatch(r"\S+ to \S+( - 1)?", bound):
            low, high = bounds(bound)
            for number in (low, high, low - 1, high + 1):
                changed = made | {name: made[name].copy()}
                changed[name].flat[-1] = number
                if low <= number <= high:
                    start_values.check_start(changed)
                    continue
                with pytest.raises(ModelError, match=name):
                    start_values.check_start(changed)
        else:
            assert name in ("contexts", "row_sets") or bound == "any; packed"


def test_what_nncomp_takes_for_lanes_and_lines() -> None:
    most, least = stated("Token blocks", r"at most (\d+) and at least ([\d,]+) raw bytes a lane")
    for size in (1, least - 1, 2 * least - 1, 2 * least, 3 * least, most * least - 1, most * least, 40 * least):
        lanes = 1 << token_payload.lanes_log2(size)
        assert lanes == max(k for k in (1, 2, 4) if k == 1 or (k <= most and k * least <= size))
    for size in (1, 63, 64, 65, 1000, 2**18, 2**18 + 1, 10**7):
        wanted = next(bits for bits in range(99) if 1 << bits >= 4 * size)
        assert token_payload.lines_log2(size) == min(max(wanted, numbers.MIN_LINES_LOG2), numbers.MAX_LINES_LOG2)


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
        "model file, in bytes": registry.MAX_BYTES,
        "footer entry, in bytes": len(entry),
    }
    assert {name: value(limit) for name, limit in rows.items() if limit[0].isdigit()} == expected


def test_memory(tmp_path: Path) -> None:
    name = "Limits that a reader keeps"
    pattern = r"is (\d+) MB for its processes, (\d+) bytes a raw byte, (\d+) bytes a payload byte"
    processes, a_raw, a_payload = stated(name, pattern)
    nothing = frames.Block(BlockKind.STORED, 0, b"", b"", True)
    Memory(processes * MB).check_decoding(nothing, None)
    with pytest.raises(MemoryLimitError):
        Memory(processes * MB - 1).check_decoding(nothing, None)
    (tmp_path / "m.safetensors").write_bytes(model_bytes(SMALL))
    model, raw, payload = registry.open_model(tmp_path / "m.safetensors"), 5_000_000, 1_000_000
    rows = {row[0]: [int(number) for number in re.findall(r"\d+", row[1])] for row in table(name, "kind")}
    assert set(rows) == {kind.name.lower() for kind in BlockKind}
    for kind in BlockKind:
        mb, *more = rows[kind.name.lower()]
        head = TokensHead(2, 15).pack()
        taken = decoding_bytes(kind, raw, head, payload, model) - a_raw * raw - a_payload * payload
        if more:
            a_line, a_raw_byte, a_model_byte = more
            taken -= (a_line << 15) + a_raw_byte * raw + a_model_byte * model.size_bytes
        assert -(-taken // MB) == mb


def test_what_the_page_refers_to_is_there() -> None:
    for path in re.findall(r"`((?:nncomp|checks|tests)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    headings = {line.lstrip("# ") for line in PAGE.splitlines() if line.startswith("#")}
    for name in re.findall(r"see \*([A-Z][^*]+)\*", PAGE):
        assert any(heading == name or heading.startswith(f"{name}:") for heading in headings), name
    for link, anchor in re.findall(r"\]\(([\w/.]+)#([\w-]+)\)", PAGE):
        titles = re.findall(r"^#+ (.*)$", (ROOT / "docs" / link).read_text(encoding="utf-8"), re.M)
        assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], link
