"""A reference: what is coded knowing it comes back with it, and only with it; by every way in and out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

import nncomp
from checks.independent.decode import decode
from checks.independent.model_file import parse_model as independent_model
from checks.independent.primer import cut_into_tokens
from nncomp import range_coder
from nncomp.blocks import primed_tokens, primers, token_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.levels import Effort
from nncomp.blocks.memory import Memory, decoding_bytes
from nncomp.errors import DataError, FormatError, ModelError, NoReferenceError
from nncomp.format.copies import Copy
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import ModelReference
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import BytesHead, TokensHead, asked_primer_bytes
from nncomp.mixing import byte_predictor
from nncomp.network.model import read_model
from nncomp.network.registry import ModelFile, open_model, shipped_path
from nncomp.stream import pipeline, reference, repeats
from nncomp.stream.recovery import recover
from nncomp.stream.reference import Reference
from nncomp.stream.reference_choice import choose_reference
from nncomp.stream.tasks import Coding, Finder, FindModel
from tests.conftest import Run
from tests.golden import texts
from tests.golden.good_files import BASE, MIXED, ONE, OTHER, Piece, frame_of, packed, primed_bytes_block, stored
from tests.golden.models import SMALL

OLD = b"".join(b"Line %d of a text that was there before, %d.\n" % (i, i * i % 997) for i in range(900))
NEW = OLD[:9_000] + b"Here is a line that was not there.\n" + OLD[9_500:30_000] + OLD[31_000:]


def no_model(named: ModelReference) -> ModelFile:
    raise ModelError("No such model is here.")


def with_base(base: bytes = BASE) -> Finder:
    return Finder(no_model, Reference.of(base))


def frame_with(data: bytes, base: bytes) -> bytes:
    """Return a frame of what the finder finds, and nothing is coded but the last blocks, in bytes."""
    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(data), sink, Coding(reference=Reference.of(base)), 0)
    return sink.getvalue()


def test_a_new_version_is_little_more_than_what_is_new() -> None:
    packed = nncomp.compress(NEW, model=None, reference=OLD)
    assert len(packed) < 200 < len(nncomp.compress(NEW, model=None)) / 5
    assert nncomp.decompress(packed, reference=OLD) == NEW == decode(packed, reference=OLD)


@pytest.mark.parametrize(("given", "sentence"), [(None, "Give that text with --reference"), (OLD[1:], "another reference")])
def test_without_the_reference_nothing_comes_out(given: bytes | None, sentence: str) -> None:
    packed = nncomp.compress(NEW, model=None, reference=OLD)
    name = hashlib.sha256(OLD).hexdigest()[:16]
    sink, finder = io.BytesIO(), Finder(no_model, None if given is None else Reference.of(given))
    for read in (
        lambda: pipeline.decompress(io.BytesIO(packed), sink, finder, 0),
        lambda: nncomp.NncompFile(io.BytesIO(packed), reference=given).read(),
        lambda: nncomp.Decompressor(reference=given).decompress(packed),
    ):
        with pytest.raises(NoReferenceError, match=sentence) as caught:
            read()
        assert name in str(caught.value)
    assert sink.getvalue() == b""


def test_a_reference_that_gives_nothing_is_not_named() -> None:
    data = random.Random(1).randbytes(500)
    packed = nncomp.compress(data, model=None, reference=OLD)
    assert packed == nncomp.compress(data, model=None)
    assert nncomp.decompress(packed) == nncomp.decompress(packed, reference=OLD) == data


def test_each_way_in_gives_the_same_and_each_way_out() -> None:
    packed = nncomp.compress(NEW, model=None, reference=OLD)
    held = io.BytesIO()
    with nncomp.open(held, "wb", model=None, reference=OLD) as file:
        for i in range(0, len(NEW), 1000):
            file.write(NEW[i : i + 1000])
    assert held.getvalue() == packed
    with nncomp.open(io.BytesIO(packed), "rt", reference=OLD, encoding="ascii", newline="") as text:
        assert text.read().encode() == NEW
    with nncomp.NncompFile(io.BytesIO(packed), reference=OLD) as file:
        file.seek(20_000)
        assert file.read(50) == NEW[20_000:20_050]
    decompressor = nncomp.Decompressor(reference=OLD)
    parts = [decompressor.decompress(packed[i : i + 1]) for i in range(len(packed))]
    assert b"".join(parts) == NEW and decompressor.eof


def test_the_finder_finds_the_same_in_pieces_of_any_size() -> None:
    chance = random.Random(2)
    base = chance.randbytes(300_000)
    data = base[70_000:200_000] + chance.randbytes(3000) + base[:100_000] + base[-40_000:] + base[-40_000:] + base[5:140]
    found = list(repeats.cuts(io.BytesIO(data), 1 << 26, Reference.of(base)))
    assert [cut.has_reference for cut in found] == [True] and len(found[0].literals) < 3_300
    for part_bytes in (1000, 65_536, 400_000):
        finder, again = repeats.RepeatFinder(1 << 26, Reference.of(base)), list[repeats.Cut]()
        for i in range(0, len(data), part_bytes):
            again += finder.take(data[i : i + part_bytes])
        again += finder.finish()
        assert again == found


def test_a_large_reference_is_read_from_its_file_and_must_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_KEPT_BYTES", 1000)
    path = tmp_path / "base"
    path.write_bytes(OLD)
    packed = nncomp.compress(NEW, model=None, reference=path)
    assert packed == nncomp.compress(NEW, model=None, reference=OLD)
    assert nncomp.decompress(packed, reference=str(path)) == NEW
    opened = Reference.of(path)
    finder = repeats.RepeatFinder(1 << 26, opened)
    list(finder.take(NEW))
    path.write_bytes(OLD[::-1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="changed while it was read"):
        list(finder.finish())
    path.write_bytes(b"")
    with pytest.raises(DataError, match="changed while it was read"):
        opened.tail(10)


@pytest.mark.parametrize(("name", "sentence"), [("nothing", "No such file"), ("empty", "is empty"), (".", "directory")])
def test_what_is_no_reference(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(DataError, match=sentence):
        nncomp.compress(b"text", model=None, reference=tmp_path / name)


def test_several_blocks_with_copies_from_behind_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    base = chance.randbytes(200_000)
    data = base[:90_000] + chance.randbytes(3 << 19) + base[100_000:180_000] + chance.randbytes(2000)
    sink, effort = io.BytesIO(), Effort(window_log2=20, block_bytes=1 << 20)
    pipeline.compress(io.BytesIO(data), sink, Coding(None, effort, Reference.of(base)), 0)
    packed = sink.getvalue()
    blocks = [found.block for found in read_blocks(io.BytesIO(packed))]
    assert [block.literal_bytes for block in blocks][:1] == [1 << 20] and len(blocks) == 2
    assert all(block.copies for block in blocks)
    assert nncomp.decompress(packed, reference=base) == data == decode(packed, reference=base)
    with nncomp.NncompFile(io.BytesIO(packed), reference=base) as file:
        file.seek(-50_000, io.SEEK_END)
        assert file.read() == data[-50_000:]


def test_a_primed_block_of_tokens_is_the_end_of_a_longer_one() -> None:
    """The decisions of the block have the probabilities that they have in a lane that begins with the primer's tokens."""
    network, primer, data = packed(SMALL), BASE[-500:], MIXED[200:500]
    vocabulary, start = network.model.vocabulary, token_payload.model_start(network)
    ids = vocabulary.encode(data)
    both = np.concatenate([vocabulary.encode(primer), ids])
    whole = token_payload.predict_tokens(network, primer + data, start, TokensHead(0, 10), lane_ids=[both])
    count = len(ids) * vocabulary.bits
    words = range_coder.encode(whole.decisions[-count:], whole.p1[-count:])
    known = primed_tokens.prime(network, primer, 10)
    for threads in (1, 2):
        coded = primed_tokens.encode_after(known, data, TokensHead(0, 10, primer=1), threads)
        assert coded.payload == bytes([32, 10, 0]) + range_coder.words_to_bytes(words)
        assert primed_tokens.decode_after(known, coded.payload, len(data), threads) == data


