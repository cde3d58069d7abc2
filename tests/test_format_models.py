"""What docs/FORMAT.md states of model files and of mixing (tensors, tables, formulas of contexts) is what the code has."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from math import log2
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from nncomp.errors import ModelError
from nncomp.mixing import byte_predictor, start_values, tables, token_predictor, token_start
from nncomp.mixing.byte_contexts import CONTEXTS
from nncomp.mixing.byte_contexts_reference import Text, chain, combine, last_bytes, pack
from nncomp.mixing.byte_predictor_reference import probabilities
from nncomp.mixing.token_predictor_reference import TokenReference
from nncomp.network import base_model
from nncomp.network.model import MODEL_FORMAT, TRAINED_ON, Arrays, parse_model
from nncomp.training.mixing_start import plain_values
from tests.test_format_page import TYPES, bounds, section, shape, stated, table

HTML = b'<page id="7">\n  <title>Old key: value</title>\n  <b>a, b; c</b>\n</page>\n| one | two |\n| three | four |\nWord word 12'

# A model file made of nothing but what the page says: every tensor full of its least value.
LETTERS = {"V": 256, "G": 16, "D": 3, "E": 4, "F": 5, "H": 6, "N": 2, "K": 3}


@functools.cache
def page_tensors() -> dict[str, tuple[Any, tuple[int, ...], tuple[int, int]]]:
    """Return type, shape and bounds of each tensor of the network and of codes."""
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
    (kind,) = re.findall(r"MUST be `(nncomp-model\S+)`", section("Model file"))
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
    elif name == "code_entries":
        low, high = bounds(bound.split(";")[0])
        good, bad = [low, high], [high + 1, -1]
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
        "point_rate": tables.rate_table(1024, 240),
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
    assert rows == list(byte_predictor.WEIGHT_SETS)
    rates = stated("The byte model", r"Least, extra and shift: (\d+), (\d+), (\d+); of the final mixer (\d+), (\d+), (\d+)\.")
    assert [rates[3:], *[rates[:3]] * len(rows)] == [tuple(row) for row in byte_predictor.RATES.tolist()]
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

    def by_the_page(lane: int) -> list[int]:
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
        return [combine(sources[i % 32], i + 1 + 256 * where[i // 32]) for i in numbers_of_all]

    assert "those of the first token of a lane when it is begun" in " ".join(section("The token tree").split())
    for at, c in enumerate(HTML[:60] * 2):
        lane = at % 2
        tree.begin_token(lane)
        assert at > 1 or tree.contexts[lane] == by_the_page(lane)
        tree.end_token(lane, c, bytes([c]))
        assert tree.contexts[lane] == by_the_page(lane)


def test_numbers_of_the_token_tree() -> None:
    shapes = {name: dims for name, (_, dims) in start_values.shapes(5, 3).items()}
    rows = [(int(row[1]), int(row[3])) for row in table("The token tree", "selector")]
    assert rows == list(zip(start_values.WEIGHT_SETS, start_values.FIRST_SETS, strict=True))
    assert sum(first for _, first in rows) == shapes["weights"][0]
    of_others, of_finals = r"of the others (\d+), (\d+), (\d+); ", r"of the final mixers (\d+), (\d+), (\d+)\."
    pattern = r"Least, extra and shift: of selector 0 (\d+), (\d+), (\d+); "
    rates = stated("The token tree", pattern + of_others + of_finals)
    made = token_start.rates_of(start_values.ALL_SELECTORS).tolist()
    assert made == [list(rates[6:]), list(rates[:3]), *[list(rates[3:6])] * (len(rows) - 1)]
    finals = stated("The token tree", r"picks 16 sure \+ depth, of (\d+)\. The second picks as selector 1 does, of (\d+)\.")
    assert finals == start_values.FINAL_WEIGHT_SETS and sum(finals) == shapes["final_weights"][0]
    assert stated("The token tree", r"M = 2\*\*min\((\d+), lines\)") == (log2(start_values.NODE_APM_CONTEXTS),)
    assert stated("The token tree", r"of M; 16 sure \+ level, of (\d+)\.") == (start_values.MATCH_APM_CONTEXTS,)
    assert shapes["map_1"] == (16 * start_values.MATCH_APM_CONTEXTS,)
    assert stated("The token tree", r"k = 0 with least (\d), then k = 1 with least (\d)") == token_predictor.MATCH_LEAST


@pytest.mark.parametrize("contexts", [tuple(range(20)), (0, 33, 248)])
@pytest.mark.parametrize("selectors", [(0, 1, 2, 3, 4), (1, 3)])
def test_start_values(contexts: tuple[int, ...], selectors: tuple[int, ...]) -> None:
    n, r = len(contexts), len(selectors)
    letters = {"n": n, "R": r, "I": -(-(2 * n + 10) // 8) * 8}
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
