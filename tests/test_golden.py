"""The golden files: they never change, what is good is always read, by two decoders, and what is bad is refused."""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from checks.independent.decode import decode
from checks.independent.refused import RefusedError
from nncomp import errors
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import ModelReference
from nncomp.format.numbers import NO_MODEL, OWN_MODEL, BlockKind
from nncomp.format.payloads import asked_primer_bytes
from nncomp.network.registry import ModelFile, find
from nncomp.stream import pipeline
from nncomp.stream.assembly import Assembly
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import Finder, decode_task
from tests.golden import texts
from tests.golden.make import add_missing
from tests.golden.manifest import Bad, Good, bad_rows, check, good_rows, read_manifest, sha256
from tests.golden.models import FEW, FOLDER, GRAMS, NGRAMS, TWO, model_bytes, named_bytes

pytestmark = pytest.mark.golden
GOOD, BAD = good_rows(), bad_rows()


def named(row: Good | Bad) -> str:
    return row.file


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFile]:
    """Return the golden models by name, as files."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name in read_manifest()["models"]:
        data = model_bytes(name)
        (folder / name).write_bytes(data)
        found[name] = ModelFile(folder / name, OWN_MODEL, bytes.fromhex(sha256(data)))
    (folder / NGRAMS).write_bytes(model_bytes(NGRAMS))
    ngrams = ModelFile(folder / NGRAMS, NO_MODEL, bytes.fromhex(sha256(model_bytes(NGRAMS))))
    found[GRAMS] = replace(found[GRAMS], ngrams=ngrams)
    found[TWO] = replace(found[TWO], second=found[FEW], ngrams=ngrams)
    return found


def unpack(packed: bytes, given: list[ModelFile]) -> bytes:
    sink = io.BytesIO()

    def find_model(reference: ModelReference) -> ModelFile:
        return find(reference.model_id, reference.content_hash, given)

    pipeline.decompress(io.BytesIO(packed), sink, Finder(find_model, Reference.of(texts.base())), workers=0)
    return sink.getvalue()


def test_golden_files_never_change() -> None:
    check(read_manifest())
    listed = {row.file for row in GOOD} | {row.file for row in BAD}
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.nnc")} == listed


def test_making_again_changes_nothing(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert add_missing(tmp_path) == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "good/lzma.nnc").write_bytes(b"spoiled")
    with pytest.raises(ValueError, match=r"good/lzma.nnc was changed"):
        add_missing(tmp_path)
    assert (tmp_path / "good/lzma.nnc").read_bytes() == b"spoiled"


@pytest.mark.parametrize("row", GOOD, ids=named)
def test_a_good_file_is_read(row: Good, models: dict[str, ModelFile]) -> None:
    content = unpack((FOLDER / row.file).read_bytes(), [models[row.model]] if row.model else [])
    assert (len(content), sha256(content)) == (row.raw_bytes, row.raw_sha256)


@pytest.mark.parametrize("row", GOOD, ids=named)
def test_a_good_file_is_read_by_the_independent_decoder(row: Good) -> None:
    model = model_bytes(row.model) if row.model else None
    content = decode((FOLDER / row.file).read_bytes(), model, named_bytes(row.model), texts.base())
    assert (len(content), sha256(content)) == (row.raw_bytes, row.raw_sha256)


@pytest.mark.parametrize("row", GOOD, ids=named)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_good_file_is_read_with_any_number_of_threads(row: Good, threads: int, models: dict[str, ModelFile]) -> None:
    base = Reference.of(texts.base())
    finder = Finder(lambda _: models[row.model], base)
    assembly, content = Assembly(base), hashlib.sha256()
    for found in read_blocks(io.BytesIO((FOLDER / row.file).read_bytes()), assembly.expect):
        decoded = decode_task(found.block, found.head, finder, threads).run()
        for part in assembly.add(found.frame, found.head, *decoded):
            content.update(part)
    assembly.check()
    assert content.hexdigest() == row.raw_sha256


def test_each_feature_has_a_good_file(models: dict[str, ModelFile]) -> None:
    kinds, lanes, blocks, frames, codes, primers, lists, windows = (set[int]() for _ in range(8))
    for row in GOOD:
        found = list(read_blocks(io.BytesIO((FOLDER / row.file).read_bytes())))
        kinds |= {each.block.kind for each in found}
        lanes |= {each.block.payload[0] & 31 for each in found if each.block.kind == BlockKind.TOKENS}
        codes |= {each.block.payload[2] for each in found if each.block.kind == BlockKind.TOKENS}
        primers |= {asked_primer_bytes(each.block.kind, each.block.payload) for each in found}
        blocks.add(max(each.number for each in found) + 1)
        frames.add(found[-1].frame + 1)
        lists |= {each.block.copies.kind for each in found if each.block.copies}
        windows |= {each.head.window_log2 for each in found}
    assert kinds == set(BlockKind)
    assert {0, 1, 4} <= lanes
    assert {0, 1, 5} <= codes and {0, 16384} <= primers
    assert lists == {BlockKind.STORED, BlockKind.LZMA, BlockKind.BYTES}
    assert {0, 16, 32} <= windows
    assert {1, 3, 4} <= blocks
    assert {1, 5} <= frames


@pytest.mark.parametrize("row", BAD, ids=named)
def test_a_bad_file_gives_its_error(row: Bad, models: dict[str, ModelFile]) -> None:
    packed = (FOLDER / row.file).read_bytes()
    with pytest.raises(errors.NncompError) as caught:
        unpack(packed, [models[row.model]] if row.model else [])
    assert type(caught.value).__name__ == row.error
    assert row.sentence in str(caught.value)


@pytest.mark.parametrize("row", BAD, ids=named)
def test_a_bad_file_is_refused_by_the_independent_decoder(row: Bad) -> None:
    with pytest.raises(RefusedError):
        decode((FOLDER / row.file).read_bytes(), model_bytes(row.model) if row.model else None, reference=texts.base())


def test_golden_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.suffix in (".nnc", ".json")) < 400_000
    assert lzma.decompress((FOLDER / "extreme.safetensors.xz").read_bytes()) == model_bytes("extreme.safetensors")
