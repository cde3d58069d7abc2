"""A model of two networks: its file names both others, mixing has both predictions, and what does not fit is refused by name."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from checks.independent.model_file import parse_model as parse_independently
from checks.independent.refused import RefusedError
from nncomp.blocks import token_payload
from nncomp.blocks.codec import Codec
from nncomp.errors import ModelError
from nncomp.network import registry
from nncomp.network.engine import Network
from nncomp.network.model import TRAINED_ON, parse_model, read_model, save_model, was_trained_on
from nncomp.network.registry import open_model, shipped_path
from nncomp.training.assemble import assembled
from nncomp.training.corpus import find_corpus
from nncomp.training.wanted import Training, plan_of
from tests.conftest import environment
from tests.golden.models import by_hash
from tests.models import NARROW, TEXT, coded_model, small_decoder, small_export, small_model, small_vocabulary, two_networks

Files = tuple[bytes, bytes, bytes]  # of the model, of its base, of the second network


def saved(folder: Path) -> tuple[Path, Path, Path]:
    """Return the paths of a model of two networks, of its base and of its second network."""
    model = two_networks()
    assert model.second is not None
    paths = folder / "both.safetensors", folder / "first.safetensors", folder / "second.safetensors"
    save_model(coded_model(), paths[1])
    save_model(model.second, paths[2])
    save_model(model, paths[0], paths[1].read_bytes(), paths[2].read_bytes())
    return paths


@pytest.fixture
def files(tmp_path: Path) -> Files:
    both, first, second = (path.read_bytes() for path in saved(tmp_path))
    return both, first, second


def test_the_file_has_no_weights(files: Files) -> None:
    both, first, second = files
    tensors = load(both)
    assert not any("embedding" in name or name == "token_weight" for name in tensors)
    assert all(len(tensors[name]) == 0 for name in ("gates_weight", "mlp_in_weight"))
    model, expected = parse_model(both, "both", by_hash(first, second)), two_networks()
    assert model.networks == 2 and model.second is not None and expected.second is not None
    for found, given in ((model, expected), (model.second, expected.second)):
        assert all(np.array_equal(getattr(found.arrays, name), a) for name, a in given.arrays._asdict().items())
    assert model.extra.keys() == expected.extra.keys()
    read = parse_independently(both, second, first)
    assert read.second is not None and read.second.sizes["width"] == NARROW.width


def test_the_second_network_counts(files: Files) -> None:
    """Text is coded with both: with another second network the payload is another one."""
    model = two_networks()
    other = replace(model, second=small_export(small_decoder(8, NARROW), small_vocabulary(), ""))
    payloads = [token_payload.encode_tokens(Network(each), TEXT[:3000]).payload for each in (model, other)]
    assert payloads[0] != payloads[1]
    assert token_payload.decode_tokens(Network(model), payloads[0], 3000) == TEXT[:3000]


def test_files_that_are_missing_or_others(files: Files) -> None:
    both, first, second = files
    with pytest.raises(ModelError, match="The second network of the model both was not found, or is damaged: its SHA-256 is"):
        parse_model(both, "both", by_hash(first))
    with pytest.raises(ModelError, match="The base of the model both was not found, or is damaged: its SHA-256 is"):
        parse_model(both, "both", by_hash(second))
    with pytest.raises(RefusedError, match="not the other file"):
        parse_independently(both, first)
    own = hashlib.sha256(second).hexdigest().encode()
    again = both.replace(own, hashlib.sha256(both).hexdigest().encode())  # a second network that names other files itself
    with pytest.raises(ModelError, match="names other files itself"):
        parse_model(again, "again", by_hash(first, second, both))
    with pytest.raises(RefusedError, match="a second network that names other files"):
        parse_independently(again, first, both)
    twice = both.replace(own, hashlib.sha256(first).hexdigest().encode())  # one model as base and as second network
    assert parse_model(twice, "twice", by_hash(first)).networks == 2


def test_networks_that_do_not_fit_together() -> None:
    model = two_networks()
    with pytest.raises(ModelError, match="other tokens or groups, or another network beside it"):
        replace(small_model(), second=model)
    for sizes in (replace(NARROW, group_count=32), replace(NARROW, start_token=11)):
        with pytest.raises(ModelError, match="other tokens or groups"):
            replace(small_model(), second=small_export(small_decoder(0, sizes), small_vocabulary(), ""))
    one = replace(small_model(), second=model.second)  # with start values for one network
    with pytest.raises(ModelError, match="of mixing is of another type or shape"):
        token_payload.encode_tokens(Network(one), b"text")


def test_altered_files_are_read_or_refused(files: Files) -> None:
    both, first, second = files
    random_ = random.Random(3)
    head = 8 + int.from_bytes(both[:8], "little")
    for _ in range(150):
        altered = bytearray(both)
        altered[random_.randrange(8, head)] ^= 1 << random_.randrange(8)
        try:
            parse_model(bytes(altered), "both", by_hash(first, second))
        except ModelError:
            continue


def test_documents_of_both_are_known() -> None:
    digests = [np.frombuffer(hashlib.sha256(text).digest()[:8], "<u8").copy() for text in (b"one", b"two")]
    model = two_networks()
    assert model.second is not None
    second = replace(model.second, extra=model.second.extra | {TRAINED_ON: digests[1]})
    model = replace(model, extra=model.extra | {TRAINED_ON: digests[0]}, second=second)
    assert [was_trained_on(model, text) for text in (b"one", b"two", b"three")] == [True, True, False]


def test_a_codec_finds_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the models that come with nncomp; the memory of all three files is counted."""
    monkeypatch.setattr(registry, "models_folder", lambda: tmp_path)
    paths = saved(tmp_path)
    paths[1].rename(tmp_path / "default.safetensors")
    paths[2].rename(tmp_path / "fast.safetensors")
    file = open_model(paths[0])
    assert file.base is not None and file.second is not None
    assert file.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert read_model(file).networks == 2
    codec = Codec(file)
    coded = codec.encode_block(TEXT[:2000])
    assert codec.decode_block(coded.kind, coded.payload, 2000) == TEXT[:2000]
    (tmp_path / "fast.safetensors").unlink()
    with pytest.raises(ModelError, match="The second network of the model"):
        read_model(open_model(paths[0]))


