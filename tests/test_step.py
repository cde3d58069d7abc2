"""A step of training that is replayed is the step that is launched one kernel at a time: on a GPU, or else on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nncomp.training import float_network, recurrence
from nncomp.training import trainer as trainer_module
from nncomp.training.captured import Captured, Work
from nncomp.training.float_network import new_network
from nncomp.training.lanes import Streams
from nncomp.training.objectives import CROSS_ENTROPY, MIXTURE, distance
from nncomp.training.trainer import Trainer, TrainingConfig
from tests.models import SHAPE, TEXT, small_vocabulary

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IDS = small_vocabulary().encode(TEXT).astype(np.uint16)


class Replayed:
    """What `Captured` is for a GPU, without a graph: the gradients are made anew, and the same tensors come back."""

    def __init__(self, work: Work, clear: Callable[[], None]) -> None:
        self.work, self.clear = work, clear
        self.outputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.clear()
        made = self.work(*inputs)
        if not self.outputs:
            self.outputs = tuple(torch.empty_like(tensor) for tensor in made)
        for kept, new in zip(self.outputs, made, strict=True):
            kept.copy_(new)
        return self.outputs


def trained(path: Path, objective: str, device: torch.device, launches: str) -> Trainer:
    """Return a trainer at the end of a run in float, observed and rounded, whose lanes begin anew at times."""
    config = TrainingConfig(1, 80 * 64, 0, 4, 16, warmup_steps=5, quantized_share=0.6, reset_probability=0.1, objective=objective)
    estimates = None if objective == CROSS_ENTROPY else np.linspace(0.1, 6, len(IDS)).astype(np.float32)
    trainer = Trainer(new_network(SHAPE, 0).to(device), config, IDS, path, estimates)
    trainer.launches = launches
    trainer.losses = [row["bits_per_token"] for row in trainer.run()]  # type: ignore[attr-defined]
    assert trainer.launches == launches and trainer.mode == "on"
    return trainer


@pytest.mark.parametrize("objective", [CROSS_ENTROPY, MIXTURE])
def test_a_replayed_step_is_a_step(objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU: losses, weights and states are equal. On a GPU, losses are close to the CPU's: products are in bfloat16."""
    plain = trained(tmp_path / "a", objective, torch.device("cpu"), "one by one")
    monkeypatch.setattr(trainer_module, "Captured", Captured if DEVICE.type == "cuda" else Replayed)
    replayed = trained(tmp_path / "b", objective, DEVICE, "as a graph")
    ours, theirs = (trainer.losses for trainer in (plain, replayed))  # type: ignore[attr-defined]
    assert len(ours) == 3 and ours[-1] < ours[0]
    if DEVICE.type == "cuda":
        assert theirs == pytest.approx(ours, rel=2e-2)
        return
    assert theirs == ours
    for (name, a), b in zip(plain.network.state_dict().items(), replayed.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for pair in zip(plain.state, replayed.state, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))


def test_a_step_that_cannot_be_recorded_is_launched_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*inputs: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("the work waits\nmore lines")

    monkeypatch.setattr(trainer_module, "Captured", lambda work, clear: refuse)
    config = TrainingConfig(time_s=1, tokens=30 * 64, lanes=4, steps=16, quantized_share=0)
    runs = []
    for launches in ("one by one", "as a graph"):
        trainer = Trainer(new_network(SHAPE, 0), config, IDS, tmp_path / "c")
        trainer.launches = launches
        runs.append([row["bits_per_token"] for row in trainer.run()])
    assert trainer.launches == "one by one (the work waits)"
    assert runs[0] == runs[1]


@pytest.mark.parametrize("mode", ["off", "on"])
def test_a_step_on_a_gpu_reads_no_value(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph cannot hold such a reading. On tensors without values it is an error; the recurrence is the parallel scan."""
    monkeypatch.setattr(recurrence, "scan", recurrence.scan_parallel)
    monkeypatch.setattr(float_network, "products_by_group", float_network.products_in_tiles)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)
    network = new_network(SHAPE, 0).to("meta")
    network.set_quantization(mode)
    ids = torch.zeros(17, 4, dtype=torch.long, device="meta")
    hidden, _ = network.hidden(ids[:-1], network.initial_state(4))
    losses = network.token_losses(hidden, ids[1:])
    torch.autograd.backward(distance(MIXTURE, losses, torch.zeros_like(losses)))
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_chunks_are_the_text() -> None:
    for values in (np.arange(60_000, 60_120, dtype=np.uint16), np.linspace(0, 1, 120, dtype=np.float32)):
        streams = Streams(values, 4, 5, DEVICE)
        chunk = streams.chunk(2, 7, slice(1, 3)).cpu()
        assert len(streams) == 30
        assert np.array_equal(chunk.numpy(), values.reshape(4, 30).T[2:7, 1:3])
        assert chunk.dtype == (torch.int64 if values.dtype == np.uint16 else torch.float32)
