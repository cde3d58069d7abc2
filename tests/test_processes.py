"""Several processes that train one model: the run that one process makes of the joined batch, up to the order of sums."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncomp.errors import DataError
from nncomp.training.float_network import new_network
from nncomp.training.processes import Processes
from nncomp.training.trainer import Trainer
from tests import train_together
from tests.conftest import ROOT, environment
from tests.models import TEXT, load_checkpoint


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Float, observed and quantised training, lanes that begin anew at random: the same figures, the same weights; and one
    process goes on from what two left."""
    corpus, one, two = tmp_path / "text.txt", tmp_path / "one", tmp_path / "two"
    corpus.write_bytes(TEXT * 2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["tests.train_together", str(corpus), str(two)]
    other = subprocess.Popen(command, cwd=ROOT, env=environment() | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    train_together.train(str(corpus), one, Processes())
    _, said = other.communicate(timeout=300)
    assert other.returncode == 0, said.decode()
    assert json.loads((two / "record.json").read_text(encoding="utf-8"))["processes"] == 2
    rows = [
        [json.loads(line)["bits_per_token"] for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for work in (one, two)
    ]
    assert rows[1] == pytest.approx(rows[0], rel=1e-4) and len(rows[0]) == 3
    (ours, ours_rest), (theirs, rest) = (load_checkpoint(work / "checkpoint.pt") for work in (one, two))
    assert ours_rest["mode"] == rest["mode"] == "on"
    assert ours_rest["progress"] | {"elapsed_s": 0, "window": 0} == rest["progress"] | {"elapsed_s": 0, "window": 0}
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert float((a - b).norm()) <= 0.02 * float(a.norm()), name
    for (a, _), (b, _) in zip(ours_rest["state"], rest["state"], strict=True):
        assert a.shape == b.shape == (4, ours.config.state_width), "of all lanes, in order"
        assert float((a - b).norm()) < 0.1 * float(a.norm()) < float((a - b.flip(0)).norm())

    longer = replace(train_together.CONFIG, tokens=80 * 4 * 16)
    again = Trainer(new_network(ours.config, 0), longer, np.load(two / "ids.npy"), two / "checkpoint.pt")
    again.restore()
    list(again.run())
    assert again.progress.step == 80 and np.isfinite(again.progress.window).all()


def test_lanes_are_shared_evenly_or_not_at_all() -> None:
    assert [Processes(number, 4).lanes(32) for number in (0, 3)] == [slice(0, 8), slice(24, 32)]
    with pytest.raises(DataError, match="32 lanes cannot be shared evenly by 3 processes"):
        Processes(0, 3).lanes(32)


def test_one_process_has_nobody_to_wait_for() -> None:
    processes = Processes()
    processes.wait()
    processes.leave()
    rows = torch.ones(2, 3)
    assert processes.is_first and processes.total([1.5], torch.device("cpu")) == [1.5] and processes.joined(rows) is rows


def test_threads_are_as_many_as_asked() -> None:
    """Also after Numba's first parallel loop, which gives torch all cores where both use one library of threads."""
    script = """
import sys, torch
from nncomp.training.processes import use_threads
from nncomp.training.recurrence import scan
torch.set_num_threads(2)
use_threads(int(sys.argv[1]))
a = torch.rand(16, 64)
scan(a, a, a[0])
print(torch.get_num_threads())
"""
    for asked, taken in ((1, 1), (2, 2), (0, 2)):
        found = subprocess.run([sys.executable, "-c", script, str(asked)], capture_output=True, text=True, check=True)
        assert found.stdout == f"{taken}\n"