@pytest.mark.skipif(not shipped_path("default").is_file(), reason="no model is installed")
def test_a_primer_is_cut_as_the_page_says(english: bytes) -> None:
    """By the second decoder as by the vocabulary: lines, runs of line feeds, odd bytes, the end of a piece within a line."""
    file = open_model("default")
    texts_to_cut = [
        english[:2000],
        b"\n\n a\n\n\n  b" * 9,
        texts.odd(),
        texts.noise(1, 300),
        (b"ab aaaa " * 12 + b"\n") * 680,
        OLD[:1500],
    ]
    vocabulary, model = read_model(file).vocabulary, independent_model(*map(bytes, (file.read(), *file.read_named().values())))
    for text in texts_to_cut:
        assert cut_into_tokens(text, model) == vocabulary.encode(text).tolist()


def test_a_primed_block_of_bytes_is_the_end_of_a_longer_one() -> None:
    primer, data = BASE[-300:], MIXED[:200]
    whole = np.frombuffer(primer + data, np.uint8)
    known = byte_predictor.primed(primer, byte_predictor.sizes(len(whole), 17))
    (p1,) = byte_predictor.probabilities_in_parts(whole[len(primer) :], 500, 17, known)
    assert p1.tolist() == byte_predictor.probabilities(whole, 17)[8 * len(primer) :].tolist()


