"""Levels: which model a file is made with, what a level may cost, and where it is said."""

from __future__ import annotations

import io
import pydoc_data.topics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import nncomp
from nncomp.blocks import codec, levels, token_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.levels import LEVELS, Effort, level
from nncomp.blocks.token_payload import Encoded, lanes_log2
from nncomp.errors import ModelError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.numbers import MODEL_IDS as MODELS
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import open_model, shipped_path
from tests.conftest import Run
from tests.test_byte_predictor import some_text

pytestmark = pytest.mark.skipif(not all(shipped_path(name).is_file() for name in MODELS), reason="no shipped models")


def test_levels_are_said_in_every_way(run: Run, tmp_path: Path, english: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    text = english[:300]
    (tmp_path / "a").write_bytes(text)
    names = {number: name for name, number in MODELS.items()}
    ways: list[tuple[list[str], str, str]] = [
        (["-1"], "", "fast"),
        (["-k3"], "", "fast"),
        (["--fast"], "", "fast"),
        ([], "", "default"),
        (["-1", "-5"], "", "default"),
        (["--best"], "", "max"),
        (["--level", "2"], "", "fast"),
        ([], "1", "fast"),
        (["-7"], "1", "max"),
    ]
    for arguments, variable, model in ways:
        monkeypatch.delenv("NNCOMP_LEVEL", raising=False)
        if variable:
            monkeypatch.setenv("NNCOMP_LEVEL", variable)
        assert run(*arguments, "-qf", "a").returncode == 0
        packed = (tmp_path / "a.nnc").read_bytes()
        (named,) = {found.model.model_id for found in read_blocks(io.BytesIO(packed)) if found.model}
        assert names[named] == model, arguments
        assert nncomp.decompress(packed) == text
    for wrong in (["--level", "0"], ["--level", "10"]):
        assert run("compress", *wrong, "a").returncode == 2
    monkeypatch.setenv("NNCOMP_LEVEL", "high")
    assert run("-f", "a").returncode == 2


def test_levels_from_python(english: bytes) -> None:
    text = english[:10_000]
    packed = {level: nncomp.compress(text, level=level) for level in (1, 5)}
    assert len(packed[5]) < len(packed[1])
    assert packed[5] == nncomp.compress(text)
    assert all(nncomp.decompress(each) == text for each in packed.values())
    assert nncomp.compress(text, level=1, model="default") == packed[5]
    assert nncomp.compress(text, level=1, model=None) == nncomp.compress(text, model=None)
    compressor = nncomp.Compressor(level=1)
    assert compressor.compress(text) + compressor.flush() == packed[1]
    with pytest.raises(ModelError, match="levels are 1"):
        nncomp.compress(text, level=10)


def test_every_level_has_a_model_and_none_costs_more_than_the_next() -> None:
    assert list(LEVELS) == list(range(levels.FIRST, levels.LAST + 1))
    assert {each.model for each in LEVELS.values()} == set(MODELS)
    sizes = [open_model(each.model).size_bytes for each in LEVELS.values()]
    assert sizes == sorted(sizes)
    for name in MODELS:
        efforts = [each.effort for each in LEVELS.values() if each.model == name]
        assert [each.max_lanes for each in efforts] == sorted((each.max_lanes for each in efforts), reverse=True)
        assert [each.max_lines_log2 for each in efforts] == sorted(each.max_lines_log2 for each in efforts)
        assert [each.is_thorough for each in efforts] == sorted(each.is_thorough for each in efforts)


@pytest.mark.parametrize(("most", "lanes"), [(1, 0), (2, 1), (4, 2), (16, 4)])
def test_a_level_takes_as_many_lanes(most: int, lanes: int) -> None:
    assert lanes_log2(4 << 20, most) == lanes
    assert lanes_log2(100_000, most) == 0


def test_with_little_effort_a_sample_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    prose = Path(pydoc_data.topics.__file__).read_bytes()[20_000:120_000]
    coded: list[tuple[BlockKind, int]] = []
    original = Codec._encode

    def encode(self: Codec, kind: BlockKind, data: bytes, *rest: Any) -> codec.CodedBlock:
        coded.append((kind, len(data)))
        return original(self, kind, data, *rest)

    def encode_bytes(data: bytes, *rest: Callable[[list[float]], bool]) -> codec.CodedBlock | None:
        coded.append((BlockKind.BYTES, len(data)))
        return as_bytes(data, *rest)

    as_bytes = codec._encode_bytes
    monkeypatch.setattr(Codec, "_encode", encode)
    monkeypatch.setattr(codec, "_encode_bytes", encode_bytes)
    table = b"".join(b"%d;%d;%d\n" % (i, i * i % 97, i % 7) for i in range(9_000))
    for data, smaller in ((prose, BlockKind.TOKENS), (table, BlockKind.BYTES)):
        coded.clear()
        quick = Codec(open_model("fast"), Effort(is_thorough=False)).encode_block(data)
        assert {kind for kind, size in coded if size == len(data)} == {smaller}
        assert quick.kind in (smaller, BlockKind.LZMA)
    coded.clear()
    Codec(open_model("fast")).encode_block(some_text(2_000))
    assert {kind for kind, _ in coded} >= {BlockKind.BYTES, BlockKind.TOKENS}


def test_only_a_long_block_that_repeats_little_has_more_than_four_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []

    def encode(network: object, data: bytes, threads: int, effort: Effort) -> Encoded:
        most.append(effort.max_lanes)
        return Encoded(b"payload", 1.0, np.zeros(levels.PARTS), cast(Any, None))

    monkeypatch.setattr(token_payload, "encode_tokens", encode)
    rng = np.random.default_rng(0)
    words = rng.integers(97, 123, (3000, 6)).astype(np.uint8)
    little, much = (words[rng.integers(0, count, 15_000)].tobytes() for count in (3000, 3))
    for text, number, lanes in ((little, 5, 8), (much, 5, 4), (little, 6, 4), (much, 7, 2), (little, 1, 4), (much, 8, 1)):
        Codec(open_model(level(number).model), replace(level(number).effort, is_thorough=True)).encode_block(text)
        assert most.pop() == lanes and not most
    for size, lanes in (((1 << 21) - 1, 4), (1 << 21, 8)):
        assert 1 << lanes_log2(size, 8) == lanes