@pytest.mark.skipif(not shipped_path("max").is_file(), reason="no shipped model")
def test_a_model_that_grows_from_it_is_whole(tmp_path: Path) -> None:
    """Its file has a base, so it is none itself."""
    grown = Training(shape="large", init="max")
    assert plan_of(str(tmp_path), tmp_path, grown, "").base is None
    assert plan_of(str(tmp_path), tmp_path, replace(grown, init="default"), "").base is not None
    assert [open_model(name).can_be_base for name in ("default", "fast", "max")] == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["assemble", "odd", "new", "text"], "There is no model odd: give a name"),
        (["assemble", "m.safetensors", "new", "absent"], "There is no training text at absent: no file is there"),
        (["assemble", "m.safetensors", "no/new", "text"], "There is no folder no to write new to."),
        (["code_table", "m.safetensors", ".", "text"], ". is a folder; give the name of a file to write."),
        (["code_table", "odd", "new", "text"], "There is no model odd: give a name"),
        (["count_ngrams", "odd", "new", "text"], "There is no model odd: give a name"),
    ],
)
def test_a_wrong_name_is_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Of each command `python -m nncomp.training.NAME`, with exit status 1, and before any work."""
    (tmp_path / "text").write_bytes(TEXT)
    save_model(small_model(), tmp_path / "m.safetensors")
    command = [sys.executable, "-m", f"nncomp.training.{arguments[0]}", *arguments[1:]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 1 and result.stderr.startswith(said) and result.stderr.count("\n") == 1


@pytest.mark.skipif(not shipped_path("max").is_file(), reason="no shipped model")
def test_the_command(tmp_path: Path) -> None:
    """The same start values as from Python, learned on both networks. A second model that no reader would find is refused."""
    (tmp_path / "a.txt").write_bytes(TEXT[:6000])
    new, text = str(tmp_path / "new.safetensors"), str(tmp_path / "a.txt")
    command = [sys.executable, "-m", "nncomp.training.assemble", "default", new, text, "--mb", "0.005", "--second"]
    result = subprocess.run([*command, "fast"], capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 0, result.stderr
    data = Path(new).read_bytes()
    assert hashlib.sha256(data).hexdigest() in result.stdout
    model, default, fast = (read_model(open_model(name)) for name in (new, "default", "fast"))
    again = assembled(default, default.ngrams, fast, find_corpus(text), 5000)
    assert model.networks == 2 and model.code is not None
    assert all(np.array_equal(model.extra[name], array) for name, array in again.extra.items())
    assert "assemble" in model.record["assembled"]["command"]
    result = subprocess.run([*command, new], capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 1 and "does not come with nncomp" in result.stderr and "Traceback" not in result.stderr