def test_what_is_known_of_a_primer_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    prime = byte_predictor.primed

    def watched(text: bytes, sizes: tuple[int, int, int]) -> byte_predictor.Primed:
        made.append(text)
        return prime(text, sizes)

    monkeypatch.setattr(byte_predictor, "primed", watched)
    coder, parts = Codec(), [NEW[i : i + 700] for i in range(0, 7000, 700)]
    coded = [coder.encode_block(part, 1, OLD) for part in parts]
    assert made == [OLD]
    assert all(asked_primer_bytes(each.kind, each.payload) == 65_536 for each in coded)
    for part, each in zip(parts, coded, strict=True):
        assert coder.decode_block(each.kind, each.payload, len(part), 1, OLD) == part
    assert made == [OLD]


def test_the_last_things_known_are_kept() -> None:
    kept, made = primers.Primers(), list[int]()

    def make() -> int:
        made.append(number)
        return number

    for number in (1, 2, 1, 2, 3, 3, 1):
        assert kept.get(number % 2, number, make) == number  # two kinds of block
    assert made == [1, 2, 3, 1]


def test_a_primer_counts_as_memory() -> None:
    words = bytes(400)
    for kind, plain, with_primer in (
        (BlockKind.TOKENS, TokensHead(0, 12).pack(), TokensHead(0, 12, primer=7).pack()),
        (BlockKind.BYTES, BytesHead(26).pack(), BytesHead(26, 7).pack()),
    ):
        sizes = [decoding_bytes(kind, 1000, (head + words)[:3], 400, None) for head in (plain, with_primer)]
        assert sizes[1] - sizes[0] > 1 << 26


@pytest.mark.parametrize(("first", "last"), [(0, 40), (0, None), (250, 1500), (66_340, 66_400), (66_400, None)])
def test_a_range(first: int, last: int | None) -> None:
    from nncomp.stream.ranges import decompress_range

    pieces = [(stored, ONE, [Copy(50, 40, 60 + 150)]), (stored, bytes(66_000), []), (stored, OTHER, [Copy(9, 90, 66_400)])]
    data, content = frame_of(pieces, base=BASE)
    sink = io.BytesIO()
    decompress_range(io.BytesIO(data), sink, with_base(), 0, (first, last))
    assert sink.getvalue() == content[first:last]
    with pytest.raises(NoReferenceError):
        decompress_range(io.BytesIO(data), io.BytesIO(), no_model, 0, (first, last))


def recovered(data: bytes, finder: FindModel) -> tuple[bytes, list[tuple[int, int | None]]]:
    sink = io.BytesIO()
    result = recover(io.BytesIO(data), sink, finder, [], 0, Memory())
    return sink.getvalue(), [(loss.start, loss.end) for loss in result.lost]


