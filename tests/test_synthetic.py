"""Texts made by a rule: what repeats costs next to nothing, a log is far below xz, and no kind of data is above the classics.

Whole frames, decoded and compared, without a model: what holds must hold for every text. NNCOMP_FULL=1 adds two
large ones (10 MB of one paragraph, a log of 200,000 lines), some minutes each.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
from functools import cache

import pytest

from nncomp.format.frames import ModelReference
from nncomp.network.registry import ModelFile
from nncomp.stream.pipeline import compress, decompress
from nncomp.stream.tasks import Coding

ALLOWED = 32  # bytes that a frame may be larger than the best of the classics
FULL = [pytest.mark.slow, pytest.mark.skipif("NNCOMP_FULL" not in os.environ, reason="takes minutes; set NNCOMP_FULL=1")]

WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother", "area",
    "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue", "side",
    "kind", "head", "house", "service", "friend", "father", "power", "hour",
]  # fmt: skip


def no_model(reference: ModelReference) -> ModelFile:
    raise AssertionError(f"a frame without a model asks for {reference}")


def frame_bytes(data: bytes) -> int:
    """Return the bytes of the frame that holds `data`, once it has been decoded and compared."""
    frame, back = io.BytesIO(), io.BytesIO()
    compress(io.BytesIO(data), frame, Coding(), 0)
    decompress(io.BytesIO(frame.getvalue()), back, no_model, 0)
    assert back.getvalue() == data
    return len(frame.getvalue())


def prose(chance: random.Random, count: int) -> str:
    """Return `count` words in sentences, the early ones of the list more often."""
    words = [WORDS[int(len(WORDS) * chance.random() ** 2)] for _ in range(count)]
    for i in range(0, count, 11):
        words[i] = words[i].capitalize()
        if i:
            words[i - 1] += "."
    return " ".join(words) + ".\n"


def log(lines: int) -> bytes:
    """Return the log of a web server that is asked about once a second."""
    chance = random.Random(7)
    hosts = [f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}" for _ in range(300)]
    paths = [f"/{chance.choice(WORDS)}/{chance.choice(WORDS)}.html" for _ in range(200)]
    seconds, out = 1_790_000_000, []
    for _ in range(lines):
        seconds += int(chance.expovariate(0.9))
        h, m, s = seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
        host, path = hosts[int(300 * chance.random() ** 3)], paths[int(200 * chance.random() ** 3)]
        status = chance.choices([200, 304, 404, 500], [90, 6, 3, 1])[0]
        size = chance.randrange(200, 40_000) if status == 200 else 0
        day = seconds // 86_400 % 28 + 1
        out.append(f'{host} - - [{day:02}/Sep/2026:{h:02}:{m:02}:{s:02} +0000] "GET {path} HTTP/1.1" {status} {size}\n')
    return "".join(out).encode()


@cache
def kinds() -> dict[str, bytes]:
    """Return one text of each kind, up to 60 KB."""
    chance = random.Random(3)
    rows = [
        {"id": i, "name": chance.choice(WORDS), "price": round(chance.random() * 90, 2), "tags": chance.sample(WORDS, 2)}
        for i in range(600)
    ]
    table = "".join(f"{r['id']},{r['name']},{r['price']},2026-09-{1 + i // 22:02}\n" for i, r in enumerate(rows))
    text = "".join(prose(chance, chance.randrange(30, 90)) for _ in range(100)).encode()
    return {
        "csv": table.encode(),
        "json": json.dumps(rows, indent=1).encode(),
        "log": log(500),
        "prose": text,
        "random": chance.randbytes(40_000),
        "zeros": bytes(60_000),
        "gzipped": gzip.compress(text, mtime=0),
        "short": b"A short note.\n",
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", kinds())
def test_no_kind_is_above_the_classics(kind: str) -> None:
    data = kinds()[kind]
    best = min(len(gzip.compress(data, 9)), len(bz2.compress(data, 9)), len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)))
    assert frame_bytes(data) <= best + ALLOWED


@pytest.mark.parametrize(("times", "limit"), [pytest.param(1_000, 1_500), pytest.param(10_000, 6_000, marks=FULL)])
def test_one_paragraph_again_and_again(times: int, limit: int) -> None:
    paragraph = prose(random.Random(5), 300).encode()[:1000]
    assert len(paragraph) == 1000
    assert frame_bytes(paragraph * times) < limit


@pytest.mark.slow
@pytest.mark.parametrize("lines", [4_000, pytest.param(200_000, marks=FULL)])
def test_a_log_is_30_percent_below_xz(lines: int) -> None:
    data = log(lines)
    xz = len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    assert frame_bytes(data) <= 0.7 * xz
