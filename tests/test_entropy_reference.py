"""What a file needs whose readers have a reference: bits after a primer are those of the end of a longer text."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import nncomp
from nncomp import range_coder
from nncomp.blocks import primed_tokens, token_payload
from nncomp.blocks.levels import Effort, lines_log2
from nncomp.entropy import gap
from nncomp.entropy.estimate import EstimateTask, open_network, unit_bits
from nncomp.entropy.gap import Analysis, analyse, compress_and_analyse
from nncomp.entropy.html_page import ALTERNATIVES, make_page
from nncomp.entropy.report import document, unit_lines
from nncomp.errors import FormatError, NoReferenceError
from nncomp.format.copies import Copy
from nncomp.format.frames import Block, checksum
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.mixing import byte_predictor
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.registry import ModelFile, find, open_model
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import Coding, Finder
from tests.conftest import Run
from tests.golden.good_files import (
    BASE,
    MIXED,
    NEAR,
    ONE,
    Piece,
    frame,
    frame_of,
    in_bytes,
    lzma_block,
    primed_bytes_block,
    primed_tokens_block,
    reference,
    stored,
    tokens,
)
from tests.golden.models import SMALL, model_bytes
from tests.test_cli import names
from tests.test_entropy import check
from tests.test_entropy_page import Page, unpacked

DATA = MIXED[200:800]
LINES = b"".join(b"%d is the number, and %d its square.\n" % (i, i * i) for i in range(60))
KIN = b"".join(
    b"%d is the number, and %d its square.\n" % (i, i * i) for i in range(730, 760, 2)
)  # no copy is as long as one must be


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Return the model of the golden files in a file."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    path.write_bytes(model_bytes(SMALL))
    return open_model(path)


def analysed(packed: bytes, model: ModelFile, base: bytes | None = BASE, workers: int = 0) -> Analysis:
    known = None if base is None else Reference.of(base)
    finder = Finder(lambda named: find(named.model_id, named.content_hash, [model]), known)
    return analyse(packed, finder, None, workers)


def estimates_bits(data: bytes, model: ModelFile, primer: bytes) -> list[float]:
    """Return the sums of each estimate of a text: on bytes and on tokens, without the primer and after it."""
    return [EstimateTask(data, each, primer=some).run().total_bits for some in (b"", primer) for each in (None, model)]


def test_bits_after_a_primer_are_those_of_the_end_of_a_longer_text(small: ModelFile) -> None:
    found = EstimateTask(DATA, None, primer=BASE).run()
    whole = np.frombuffer(BASE + DATA, np.uint8)
    p1 = byte_predictor.probabilities(whole)
    assert found.bits.tolist() == unit_bits(np.unpackbits(whole), p1, 8)[len(BASE) :].tolist()
    network = open_network(small)
    vocabulary, start = network.model.vocabulary, token_payload.model_start(network)
    before, ids = vocabulary.encode(BASE), vocabulary.encode(DATA)
    head = TokensHead(0, lines_log2(len(whole)))
    p = token_payload.predict_tokens(network, BASE + DATA, start, head, lane_ids=[np.concatenate([before, ids])])
    found = EstimateTask(DATA, small, primer=BASE).run()
    assert found.bits.tolist() == unit_bits(p.decisions, p.p1, vocabulary.bits)[len(before) :].tolist()
    assert (found.ids.tolist(), found.sizes.sum(), found.primer) == (ids.tolist(), len(DATA), BASE)


def test_a_block_of_tokens_after_a_primer(small: ModelFile) -> None:
    packed, _ = frame_of([(primed_tokens_block, DATA, [])], reference(SMALL), base=BASE)
    analysis = analysed(packed, small)
    check(analysis, len(packed), DATA)
    (block,) = analysis.blocks
    known, head = primed_tokens.prime(open_network(small), BASE, 10), TokensHead(0, 10, primer=1)
    coded, p = primed_tokens.encode_after(known, DATA, head), primed_tokens.predict_after(known, DATA)
    assert coded.payload == head.pack() + range_coder.words_to_bytes(range_coder.encode(p.decisions, p.p1))
    bits = unit_bits(p.decisions, p.p1, open_network(small).model.vocabulary.bits)
    assert block.coded_bits == bits.sum()
    assert abs(block.coded_bits - coded.cost_bits) <= len(bits) / 2**17, "each token is rounded to 2**-16 bit"
    assert (block.kind, block.primer_bytes, block.payload_bytes) == (BlockKind.TOKENS, len(BASE), len(coded.payload))
    sums = estimates_bits(DATA, small, BASE)
    assert block.own_bits == min(sums[1], sums[3], block.coded_bits)
    assert analysis.bound_bits == block.best_bits == min(*sums, block.coded_bits)


def test_a_block_of_bytes_after_a_primer(small: ModelFile) -> None:
    packed, _ = frame_of([(primed_bytes_block, DATA, [])], base=BASE)
    analysis = analysed(packed, small)
    check(analysis, len(packed), DATA)
    (block,) = analysis.blocks
    raw, known = np.frombuffer(DATA, np.uint8), byte_predictor.primed(BASE, byte_predictor.sizes(len(BASE + DATA), 16))
    p1, decisions = byte_predictor.probabilities(raw, 16, known), np.unpackbits(raw)
    assert primed_bytes_block(DATA).payload[1:] == range_coder.words_to_bytes(range_coder.encode(decisions, p1))
    assert block.coded_bits == unit_bits(decisions, p1, 8).sum()
    assert (block.kind, block.primer_bytes) == (BlockKind.BYTES, len(BASE))
    on_bytes, _, after, _ = estimates_bits(DATA, small, BASE)
    assert analysis.bound_bits == min(after, block.coded_bits) < on_bytes - 100, "what is there before is worth much"
    (estimate,) = analysis.estimates
    assert (estimate.kind, estimate.primer) == (BlockKind.BYTES, BASE)
    assert analysis.source == "mixing alone, one lane, knowing the reference"
    written = document("x", analysis)
    assert [written["reference"]] == nncomp.info(io.BytesIO(packed)).references
    assert [piece["primer_bytes"] for piece in written["estimates"]] == [len(BASE)] == [written["blocks"][0]["primer_bytes"]]


def test_tokens_of_another_writer_after_a_primer(small: ModelFile) -> None:
    """A file may have other tokens than nncomp takes: what was coded is found from the file."""
    network = open_network(small)
    vocabulary, known = network.model.vocabulary, primed_tokens.prime(network, BASE, 10)
    single = np.array([vocabulary.tokens.index(bytes([byte])) for byte in DATA], np.int32)
    assert len(vocabulary.encode(DATA)) < len(single)
    p = primed_tokens.predict_after(known, DATA, single)
    payload = TokensHead(0, 10, primer=1).pack() + range_coder.words_to_bytes(range_coder.encode(p.decisions, p.p1))
    data, ids = primed_tokens.decode_tokens_after(known, payload, len(DATA))
    assert (data, ids.tolist()) == (DATA, single.tolist())
    packed = frame([Block(BlockKind.TOKENS, len(DATA), payload, checksum(DATA), True)], reference(SMALL), base=BASE)
    analysis = analysed(packed, small)
    check(analysis, len(packed), DATA)
    assert analysis.blocks[0].coded_bits == unit_bits(p.decisions, p.p1, vocabulary.bits).sum()


def test_a_block_that_does_not_begin_with_the_reference(small: ModelFile) -> None:
    """Copies alone reach into it: what is left, the literals, is estimated without it."""
    packed, content = frame_of([(stored, ONE, [Copy(50, 40, 60 + 150)])], base=BASE)
    analysis = analysed(packed, small)
    check(analysis, len(packed), ONE)
    assert (analysis.raw_bytes, analysis.blocks[0].primer_bytes, analysis.estimates[0].primer) == (len(content), 0, b"")
    assert "reference" not in analysis.source and document("x", analysis)["reference"] is not None
    with_tokens, _ = frame_of([(tokens, DATA, NEAR)], reference(SMALL), base=BASE)
    without, _ = frame_of([(tokens, DATA, NEAR)], reference(SMALL))
    found, plain = analysed(with_tokens, small), analysed(without, small, None)
    assert (found.blocks, found.bound_bits) == (plain.blocks, plain.bound_bits)
    assert found.parts["container"] == plain.parts["container"] + 8 * 8, "the name of the reference"
    assert document("x", plain)["reference"] is None


def test_a_text_of_copies_alone(small: ModelFile) -> None:
    packed, content = frame_of([(stored, b"", [Copy(0, 300, 400)])], base=BASE)
    analysis = analysed(packed, small)
    check(analysis, len(packed), b"")
    assert (analysis.raw_bytes, analysis.bound_bits, analysis.source) == (len(content), 0, "copies alone")
    assert document("x", analysis)["bits_per_byte"] == 8 * len(packed) / len(content)
    page = make_page("x", analysis, 0).decode()
    assert "300 bytes of text. No network. 300 of them are copied from what comes before, and not shown." in page
    assert f"<td>{len(packed)}.0</td><td>{8 * len(packed) / len(content):.4f}</td>" in page


def test_several_blocks_and_frames(small: ModelFile) -> None:
    """The whole text is estimated after the primer, too: then what is known of it is learned once."""
    long_base = LINES * 15 + BASE
    pieces: list[Piece] = [
        (lambda data: primed_tokens_block(data, 1, long_base), DATA, []),
        (lzma_block, bytes(900), []),
        (lambda data: primed_bytes_block(data, 2, long_base), LINES[:500], [Copy(5, 40, 100)]),
    ]
    packed, _ = frame_of(pieces, reference(SMALL), base=long_base)
    packed += frame_of([(in_bytes, LINES[:700], [])])[0]
    text = DATA + bytes(900) + LINES[:500] + LINES[:700]
    analysis = analysed(packed, small, long_base)
    check(analysis, len(packed), text)
    assert [block.primer_bytes for block in analysis.blocks] == [1 << 14, 0, 1 << 15, 0]
    assert analysis.whole is not None
    assert analysis.whole.total_bits == min(estimates_bits(text, small, long_base[-(1 << 15) :]))
    assert analysis.whole.primer == long_base[-(1 << 15) :] and analysis.parts["blocks"] > 0


def test_workers_change_nothing_after_a_primer(small: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "FEW_BYTES", 0)
    packed, _ = frame_of([(primed_tokens_block, DATA, []), (primed_bytes_block, DATA, [])], reference(SMALL), base=BASE)
    alone, told = analysed(packed, small), list[tuple[int, int]]()
    known = Finder(lambda _: small, Reference.of(BASE))
    together = analyse(packed, known, None, 2, lambda *now: told.append(now))
    assert document("", alone) == document("", together)
    assert [*unit_lines(alone)] == [*unit_lines(together)]
    assert told[-1][0] == told[-1][1] == 9 * 2 * len(DATA), "decoded; estimated four times, and as one piece again"


def test_without_its_reference_a_file_is_not_analysed(small: ModelFile) -> None:
    piece: Piece
    for piece in ((primed_tokens_block, DATA, []), (stored, ONE, NEAR)):
        packed, _ = frame_of([piece], reference(SMALL), base=BASE)
        with pytest.raises(NoReferenceError, match="Give that text with --reference"):
            analysed(packed, small, None)
        with pytest.raises(NoReferenceError, match="another reference"):
            analysed(packed, small, BASE[1:])
    for block in (primed_tokens_block(DATA), primed_bytes_block(DATA)):
        with pytest.raises(FormatError, match="begins with a reference"):
            analysed(frame([block], reference(SMALL)), small)


@pytest.mark.parametrize("with_network", [True, False])
def test_a_text_is_compressed_with_the_reference_first(with_network: bool, small: ModelFile) -> None:
    coding = Coding(small if with_network else None, Effort(max_lines_log2=10), Reference.of(LINES))
    analysis = compress_and_analyse(KIN, coding, None, 0)
    check(analysis, analysis.file_bytes, KIN)
    assert analysis.reference == Reference.of(LINES).name_bytes.hex() and analysis.blocks[0].primer_bytes == len(LINES)
    alone = compress_and_analyse(KIN, Coding(coding.model), None, 0)
    assert analysis.file_bytes < alone.file_bytes and alone.reference == ""
    nothing = compress_and_analyse(b"", coding, None, 0)
    check(nothing, nothing.file_bytes, b"")


def test_the_page_has_what_the_network_finds_after_the_primer(small: ModelFile) -> None:
    base, text = BASE[-150:], DATA[:80]
    packed, _ = frame_of([(lambda data: primed_tokens_block(data, 1, base), text, [])], reference(SMALL), base=base)
    analysis = analysed(packed, small, base)
    analysis.estimates[:] = [EstimateTask(text, small, primer=base).run()]
    found = Page(make_page("a", analysis, 0))
    data = json.loads(found.text["data"])
    vocabulary = open_network(small).model.vocabulary
    engine, before = ReferenceEngine(open_network(small).model, 1), open_network(small).model.sizes["start_token"]
    expected, likeliest = list[float](), list[list[float]]()
    for token in [*vocabulary.encode(base).tolist(), *vocabulary.encode(text).tolist()]:
        groups = engine.step(np.array([before]))[0]
        each = [engine.token_frequencies(0, group) for group in range(len(groups))]
        shares = np.concatenate([share * (t / t.sum()) for share, t in zip(groups / groups.sum(), each, strict=True)])
        expected.append(-np.log2(shares[token]))
        likeliest.append(np.sort(shares)[::-1][:ALTERNATIVES].tolist())
        before = token
    count = len(analysis.estimates[0].bits)
    assert np.allclose(np.array(unpacked(data["network"])) / 100, expected[-count:], atol=0.006)
    assert np.allclose(np.array(unpacked(data["shares"])) / 65535, np.ravel(likeliest[-count:]), atol=1 / 65535)
    assert found.text["h1"] == "a, with a reference"
    assert f"The last {len(base)} bytes of the reference are read before the text." in found.text["note"]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_plot_says_that_there_is_a_reference(kind: str) -> None:
    pytest.importorskip("matplotlib")
    from nncomp.plots.bits_along import draw

    coding = Coding(None, reference=Reference.of(LINES))
    pictures = [draw(compress_and_analyse(KIN, each, None, 0), "a", kind) for each in (coding, Coding())]
    assert pictures[0] != pictures[1]
    if kind == "svg":
        assert [b"a, with a reference" in picture for picture in pictures] == [True, False]


def test_the_command(run: Run, tmp_path: Path) -> None:
    files = {"new.txt": KIN, "old.txt": LINES, "other.txt": LINES[1:]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    options = "--model", "none", "--reference", "old.txt"
    of_text = json.loads(run("entropy", "--json", *options, "new.txt").stdout)
    assert run("compress", "-q", *options, "new.txt").returncode == 0
    packed = (tmp_path / "new.txt.nnc").read_bytes()
    assert of_text["file_bytes"] == len(packed) < of_text["raw_bytes"] / 2
    assert [of_text["reference"]] == nncomp.info(io.BytesIO(packed)).references
    found = run("entropy", *options[2:], "new.txt.nnc", "--json", "--per-token", "a.jsonl", "--html", "a.html")
    of_file = json.loads(found.stdout)
    assert of_file["blocks"] == of_text["blocks"] and of_file["bound_bits"] <= of_text["bound_bits"]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(line["bits"] for line in lines) == sum(piece["bits"] for piece in of_file["estimates"])
    assert b"with a reference" in (tmp_path / "a.html").read_bytes()
    table = " ".join(run("entropy", *options, "new.txt").stdout.decode().split())
    assert f"new.txt, with a reference: {len(KIN)} bytes of text" in table and "knowing the reference" in table
    left = names(tmp_path)
    for given in ((), ("--reference", "other.txt")):
        wrong = run("entropy", *given, "new.txt.nnc", "--html", "b.html")
        assert (wrong.returncode, wrong.stdout, names(tmp_path)) == (1, b"", left) and b"reference" in wrong.stderr
    over = run("entropy", *options, "-f", "new.txt", "--html", "old.txt")
    assert over.returncode == 1 and b"would replace the reference" in over.stderr
    assert (tmp_path / "old.txt").read_bytes() == LINES


def test_from_python() -> None:
    found = nncomp.estimate(KIN, model=None, reference=LINES)
    packed = nncomp.compress(KIN, model=None, reference=LINES)
    assert found.file_bytes == len(packed) and sum(found.parts_bits.values()) == 8 * len(packed)
    of_file = nncomp.estimate(packed, model=None, reference=LINES)
    assert (of_file.parts_bits, of_file.bits.tolist()) == (found.parts_bits, found.bits.tolist())
    assert found.bound_bits < nncomp.estimate(KIN, model=None).bound_bits
    for given in (None, LINES[1:]):
        with pytest.raises(NoReferenceError):
            nncomp.estimate(packed, model=None, reference=given)
