"""Generated inputs, compressed, decompressed and compared: `python -m checks.roundtrips --count 5000`; with files, these too.

Input n is the same on every machine. Each takes the whole way, frame and all: with the shipped model, a small untrained one, or
none; some also through pieces, workers or the independent reader of the layout. What comes back is compared byte for byte.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nncomp
from checks.hostile import Model, finder
from checks.independent import layout
from nncomp.format.numbers import BLOCK_BYTES, SPLIT_BYTES
from nncomp.network.registry import ModelFile, installed_model
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding
from tests.golden.models import SMALL, model_bytes

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "model",
    "byte",
    "token",
    "naïve",
    "Straße",
    "東京",
    "данные",
    "😀",
    "while",
    "return",
    "3.14",
    "---",
    "key=",
    "<p>",
    "</p>",
    "&amp;",
]
MAX_BYTES = 3000
EDGES = [SPLIT_BYTES - 1, SPLIT_BYTES, SPLIT_BYTES + 1, BLOCK_BYTES, 2 * BLOCK_BYTES, BLOCK_BYTES + SPLIT_BYTES - 1]
EDGE_EVERY = 500  # one input of so many is as long as a block may be, or a byte more or less, and random: quick to code

COPIED_EVERY = 30  # one of so many is of random bytes that come again

Make = Callable[[random.Random, int], bytes]


def text(chance: random.Random, size: int) -> bytes:
    words: list[str] = []
    while sum(map(len, words)) < size:
        words += chance.choices(WORDS, k=20)
    return " ".join(words).encode()[:size]


def lines(chance: random.Random, size: int) -> bytes:
    end = chance.choice([b"\r\n", b"\n", b"\r"])
    return b"".join(text(chance, chance.randrange(60)) + end for _ in range(size // 30 + 1))[:size]


def rows(chance: random.Random, size: int) -> bytes:
    table = [{"id": i, "name": chance.choice(WORDS), "value": chance.random()} for i in range(size // 40 + 1)]
    return json.dumps(table, ensure_ascii=chance.random() < 0.5).encode()[:size]


def markup(chance: random.Random, size: int) -> bytes:
    return b"".join(b"<a%d>%s</a%d>" % (i % 9, text(chance, 20), i % 7) for i in range(size // 30 + 1))[:size]


def utf16(chance: random.Random, size: int) -> bytes:
    return text(chance, size).decode("utf-8", "ignore").encode("utf-16")[:size]


def any_bytes(chance: random.Random, size: int) -> bytes:
    return chance.randbytes(size)


def few_bytes(chance: random.Random, size: int) -> bytes:
    return bytes(chance.choices(chance.sample(range(256), chance.choice([1, 2, 3, 17])), k=size))


def repeated(chance: random.Random, size: int) -> bytes:
    part = chance.randbytes(chance.choice([1, 2, 3, 7, 64, 300]))
    return (part * (size // len(part) + 1))[:size]


def numbers(chance: random.Random, size: int) -> bytes:
    step = chance.choice([1, 255, 1 << 20])
    return b"".join((i * step).to_bytes(4, chance.choice(["little", "big"])) for i in range(size // 4 + 1))[:size]


def broken_utf8(chance: random.Random, size: int) -> bytes:
    data = bytearray(text(chance, size))
    for _ in range(min(size, 5)):
        data[chance.randrange(len(data))] = chance.choice([0x80, 0xC0, 0xFF, 0xED, 0])
    return bytes(data)


def joined(chance: random.Random, size: int) -> bytes:
    return b"".join(chance.choice(KINDS[:-1])(chance, size // 3) for _ in range(3))


def copied(chance: random.Random) -> bytes:
    """Return random bytes, and parts of them again: soon or late, short or long, also again and again."""
    data = chance.randbytes(chance.choice([66_000, 150_000]))
    while len(data) < 400_000:
        start = chance.randrange(len(data))
        part = data[start : start + chance.choice([40, 300, 2000, 90_000])]
        data += part * chance.choice([1, 1, 1, 30]) + chance.randbytes(chance.choice([0, 0, 1, 50, 5000]))
    return data


KINDS: list[Make] = [text, lines, rows, markup, utf16, any_bytes, few_bytes, repeated, numbers, broken_utf8, joined]
SIZES = [0, 1, 2, 3, 127, 128, 255, 256, 1023]


def generate(number: int) -> tuple[str, bytes]:
    """Return the kind and the bytes of an input."""
    chance = random.Random(f"round trip {number}")
    make = KINDS[number % len(KINDS)]
    if number % EDGE_EVERY == EDGE_EVERY - 1:
        size = EDGES[number // EDGE_EVERY % len(EDGES)]
        return "edge of a block", chance.randbytes(size)
    if number % COPIED_EVERY == COPIED_EVERY - 1:
        return "copies", copied(chance)
    size = chance.choice(SIZES) if chance.random() < 0.2 else chance.randrange(MAX_BYTES)
    return make.__name__, make(chance, size)


def trip(number: int, data: bytes, models: list[ModelFile | None]) -> tuple[int, str]:
    """Return the bytes of the file and the kinds of its blocks; raises AssertionError unless the same bytes come back."""
    model = models[number % len(models)]
    sink = io.BytesIO()
    summary = pipeline.compress(io.BytesIO(data), sink, Coding(model), 0)
    packed = sink.getvalue()
    find_model = finder({each.hash8: each for each in models if each})
    back = io.BytesIO()
    pipeline.decompress(io.BytesIO(packed), back, find_model, 0)
    assert back.getvalue() == data, f"input {number} does not come back"
    assert len(packed) <= len(data) + 32 + 44 * summary.kinds.total(), f"input {number} grows by more than is stated"
    assert sum(block.raw_bytes for block in layout.blocks(packed)) == len(data)
    if model is None:
        pieces = nncomp.Decompressor()
        cut = len(packed) // 3
        assert pieces.decompress(packed[:cut]) + pieces.decompress(packed[cut:]) == data, f"input {number} in pieces"
    return len(packed), "+".join(sorted(summary.kinds))


def run(count: int, first: int = 0) -> Counter[tuple[str, str]]:
    """Make the round trips of so many inputs; return how many there were of each kind, and what their blocks became."""
    models: list[ModelFile | None] = [None, Model(model_bytes(SMALL)), installed_model("default")]
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(first, first + count):
        kind, data = generate(number)
        shipped_is_slow = len(data) > MAX_BYTES
        _, blocks = trip(number, data, [None] if shipped_is_slow else models)
        outcomes[kind, blocks] += 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description="Compress, decompress and compare generated inputs, and files.")
    parser.add_argument("files", nargs="*", type=Path, help="files or folders, with the shipped model")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    for (kind, blocks), times in sorted(run(arguments.count, arguments.first).items()):
        print(f"{kind:16} {blocks:14} {times:6,}")
    print(f"{arguments.count:,} generated inputs in {time.monotonic() - started_s:.0f} s, all came back")
    names = [path for given in arguments.files for path in (sorted(given.rglob("*")) if given.is_dir() else [given])]
    files = [path for path in names if path.is_file()]
    for path in files:
        data = path.read_bytes()
        packed_bytes, blocks = trip(0, data, [installed_model("default")])
        print(f"{path}: {len(data):,} -> {packed_bytes:,} ({blocks})", flush=True)
    if files:
        print(f"{len(files)} files in {time.monotonic() - started_s:.0f} s, all came back")


if __name__ == "__main__":
    main()
