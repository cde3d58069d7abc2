"""`nncomp train`, the real command: input it cannot use is a sentence and exit status 1, and the last checkpoint is kept."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncomp.cli import train_display
from nncomp.cli.train_display import Display
from nncomp.network.model import TRAINED_ON, save_model
from nncomp.network.registry import open_model
from nncomp.plots.training_run import draw
from nncomp.training.corpus import find_corpus
from nncomp.training.float_network import new_network
from nncomp.training.prepared_text import prepare, read_prepared
from nncomp.training.restore import restore
from nncomp.training.run_log import read_log
from nncomp.training.trainer import Trainer, TrainingConfig
from tests.conftest import Run, environment
from tests.kinds.commands import Commands
from tests.models import SHAPE, TEXT, load_model, small_model

SMALL = ["--init", "m.safetensors", "--tokens", "1024", "--lanes", "2", "--threads", "1", "-o", "own.safetensors"]
MORE = ["--valid", "text", *SMALL]


@pytest.fixture(autouse=True)
def _model_to_begin_with(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "m.safetensors")


def test_nothing_to_learn_from(run_training: Run, tmp_path: Path) -> None:
    """No file of a folder is text: each is named and counted, then the sentence."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt.xz").write_bytes(b"not xz")
    (tmp_path / "text/b.bin").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "text/c.txt").write_bytes(b"")
    (tmp_path / "text/d.txt").symlink_to("nowhere")
    result = run_training("train", "--data", "text", *MORE, "--init", "fast")
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 1 and not (tmp_path / "own.safetensors").exists()
    assert any("a.txt.xz cannot be read" in line for line in lines) and any("b.bin is not text" in line for line in lines)
    assert re.match(r"[23] of [34] files left out", lines[-2]) and "There is no training text at text" in lines[-1]


def test_less_text_than_a_batch(run_training: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT[:900])
    result = run_training("train", "--data", "text", *MORE)
    assert result.returncode == 1
    assert re.search(r"The corpus has \d+ tokens; 2 lanes of 257 steps need 514. Add text", result.stderr.decode())


def test_one_file_is_text_enough(run_anew: Run, tmp_path: Path) -> None:
    """Pieces of a single file are held out. The model file has figures of them, and the hash of the file."""
    (tmp_path / "text").write_bytes(TEXT * 3)
    result = run_anew("train", "--data", "text", *SMALL)
    said = result.stderr.decode()
    assert result.returncode == 0, said
    held_bytes = len(TEXT * 3) // 50 // 2 * 2
    assert f"1 documents, {len(TEXT * 3) - held_bytes:,} bytes of text; {held_bytes:,} bytes to measure on" in said
    model = load_model(tmp_path / "own.safetensors")
    record = model.record
    assert record["documents"] == 1 and record["data_bytes"] + held_bytes == len(TEXT * 3)
    assert 0 < record["valid_bpb_integer"]["text"] == record["valid_bpb_integer"]["all"]
    assert np.isin(find_corpus(str(tmp_path / "text")).short_digests(), model.extra[TRAINED_ON]).all(), "the whole file's hash"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with text, and a work folder of a training from the small model whose weights are no numbers."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "text").write_bytes(TEXT)
    save_model(small_model(), folder / "m.safetensors")
    work = folder / "own.work"
    work.mkdir()
    prepare(find_corpus(str(folder / "text")), work, small_model().vocabulary, 0, lambda line: None)
    _, ids, _ = read_prepared(work)
    decoder = restore(small_model())
    with torch.no_grad():
        decoder.embedding.fill_(math.nan)
    Trainer(decoder, config_from(folder), ids, work / "checkpoint.pt").save()
    return folder


def config_from(folder: Path) -> TrainingConfig:
    """Return the configuration of a training that goes on from the small model."""
    return TrainingConfig(time_s=1, lanes=2, init=open_model(folder / "m.safetensors").content_hash.hex())


