"""The bound of a text and the parts of a file: they add up, the bound is never above the file, and bits are those of tokens."""

from __future__ import annotations

import io
import json
import random
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import nncomp
from nncomp import range_coder
from nncomp.blocks import levels, token_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.lzma_payload import encode_lzma
from nncomp.entropy import estimate, gap
from nncomp.entropy.estimate import EstimateTask, open_network, rounded
from nncomp.entropy.gap import Analysis, BlockFigures, analyse, compress_and_analyse, strongest_model
from nncomp.entropy.report import bits_along, document, tenths, unit_lines, visible
from nncomp.errors import FormatError, ModelError
from nncomp.format.frames import Block, FrameWriter, ModelReference, checksum
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.likeliest import likeliest
from nncomp.network.model import save_model
from nncomp.network.registry import ModelFile, find, open_model
from nncomp.stream import pipeline, repeats
from nncomp.stream.tasks import Coding
from tests.conftest import ROOT
from tests.models import TEXT, coded_model, small_model, small_start, with_codes

NOISE = random.Random(5).randbytes(300)
TEXTS = {
    "one byte": b"\xff",
    "text": TEXT[:2000],
    "not UTF-8": b"\xff\xfe caf\xe9 \xc3( \xed\xa0\x80" * 20,
    "random": NOISE,
    "zeros": bytes(3000),
    "UTF-8": "žluťoučký kůň, 文字と\U0001f600\r\n".encode() * 9,
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Return an untrained model in a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(small_model(), path)
    return open_model(path)


def frame(blocks: list[tuple[BlockKind, bytes]], model: ModelFile | None) -> bytes:
    """Return one frame for each block, the blocks coded as the given kinds."""
    sink = io.BytesIO()
    for kind, data in blocks:
        coded = {BlockKind.STORED: lambda data: data, BlockKind.LZMA: encode_lzma}
        payload = coded[kind](data) if kind in coded else Codec(model)._encode(kind, data).payload
        reference = ModelReference(model.model_id, model.hash8) if model else None
        FrameWriter(sink, reference).write(Block(kind, len(data), payload, checksum(data), True))
    return sink.getvalue()


def analysed(packed: bytes, model: ModelFile | None, strongest: ModelFile | None = None) -> Analysis:
    given = [model] if model else []
    return analyse(packed, lambda reference: find(reference.model_id, reference.content_hash, given), strongest, 0)


def check(analysis: Analysis, file_bytes: int, data: bytes) -> None:
    """Check what holds of every analysis."""
    parts = analysis.parts
    assert tuple(parts) == gap.PARTS
    assert sum(parts.values()) == 8 * analysis.file_bytes == 8 * file_bytes
    assert sum(sorted(parts.values())) == 8 * file_bytes, "in any order"
    assert all(bits >= 0 for bits in parts.values())
    assert analysis.bound_bits <= 8 * file_bytes
    assert sum(tenths(parts).values()) == 10 * file_bytes
    assert analysis.data == data
    for block in analysis.blocks:
        assert block.best_bits <= block.own_bits <= block.untold_bits <= block.coded_bits <= block.stream_bits
        assert block.coded_bits - block.code_bits <= block.untold_bits
        assert block.stream_bits <= 8 * block.payload_bytes + block.code_bits
    assert sum(int(each.sizes.sum()) for each in analysis.estimates) == len(data)
    assert analysis.bound_bits <= analysis.estimate_bits or not data
    written = json.loads(json.dumps(document("name", analysis)))
    assert sum(written["parts_bits"].values()) == 8 * written["file_bytes"]
    lines = [json.loads(line) for line in unit_lines(analysis)]
    assert sum(line["chain_bits"] for line in lines) == sum(piece["bits"] for piece in written["estimates"])
    assert sum(piece["bits"] for piece in written["estimates"]) == analysis.estimate_bits
    code_bits = {piece["offset"]: piece["code_bits"] for piece in written["estimates"] if piece["raw_bytes"]}
    assert all(line["chain_bits"] == line["bits"] + code_bits.get(line["offset"], 0) > 0 for line in lines)
    assert [line["offset"] for line in lines] == np.cumsum([0, *(line["bytes"] for line in lines)])[:-1].tolist()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", [*BlockKind, None])
def test_the_parts_of_a_block_of_each_kind(name: str, kind: BlockKind | None, tiny: ModelFile) -> None:
    """None: the kind that wins. A kind that makes a text larger is left out: no writer writes it."""
    data = TEXTS[name]
    if kind is None:
        sink = io.BytesIO()
        pipeline.compress(io.BytesIO(data), sink, Coding(tiny), 0)
        packed = sink.getvalue()
        check(compress_and_analyse(data, Coding(tiny), None, 0), len(packed), data)
    else:
        packed = frame([(kind, data)], tiny)
        if kind != BlockKind.STORED and len(packed) > len(frame([(BlockKind.STORED, data)], tiny)):
            return
    analysis = analysed(packed, tiny)
    check(analysis, len(packed), data)
    assert kind is None or [block.kind for block in analysis.blocks] == [kind]


def test_nothing(tiny: ModelFile) -> None:
    packed = frame([(BlockKind.STORED, b"")], None)
    analysis = analysed(packed, None, tiny)
    check(analysis, len(packed), b"")
    assert (analysis.bound_bits, analysis.parts["container"], analysis.source) == (0, 120, "an empty text")
    assert document("x", analysis)["bits_per_byte"] is None
    assert bits_along(analysis.estimates, 10)[1].size == 0


def test_where_the_bits_go(tiny: ModelFile) -> None:
    """Each part is what it says, on files where it is known."""
    data = TEXT[:3000]
    one_lane = EstimateTask(data, tiny).run().total_bits
    on_bytes = EstimateTask(data, None).run().total_bits
    payload, cost_bits = token_payload.encode_tokens(open_network(tiny), data)[:2]
    tokens = analysed(frame([(BlockKind.TOKENS, data)], tiny), tiny)
    lowest = min(one_lane, on_bytes)
    assert abs(one_lane - cost_bits) < 0.1, "as much as was coded, for this file has one lane"
    assert tokens.parts == {
        "bound": lowest,
        "blocks": 0,
        "kind": one_lane - lowest,
        "lanes": 0,
        "code_z": 0,
        "coder": 8 * (len(payload) - 3) - one_lane,
        "container": 8 * (tokens.file_bytes - len(payload) + 3),
    }
    stored = analysed(frame([(BlockKind.STORED, data)], None), None)
    assert stored.parts["kind"] == 8 * len(data) - on_bytes
    assert stored.parts["container"] == 8 * (stored.file_bytes - len(data))
    with_model = analysed(frame([(BlockKind.STORED, data)], None), None, tiny)
    assert with_model.bound_bits == lowest, "a model may be asked that the file was not made with"


def test_lanes_are_a_part(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TEXT[:4000]
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: 3)
    packed = frame([(BlockKind.TOKENS, data)], tiny)
    cost_bits = token_payload.encode_tokens(open_network(tiny), data)[1]
    analysis = analysed(packed, tiny)
    check(analysis, len(packed), data)
    one_lane = EstimateTask(data, tiny).run().total_bits
    assert abs(analysis.blocks[0].coded_bits - cost_bits) < 0.1
    assert analysis.parts["lanes"] == analysis.blocks[0].coded_bits - one_lane > 100


def analysed_with_code(folder: Path, size: int, seed: int, data: bytes) -> tuple[Analysis, ModelFile, float]:
    """Return the analysis of a file with code 1 of a model whose code adds numbers of this size, the model, and the surprisal."""
    path = folder / f"{seed}-{size}.safetensors"
    coded = with_codes(small_model(), 1, seed, size)
    assert coded.code is not None
    save_model(replace(coded, code=coded.code._replace(state=np.zeros_like(coded.code.state))), path)
    model = open_model(path)
    payload, cost_bits = token_payload.encode_and_learn(open_network(model), data, small_start(), code=1)[:2]
    sink = io.BytesIO()
    writer = FrameWriter(sink, ModelReference(model.model_id, model.hash8))
    writer.write(Block(BlockKind.TOKENS, len(data), payload, checksum(data), True))
    analysis = analysed(sink.getvalue(), model)
    check(analysis, len(sink.getvalue()), data)
    return analysis, model, cost_bits


@pytest.fixture
def price(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let a code cost a small part of a bit: the codes here are made by chance, and save little."""
    for module in (gap, estimate):
        monkeypatch.setattr(module, "CODE_BITS", 2.0**-10)
    return 2.0**-10


def test_a_code_is_a_part(tmp_path: Path, price: float) -> None:
    """A code without effect costs its price; one that pays is in the bound, which is then the block itself."""
    data, pays = TEXT[:900], 0
    for seed, size in [(0, 0), *((seed, 3300) for seed in range(6))]:
        analysis, model, cost_bits = analysed_with_code(tmp_path, size, seed, data)
        (block,) = analysis.blocks
        assert (block.code, block.code_bits) == (1, price) and abs(block.coded_bits - cost_bits) < 0.1
        assert document("x", analysis)["code_z"] == {"blocks": 1, "bits": price}
        one_lane = EstimateTask(data, model).run().total_bits
        if block.coded_bits < one_lane:
            pays += 1
            assert block.own_bits == block.coded_bits and analysis.parts["code_z"] == 0
        elif block.coded_bits - price >= one_lane:
            assert analysis.parts["code_z"] == price
        if size == 0:
            assert analysis.parts["code_z"] == price and analysis.parts["lanes"] == 0
    assert 0 < pays < 6


def test_a_code_that_pays_is_in_the_bound_of_lanes(tmp_path: Path, price: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate has the code too, in one lane, and its price: what the file has above it is what lanes cost."""
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: 3)
    data, pays = TEXT[:900], 0
    for seed in range(6):
        analysis, model, _ = analysed_with_code(tmp_path, 3300, seed, data)
        (block,) = analysis.blocks
        told, untold = EstimateTask(data, model, 1).run(), EstimateTask(data, model).run()
        assert told.code_bits == block.code_bits == price and untold.code_bits == 0
        assert block.own_bits == min(told.total_bits, untold.total_bits)
        if told.total_bits < untold.total_bits:
            pays += 1
            assert analysis.parts["code_z"] == 0
            assert analysis.parts["lanes"] == block.coded_bits - told.total_bits > 50
            assert told.chain_bits[0] == told.bits[0] + price
            if told.total_bits == analysis.bound_bits:
                assert analysis.source == "network and mixing, one lane, with a code"
    assert pays


def test_tokens_of_another_writer(tiny: ModelFile) -> None:
    """A file may have other tokens than nncomp takes: what was coded is found from the file."""
    data = TEXT[:600]
    packed = open_network(tiny)
    vocabulary = packed.model.vocabulary
    single = np.array([vocabulary.tokens.index(bytes([byte])) for byte in data], np.int32)
    p = token_payload.predict_tokens(packed, data, token_payload.model_start(packed), TokensHead(0, 9), lane_ids=[single])
    assert p.ids.tolist() == single.tolist()
    payload = bytes([0, 9, 0]) + range_coder.words_to_bytes(range_coder.encode(p.decisions, p.p1))
    assert token_payload.decode_tokens(packed, payload, len(data)) == data
    assert token_payload.decode_lanes(packed, payload, len(data))[1][0].tolist() == single.tolist()
    sink = io.BytesIO()
    writer = FrameWriter(sink, ModelReference(tiny.model_id, tiny.hash8))
    writer.write(Block(BlockKind.TOKENS, len(data), payload, checksum(data), True))
    analysis = analysed(sink.getvalue(), tiny)
    check(analysis, len(sink.getvalue()), data)
    assert abs(analysis.blocks[0].coded_bits - range_coder.cost_bits(p.decisions, p.p1)) < 0.1


def test_several_blocks(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one frame, with an index, and of several frames: what starting anew costs is a part."""
    cuts = repeats.cuts
    monkeypatch.setattr(repeats, "cuts", lambda source, window_bytes, *_: cuts(source, window_bytes, block_bytes=2000))
    data = TEXT[:7500]
    analysis = compress_and_analyse(data, Coding(tiny), None, 0)
    check(analysis, analysis.file_bytes, data)
    assert [block.raw_bytes for block in analysis.blocks] == [2000, 2000, 2000, 1500]
    assert analysis.whole is not None
    assert analysis.bound_bits == analysis.whole.total_bits
    assert analysis.parts["blocks"] > 100
    data = data[:2500]
    mixed = [(BlockKind.LZMA, bytes(900)), (BlockKind.STORED, b""), (BlockKind.TOKENS, data[:900]), (BlockKind.BYTES, data)]
    packed = frame(mixed, tiny)
    several = analysed(packed, tiny)
    check(several, len(packed), bytes(900) + data[:900] + data)
    monkeypatch.setattr(gap, "WHOLE_BYTES", 4000)
    apart = analysed(packed, tiny)
    check(apart, len(packed), several.data)
    assert apart.whole is None
    assert len(apart.estimates) == 3
    assert apart.parts["blocks"] == 0


def test_the_workers_change_nothing(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "FEW_BYTES", 0)
    packed = frame([(BlockKind.TOKENS, TEXT[:900]), (BlockKind.BYTES, TEXT[:1500])], tiny)
    told: list[tuple[int, int]] = []
    find_model = lambda reference: tiny  # noqa: E731
    alone, together = analyse(packed, find_model, None, 0), analyse(packed, find_model, None, 2, lambda *now: told.append(now))
    assert document("", alone) == document("", together)
    assert [*unit_lines(alone)] == [*unit_lines(together)]
    assert told[-1][0] == told[-1][1] == 5 * 2400


def test_the_shipped_model_is_better_and_asked_too(tiny: ModelFile, english: bytes) -> None:
    strongest = strongest_model()
    assert strongest is not None
    data = english[:3000]
    analysis = compress_and_analyse(data, Coding(tiny), strongest, 0)
    check(analysis, analysis.file_bytes, data)
    assert analysis.estimates[0].model == strongest
    assert analysis.parts["kind"] > 0


def test_the_bound_is_not_above_a_file_of_the_last_level(english: bytes) -> None:
    """The command and `nncomp.estimate` ask the model of the last level, whatever level the text is compressed with."""
    text = english[:30_000]
    bound_bits = nncomp.estimate(text).bound_bits
    assert bound_bits < 8 * len(nncomp.compress(text, level=levels.LAST))
    given = compress_and_analyse(text, Coding(open_model("default")), open_model(levels.LEVELS[levels.LAST].model), 0)
    assert bound_bits == given.bound_bits


def test_damage_is_a_named_error(tiny: ModelFile) -> None:
    packed = frame([(BlockKind.TOKENS, TEXT[:900])], tiny)
    for altered in (packed[:-1], packed[:40] + bytes([packed[40] ^ 1]) + packed[41:], packed + b"\0", b"text", b""):
        with pytest.raises(FormatError):
            analysed(altered, tiny)
    with pytest.raises(ModelError, match="--model PATH"):
        analysed(packed, None)


@pytest.mark.parametrize("code", [NO_CODE, 4])
def test_the_likeliest_tokens_are_those_of_the_reference(code: int) -> None:
    model = coded_model() if code else small_model()
    ids = model.vocabulary.encode(TEXT[:200])
    found, shares, actual = likeliest(Network(model), ids, 7, code)
    engine, before = ReferenceEngine(model, 1, code), np.array([model.sizes["start_token"]])
    for n, token in enumerate(ids.tolist()):
        groups = engine.step(before)[0]
        tokens = [engine.token_frequencies(0, group) for group in range(len(groups))]
        every = np.concatenate([share * (t / t.sum()) for share, t in zip(groups / groups.sum(), tokens, strict=True)])
        assert np.isclose(every.sum(), 1)
        assert np.allclose(np.sort(every)[::-1][:7], shares[n])
        assert np.allclose(every[found[n]], shares[n])
        assert len(set(found[n].tolist())) == 7
        assert np.isclose(actual[n], every[token])
        before = ids[n : n + 1]


def test_the_page_names_the_figures_of_a_block() -> None:
    page = (ROOT / "docs" / "ENTROPY.md").read_text(encoding="utf-8")
    assert re.findall(r"^- `(\w+)`: ", page, re.MULTILINE) == [each.name for each in fields(BlockFigures) if each.type == "float"]
    table = page.split("## The parts of a file")[1].split("## --json")[0]
    parts = re.findall(r"^\| (?!part)(\w+ ?\w*) \| .* \|$", table, re.MULTILINE)
    assert tuple(part.replace(" ", "_") for part in parts) == gap.PARTS


def test_along_spreads_every_bit(tiny: ModelFile) -> None:
    estimates = [EstimateTask(TEXT[:1000], tiny).run(), EstimateTask(TEXT[1000:1500], None).run()]
    edges, rates = bits_along(estimates, 70)
    assert (edges[0], edges[-1], len(rates)) == (0, 1500, 70)
    assert np.isclose((rates * np.diff(edges)).sum(), sum(each.total_bits for each in estimates))
    assert len(bits_along(estimates, 9000)[1]) == 1500


def test_what_does_not_show_is_written_out() -> None:
    assert visible("plain é 文 \U0001f600\n\t") == "plain é 文 \U0001f600\n\t"
    assert visible("\x00\r\x7f\x9b\u202e\u2028\ufeff\U000e0041\ue000") == (
        "\\x00\\x0d\\x7f\\x9b\\u202e\\u2028\\ufeff\\U000e0041\\ue000"
    )
    assert rounded(1 / 3) * 65536 == 21845


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_plot_is_drawn(kind: str, tiny: ModelFile) -> None:
    pytest.importorskip("matplotlib")
    from nncomp.plots.bits_along import draw

    for data in (b"", TEXT[:500]):
        analysis = compress_and_analyse(data, Coding(), None, 0)
        picture = draw(analysis, "$a<b>&\x1b$", kind)
        assert picture.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
        assert picture == draw(analysis, "$a<b>&\x1b$", kind)
