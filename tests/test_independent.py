"""The independent decoder against what the product makes beyond the golden files, and the numbers that FORMAT.md states."""

from __future__ import annotations

import ast
import io
import random
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from checks.independent import layout
from checks.independent.byte_model import ByteModel
from checks.independent.decode import decode, decode_tokens
from checks.independent.model_file import parse_model
from checks.independent.range_decoder import RangeDecoder
from checks.independent.refused import RefusedError
from nncomp.blocks import token_payload
from nncomp.format.copies import pack_copies
from nncomp.format.frames import Block, CopyList, FrameWriter, block_checksum
from nncomp.network.engine import Network
from nncomp.network.model import read_model, save_model
from nncomp.network.ngram_file import save_ngrams
from nncomp.network.registry import open_model, shipped_path
from nncomp.stream.repeats import cuts
from tests.conftest import ROOT, environment
from tests.golden.models import FOLDER, SMALL, model_bytes
from tests.models import small_model, small_start
from tests.test_token_payload import CASES, packed

PARTS = sorted((ROOT / "checks/independent").glob("*.py"))


def test_it_shares_nothing_with_the_product() -> None:
    assert len(PARTS) > 5
    allowed = {"argparse", "collections", "dataclasses", "hashlib", "itertools", "json", "lzma", "math", "numpy", "pathlib"}
    allowed |= {"struct", "sys", "typing", "__future__"}
    for path in PARTS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("checks.independent"), (path, name)


def test_the_words_that_the_page_states() -> None:
    decoder = RangeDecoder(struct.pack("<2I", 4294901504, 3295150209))
    assert [decoder.decide(p1) for p1 in (1, 65535, 32768, 30000)] == [1, 0, 1, 1]
    decoder.finish()


def test_the_probabilities_that_the_page_states() -> None:
    model, found = ByteModel(16, 3), []
    for c in b"aaa":
        model.begin_byte()
        for depth in range(8):
            found.append(model.predict((256 | c) >> (8 - depth), depth))
            model.learn(c >> (7 - depth) & 1)
        model.text.note(c)
    page = (ROOT / "docs/FORMAT.md").read_text(encoding="utf-8")
    stated = page.split("With T = 16 the text `aaa` has p1 = ")[1].split("\n\n")[0]
    assert found == [int(number) for number in stated.rstrip(".").replace(",", " ").split()]


@pytest.mark.parametrize(
    "name", ["matches", "fields", "tags", "any start", "learned, lanes", "extreme", "reaches", "n-grams", "two networks, lanes"]
)
def test_what_the_product_codes_as_tokens_comes_back(name: str, tmp_path: Path) -> None:
    model_name, data, _ = CASES[name]
    network = packed(model_name)
    model, path, second, others = network.model, tmp_path / "m.safetensors", None, list[bytes]()
    if model.second:
        save_model(model.second, tmp_path / "second.safetensors")
        second = (tmp_path / "second.safetensors").read_bytes()
        others.append(second)
    if ngrams := model.ngrams:
        table = tmp_path / "ngrams.safetensors"
        model = replace(model, ngrams=save_ngrams(ngrams.entries, ngrams.vocab_size, ngrams.record, table))
        others.append(table.read_bytes())
    save_model(model, path, None, second)
    payload = token_payload.encode_tokens(network, data).payload
    assert decode_tokens(payload, len(data), parse_model(path.read_bytes(), *others)) == data


@pytest.mark.parametrize("name", small_start())
def test_a_model_that_lacks_a_start_value(name: str, tmp_path: Path) -> None:
    extra = {key: array for key, array in small_model().extra.items() if key != f"mixing.{name}"}
    save_model(replace(small_model(), extra=extra), tmp_path / "m.safetensors")
    with pytest.raises(RefusedError, match=f"no tensor extra.mixing.{name}$"):
        parse_model((tmp_path / "m.safetensors").read_bytes())


@pytest.mark.skipif(not shipped_path("default").is_file(), reason="no model is installed")
def test_what_the_shipped_model_codes_comes_back(english: bytes) -> None:
    file, data = open_model("default"), english[:300]
    payload = token_payload.encode_tokens(Network(read_model(file)), data).payload
    independent = parse_model(*map(bytes, (file.read(), *file.read_named().values())))
    assert decode_tokens(payload, len(data), independent) == data


def stored_frame(content: bytes) -> bytes:
    """Return a frame with the copies that the product finds, and nothing coded."""
    sink = io.BytesIO()
    writer = FrameWriter(sink, None, 29)
    for cut in cuts(io.BytesIO(content), 1 << 29, block_bytes=1 << 20):
        listed = pack_copies(cut.copies) if cut.copies else b""
        copies = CopyList(0, cut.raw_bytes - len(cut.literals), len(listed), listed) if listed else None
        checksum = block_checksum(listed, cut.literals)
        writer.write(Block(0, len(cut.literals), cut.literals, checksum, cut.is_last, copies), cut.content or b"")
    return sink.getvalue()


def test_what_the_product_copies_comes_back() -> None:
    """Random text whose parts come again: near, across blocks, overlapping; two frames."""
    chance = random.Random(5)
    part = chance.randbytes(3000)
    alone = part + chance.randbytes(70_000) + part + b"ab" * 2000 + part[:2000]
    several = part + chance.randbytes(3 << 19) + part + b"ab" * 2000
    packed = stored_frame(alone) + stored_frame(several)
    assert [block.copies is not None for block in layout.blocks(packed)] == [True, False, True]
    assert decode(packed) == alone + several


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "checks.independent.decode"]
    command.append(str(FOLDER / "good/tokens-empty-lanes.nnc"))
    (tmp_path / "m.safetensors").write_bytes(model_bytes(SMALL))
    with_model = [*command, "--model", str(tmp_path / "m.safetensors")]
    result = subprocess.run(with_model, cwd=ROOT, capture_output=True, env=environment(), check=True)
    assert (result.stdout, result.stderr) == (b"a" * 15, b"")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment(), check=False)
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"refused: the block needs the model" in result.stderr