def again(commands: Commands | None, folder: Path, *, file_limit_bytes: int = 0, text: str = "text") -> tuple[int, str]:
    """Run the command where a training was begun; return exit status and what it said. The checkpoint must be as it was."""
    checkpoint = folder / "own.work/checkpoint.pt"
    before = checkpoint.read_bytes()
    arguments, limits = ["train", "--data", text, *MORE], {"RLIMIT_FSIZE": file_limit_bytes} if file_limit_bytes else {}
    if commands:
        result = commands.start(*arguments, cwd=folder, limits=limits).finish(600)
        code, said = result.code, result.said
    else:
        command = [sys.executable, "-m", "nncomp", *arguments]
        if limits:
            command = ["bash", "-c", f'ulimit -f {file_limit_bytes // 1024}; exec "$@"', "-", *command]
        made = subprocess.run(command, cwd=folder, capture_output=True, env=environment(), timeout=600)
        code, said = made.returncode, made.stderr.decode()
    assert "Traceback" not in said
    assert checkpoint.read_bytes() == before and not (folder / "own.work/checkpoint.part").exists()
    assert not (folder / "own.safetensors").exists()
    return code, said.splitlines()[-1]


def test_a_loss_that_is_no_number(started: Path, commands_for_training: Commands | None) -> None:
    code, said = again(commands_for_training, started)
    assert code == 1 and "The training loss is not a number any more" in said and "last checkpoint is kept" in said


def test_other_text_in_the_same_folder(started: Path, commands_for_training: Commands | None) -> None:
    (started / "other").write_bytes(TEXT[100:])
    code, said = again(commands_for_training, started, text="other")
    assert code == 1 and "own.work belongs to a training on other text" in said


def test_a_checkpoint_of_another_configuration_and_a_full_disk(started: Path, commands_for_training: Commands | None) -> None:
    checkpoint = started / "own.work/checkpoint.pt"
    good = checkpoint.read_bytes()
    _, ids, _ = read_prepared(started / "own.work")
    Trainer(new_network(replace(SHAPE, width=16), 0), config_from(started), ids, checkpoint).save()
    code, said = again(commands_for_training, started)
    assert code == 1 and "is a checkpoint of another configuration" in said
    Trainer(restore(small_model()), config_from(started), ids, checkpoint).save()
    code, said = again(commands_for_training, started, file_limit_bytes=1 << 17)
    assert code == 1 and "checkpoint.pt cannot be written" in said and "The previous checkpoint is kept" in said
    (started / "own.work/ids.npy").unlink()
    code, said = again(commands_for_training, started, file_limit_bytes=1 << 10)
    assert code == 1 and "cannot be written" in said and not (started / "own.work/ids.npy").exists()
    checkpoint.write_bytes(good)


def test_what_cannot_be_written_in_the_end_is_refused_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there.svg").write_bytes(b"")
    for plot, code, said in (
        ("run.pdf", 2, "is not the name of a picture"),
        ("there.svg", 1, "exists already"),
        ("no/run.svg", 1, "There is no folder no"),
    ):
        result = run("train", "--data", "text", *MORE, "--plot", plot)
        assert result.returncode == code and said in result.stderr.decode()


def row(step: int, **more: float) -> dict[str, float]:
    share = step / 1000
    figures = {"step": step, "elapsed_s": 3.6 * step, "tokens": 8192 * step, "bits_per_token": 8.0, "bytes": 28e3 * step}
    return figures | {"train_bpb": 2 + 100 / step, "share": share} | more


def test_the_picture_of_a_run(tmp_path: Path) -> None:
    rows = [row(step) for step in range(25, 1000, 25)] + [row(1000, valid_bpb=2.2)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 10')
    assert read_log(tmp_path) == rows and read_log(tmp_path, 50) == rows[:2]
    picture = draw(rows, "own.safetensors", "svg")
    assert picture == draw(rows, "own.safetensors", "svg") and b"held out" in picture
    assert draw(rows[:1], "one", "png")[:4] == b"\x89PNG" and draw([], "none", "png")[:4] == b"\x89PNG"


def test_a_line_that_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainingConfig(time_s=3600)
    with Display(config, is_silent=False) as plain:
        assert plain.on_row is None, "no terminal: lines"
    monkeypatch.setattr(train_display, "is_terminal", lambda stream: True)
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    with Display(config, is_silent=False) as display:
        assert display.on_row is not None
        display.on_row(row(50, valid_bpb=4.1))
        display.on_row(row(100))
        display.report("above it")
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "2.8 MB  3.000 bpb, held out 4.100  7.8 KB/s  54:00 left" in said and "10%" in said and "above it" in said