def test_recovery_with_a_reference() -> None:
    size = len(BASE)
    pieces: list[Piece] = [(stored, ONE, []), (primed_bytes_block, MIXED[:300], []), (stored, OTHER, [Copy(100, 90, 700 + size)])]
    data, content = frame_of(pieces, base=BASE)
    assert recovered(data, with_base()) == (content, [])
    damaged = bytearray(data)
    damaged[data.index(ONE) + 7] ^= 1
    assert recovered(bytes(damaged), with_base()) == (bytes(300) + content[300:], [(0, 300)])
    # Without it, copies of it are lost, and the block that begins with it.
    kept, lost = recovered(data, no_model)
    assert lost == [(300, 600), (700, 790)]
    assert kept == content[:300] + bytes(300) + content[600:700] + bytes(90) + content[790:]
    # Where its name is damaged, a block's checksum tells that the primer is right, and nothing tells it of a copy.
    damaged = bytearray(data)
    damaged[8] ^= 1
    kept, lost = recovered(bytes(damaged), with_base())
    assert lost == [(700, 790)] and kept[:700] == content[:700] and kept[790:] == content[790:]


def test_the_command(run: Run, tmp_path: Path) -> None:
    for name, data in (("old.txt", OLD), ("new.txt", NEW), ("third.txt", OLD[5000:])):
        (tmp_path / name).write_bytes(data)
    result = run("compress", "--model", "none", "--reference", "old.txt", "new.txt", "third.txt", "--verify")
    assert result.returncode == 0, result.stderr
    for name, data in (("new.txt", NEW), ("third.txt", OLD[5000:])):
        (tmp_path / name).unlink()
        assert (tmp_path / f"{name}.nnc").stat().st_size < 200
        for given in ((), ("--reference", f"{name}.nnc")):
            result = run("decompress", f"{name}.nnc", *given)
            assert (result.returncode, result.stdout) == (1, b"") and b"reference" in result.stderr
            assert not (tmp_path / name).exists()
        assert run("decompress", "--reference", "old.txt", f"{name}.nnc").returncode == 0
        assert (tmp_path / name).read_bytes() == data
    assert run("-dc", "--reference", "old.txt", "new.txt.nnc").stdout == NEW
    assert run("cat", "--range", "9000:9010", "--reference", "old.txt", "new.txt.nnc").stdout == NEW[9000:9010]
    assert run("test", "--reference", "old.txt", "new.txt.nnc").returncode == 0
    assert run("test", "new.txt.nnc").returncode == 1
    name = hashlib.sha256(OLD).hexdigest()[:16]
    assert json.loads(run("list", "--json", "new.txt.nnc").stdout)["files"][0]["references"] == [name]
    assert name in run("list", "new.txt.nnc").stdout.decode()
    assert run("compress", "--reference", "old.txt", "--cluster", "local", "new.txt").returncode == 2
    assert run("entropy", "new.txt.nnc").returncode == 1


def test_a_reference_is_picked_from_samples(run: Run, tmp_path: Path) -> None:
    """What all samples have is there, once; what one has alone is not, where there is something better."""
    chance = random.Random(4)
    common = [b"".join(b"field %d of many: %d\n" % (i, chance.randrange(10**9)) for i in range(40)) for _ in range(5)]
    folder = tmp_path / "samples"
    folder.mkdir()
    for i in range(12):
        own = b"".join(b"%d\n" % chance.randrange(10**12) for _ in range(200))
        (folder / f"{i}.txt").write_bytes(own + b"".join(chance.sample(common, 3)))
    result = run("reference", "--from", "samples", "-o", "base.txt", "--size", "8Ki")
    assert result.returncode == 0, result.stderr
    assert b"from 12 samples" in result.stderr
    base = (tmp_path / "base.txt").read_bytes()
    assert len(base) <= 8192 and base.endswith(b"\n")
    lines = [line for part in common for line in part.splitlines()]
    times = [base.count(line) for line in lines]
    assert min(times) == 1 and sum(times) < 1.2 * len(lines)
    assert sum(line not in lines for line in base.splitlines()) < 100
    assert run("reference", "--from", "samples", "-o", "base.txt").returncode == 1
    assert run("reference", "--from", "samples", "-o", "other.txt", "--size", "0").returncode == 2
    assert not (tmp_path / "other.txt").exists()
    assert b"from 1 sample\n" in run("reference", "--from", "samples/0.txt", "-o", "one.txt").stderr


def test_a_sample_that_is_missing_is_named_and_none_is_replaced(run: Run, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.txt").write_bytes(b"what they have in common\n" * 100)
    missing = run("reference", "--from", "0.txt", "--from", "gone.txt", "-o", "base.txt")
    assert (missing.returncode, b"gone.txt: The file cannot be read" in missing.stderr) == (1, True)
    replaced = run("reference", "--from", ".", "-o", "./1.txt", "--force", "--size", "100")
    assert (replaced.returncode, b"would replace a sample" in replaced.stderr) == (1, True)
    assert {path.name: path.stat().st_size for path in tmp_path.glob("*.txt")} == {f"{i}.txt": 2500 for i in range(3)}


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        ([], "There is no text in the samples"),
        ([b"", b""], "There is no text in the samples"),
        ([b"", b"short"], "nothing in common"),
        ([bytes(range(256))], "nothing in common"),
        ([OLD[:5000], OLD[:5000]], "4 bytes are too few for any part of what the samples have in common"),
    ],
)
def test_samples_of_which_no_reference_can_be_made(samples: list[bytes], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        choose_reference(samples, 4)


def test_a_claim_of_a_primer_that_is_not_there() -> None:
    for kind, head in ((BlockKind.BYTES, BytesHead(16, 7)), (BlockKind.TOKENS, TokensHead(0, 8, primer=7))):
        with pytest.raises(FormatError, match="begins with a reference"):
            Codec().decode_block(kind, head.pack() + bytes(40), 100)


@pytest.mark.parametrize("base", [b"x", texts.noise(1, 31), texts.noise(2, 32), OLD[:1000], bytes(70_000)])
def test_small_and_odd_references(base: bytes) -> None:
    for data in (b"", b"x", base, base[1:] + base[:5], NEW[:300]):
        packed = nncomp.compress(data, model=None, reference=base)
        assert nncomp.decompress(packed, reference=base) == data


def test_the_reference_is_never_removed_or_replaced(run: Run, tmp_path: Path) -> None:
    """Its result would be copies of itself: read back, it is right, and nothing could be decoded any more."""
    (tmp_path / "old").write_bytes(OLD)
    (tmp_path / "new").write_bytes(NEW)
    options = "--model", "none", "--reference", "old"
    itself = run("compress", *options, "--rm", "old")
    assert (itself.returncode, itself.stderr) == (1, b"nncomp: old: This file is the reference itself. It is left as it is.\n")
    both = run("compress", *options, "--rm", "-f", "old", "new")
    assert both.returncode == 1 and b"the reference itself" in both.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new.nnc"}
    over = run("decompress", "-f", "--reference", "old", "new.nnc", "-o", "old")
    assert over.returncode == 1 and b"would replace the reference" in over.stderr
    assert (tmp_path / "old").read_bytes() == OLD
    assert run("decompress", "--reference", "old", "new.nnc").returncode == 0
    assert (tmp_path / "new").read_bytes() == NEW


def test_a_reference_that_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that were copied of it are in no checksum of a block."""
    monkeypatch.setattr(reference, "_KEPT_BYTES", 1000)  # so that it is read where it is needed
    packed_file = frame_with(NEW, OLD)
    (tmp_path / "old").write_bytes(OLD)
    given = Reference.of(tmp_path / "old")
    os.utime(tmp_path / "old", ns=(1, 1))
    with pytest.raises(DataError, match="changed while it was read"):
        pipeline.decompress(io.BytesIO(packed_file), io.BytesIO(), Finder(no_model, given), 0)
