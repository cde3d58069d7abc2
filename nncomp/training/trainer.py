"""The training loop: token ids in, a checkpoint out, within a given time or a given number of tokens.

The learning rate falls linearly to zero over the run. A new network first learns in float. In the last part of the run every
weight and every activation is rounded as in the integer network (quantisation-aware training), so that the export costs
nothing. A network restored from a model is rounded from the first step, with the model's own scales.

A stopped run goes on from its checkpoint. Measured in tokens, the result is the same to the last bit on the same machine.
Several processes share the lanes of each batch and average their gradients; they differ from one process only by the order
of sums. Knows nothing of the coder or the file format.
"""

# T steps, L lanes

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nncomp.errors import DataError
from nncomp.training.checkpoint import read_checkpoint, write_checkpoint
from nncomp.training.float_network import FloatNetwork, State, load_config
from nncomp.training.objectives import CROSS_ENTROPY, distance
from nncomp.training.processes import Processes, autocast

_OBSERVED_CHUNKS = 40  # before the rounding: the scales of activations are taken from these


@dataclass(frozen=True)
class TrainingConfig:
    """What decides a run, besides text and machine. The length is `time_s`, or `tokens` if that is not 0."""

    time_s: float
    tokens: int = 0
    seed: int = 0
    lanes: int = 32
    steps: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    quantized_share: float = 0.12  # of a new network's run, at the end, is trained with rounding
    reset_probability: float = 1 / 64  # that a lane begins a chunk with the initial state, as the lanes of a file begin
    checkpoint_s: float = 300.0
    objective: str = CROSS_ENTROPY  # see `nncomp.training.objectives`
    # For a network with a code: `group_lanes` lanes of one text share a code for `group_chunks` chunks of `steps` steps.
    group_lanes: int = 2
    group_chunks: int = 8
    code_dropout: float = 0.2  # share of the groups that get no code
    code_warmup: float = 0.2  # share of the run in which the weight of the code's price rises from 0 to 1

    def share(self, elapsed_s: float, tokens: int) -> float:
        """Return how much of the run is done, 0 to 1."""
        return min(1.0, tokens / self.tokens if self.tokens else elapsed_s / self.time_s)


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    position: int = 0
    elapsed_s: float = 0.0
    tokens: int = 0
    observed: int = 0  # chunks that the scales of activations were taken from
    window: list[float] = field(default_factory=list)  # losses since the last row of figures


def lane_streams(ids: NDArray[Any], lanes: int, steps: int) -> NDArray[Any]:
    """Return the ids, or any values of them, as lanes side by side, shape (T total, L). Nothing is copied."""
    length = len(ids) // lanes
    if length < steps + 1:
        raise DataError(
            f"The corpus has {len(ids):,} tokens; {lanes} lanes of {steps + 1} steps need {lanes * (steps + 1):,}. "
            "Add text or use fewer lanes."
        )
    return ids[: length * lanes].reshape(lanes, length).T


def rows_of(streams: NDArray[Any], start: int, stop: int) -> NDArray[np.int64]:
    """Return the steps `start` to `stop` of all lanes, shape (T, L), int64."""
    return np.ascontiguousarray(streams[start:stop], dtype=np.int64)


@torch.no_grad()
def evaluate(network: FloatNetwork, ids: NDArray[np.uint16], lanes: int = 32) -> float:
    """Return the summed cross-entropy in bits. The first token of each lane is not measured; the sum is scaled up for it."""
    streams = lane_streams(ids, lanes, 1)
    state, total, steps = network.initial_state(lanes), 0.0, 256
    for start in range(0, len(streams) - 1, steps):
        chunk = torch.from_numpy(rows_of(streams, start, start + steps + 1)).to(network.device)
        with autocast(network.device):
            loss, state = network(chunk[:-1], chunk[1:], state)
        total += float(loss)
    return total / math.log(2) * len(ids) / (streams.size - lanes)


class _Losses(nn.Module):
    """The network as DistributedDataParallel needs it: one call from a chunk to the losses."""

    def __init__(self, network: FloatNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, after = self.network.hidden(chunk[:-1], state)
        return self.network.token_losses(hidden, chunk[1:]), after


class Trainer:
    """One run: the network, the optimiser, the place in the text, and the path of the checkpoint."""

    def __init__(
        self,
        network: FloatNetwork,
        config: TrainingConfig,
        train_ids: NDArray[np.uint16],
        checkpoint: Path,
        estimates: NDArray[np.float32] | None = None,
        processes: Processes | None = None,
    ) -> None:
        """`estimates` are the estimated entropy of each token in nats; every objective but cross-entropy needs them.

        With `processes`, this process works on its share of the lanes. The network stays on its device and in its mode of
        quantisation.
        """
        torch.manual_seed(config.seed)
        self.network, self.config, self.checkpoint = network, config, checkpoint
        self.processes = processes or Processes()
        self.optimizer = self._new_optimizer(p for p in network.parameters() if p.requires_grad)
        self.streams = lane_streams(train_ids, config.lanes, config.steps)
        self.estimates = None if estimates is None else lane_streams(estimates, config.lanes, config.steps)
        self.random = np.random.default_rng(config.seed)
        self.progress = Progress()
        self.mode = network.quantization
        self.lanes = self.processes.lanes(config.lanes)  # the lanes of this process
        self.state: State = network.initial_state(self.lanes.stop - self.lanes.start)
        self._losses: nn.Module = _Losses(network)
        if self.processes.count > 1:
            self._losses = nn.parallel.DistributedDataParallel(self._losses)

    def _new_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.AdamW:
        return torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=self.config.weight_decay, fused=True)

    def _next_chunk(self) -> Tensor:
        p, c = self.progress, self.config
        if p.position + c.steps + 1 > len(self.streams):
            p.position = 0
        chunk = rows_of(self.streams[:, self.lanes], p.position, p.position + c.steps + 1)
        p.position += c.steps
        resets = (self.random.random(c.lanes) < c.reset_probability)[self.lanes]
        if resets.any():
            keep = torch.from_numpy(~resets)[:, None].to(self.network.device)
            self.state = [(h * keep, y * keep) for h, y in self.state]
            chunk[0, resets] = self.network.config.start_token
        return torch.from_numpy(chunk).to(self.network.device)

    def _next_loss(self) -> tuple[Tensor, int]:
        """Return the loss of the next chunk, in nats, and its tokens."""
        chunk = self._next_chunk()
        with autocast(self.network.device):
            losses, self.state = self._losses(chunk, self.state)
        loss = losses.sum()
        if self.estimates is not None:
            end = self.progress.position + 1
            of_chunk = torch.from_numpy(np.ascontiguousarray(self.estimates[end - len(losses) : end, self.lanes]))
            far = distance(self.config.objective, losses, of_chunk.to(losses.device))
            loss = far + (loss - far).detach()  # the value of the cross-entropy, the gradient of the distance
        return loss, losses.numel()

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield a row of figures every 25 steps. After Ctrl-C the checkpoint is written first."""
        c, p = self.config, self.progress
        before = p.elapsed_s
        began = last_saved = time.monotonic()
        is_agreed = self.processes.count == 1  # several processes save only if all of them stop
        try:
            while (share := c.share(p.elapsed_s, p.tokens)) < 1:
                if share >= 1 - c.quantized_share and self.mode != "on":
                    self._quantize_more()
                self._step(c.learning_rate * min(1.0, (p.step + 1) / c.warmup_steps) * (1 - share))
                now = time.monotonic()
                p.elapsed_s, is_due, stopped = self._agree(before + now - began, now - last_saved > c.checkpoint_s)
                if p.step % 25 == 0:
                    loss, p.window = float(np.mean(p.window)), []
                    yield {"step": p.step, "elapsed_s": p.elapsed_s, "tokens": p.tokens, "bits_per_token": loss}
                if stopped:
                    is_agreed = True
                    raise KeyboardInterrupt
                if is_due:
                    self.save()
                    last_saved = time.monotonic()
            is_agreed = True
        finally:
            if is_agreed and (not p.window or math.isfinite(p.window[-1])):
                self.save()

    def _agree(self, elapsed_s: float, is_due: bool) -> tuple[float, bool, bool]:
        """Return the time of the first process, whether a checkpoint is due, and whether any process was stopped.

        All processes get the same answer.
        """
        if self.processes.count == 1:
            return elapsed_s, is_due, False
        first = self.processes.is_first
        mine = [elapsed_s * first, float(is_due and first), float(self.processes.is_stopped)]
        elapsed_s, due, stopped = self.processes.total(mine, self.network.device)
        return elapsed_s, due > 0, stopped > 0

    def _quantize_more(self) -> None:
        """Observe the activations for 40 chunks, then begin to round."""
        self._set_mode("observe" if self.progress.observed < _OBSERVED_CHUNKS else "on")
        self.progress.observed += 1

    def _set_mode(self, mode: str) -> None:
        """Set the mode of quantisation. While a process observes, it works on all lanes, so that all take the same scales."""
        if (mode == "observe") != (self.mode == "observe") and self.processes.count > 1:
            whole = self._whole_state()
            self.lanes = slice(0, self.config.lanes) if mode == "observe" else self.processes.lanes(self.config.lanes)
            self._take_state(whole)
        self.mode = mode
        self.network.set_quantization(mode)

    def _whole_state(self) -> State:
        """Return the state of all lanes."""
        if self.lanes.stop - self.lanes.start == self.config.lanes:
            return self.state
        return [(self.processes.joined(h), self.processes.joined(y)) for h, y in self.state]

    def _take_state(self, whole: State) -> None:
        """Take this process's lanes from the state of all lanes."""
        device = self.network.device
        self.state = [(h[self.lanes].to(device), y[self.lanes].to(device)) for h, y in whole]

    def _step(self, learning_rate: float) -> None:
        p = self.progress
        loss, count = self._next_loss()
        torch.autograd.backward(loss / count)  # every process has as many tokens, so the mean of the gradients is right
        nats = self.processes.total([float(loss.detach()) / count], self.network.device)[0] / self.processes.count
        p.window.append(nats / math.log(2))
        if not math.isfinite(p.window[-1]):
            raise DataError("The training loss is not a number any more. The last checkpoint is kept; try another --seed.")
        torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        all_of_them = self.processes.count if self.mode != "observe" else 1
        p.step, p.tokens = p.step + 1, p.tokens + count * all_of_them

    def quantize_now(self) -> None:
        """Take the scales of activations if the run ended before; the export needs them."""
        if self.mode == "on":
            return
        while self.mode != "on":
            self._quantize_more()
            if self.mode == "observe":
                with torch.no_grad():
                    self._next_loss()
        self.save()

    def document(self) -> dict[str, Any]:
        """Return the content of a checkpoint, which is the same for any number of processes."""
        return {
            "config": self.network.config.to_json(),
            "training": asdict(self.config),
            "progress": asdict(self.progress),
            "mode": self.mode,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self._whole_state(),
            "random": self.random.bit_generator.state,
        }

    def save(self) -> None:
        """Write the checkpoint, from the first process. Raises DataError when the disk is full."""
        document = self.document()
        if not self.processes.is_first:
            return
        write_checkpoint(document, self.checkpoint)

    def restore(self) -> None:
        """Go on from the checkpoint: weights, optimiser, recurrent state, place in the data and random choices.

        Raises DataError for a checkpoint of another configuration or one that cannot be read.
        """
        self.go_on_from(read_checkpoint(self.checkpoint))

    def go_on_from(self, document: dict[str, Any]) -> None:
        """Take over a checkpoint's content, as `document` returns it."""
        if load_config(document["config"]) != self.network.config:
            raise DataError(f"{self.checkpoint} is a checkpoint of another configuration: {json.dumps(document['config'])}.")
        lanes = len(document["state"][0][0])
        if lanes != self.config.lanes:
            raise DataError(
                f"{self.checkpoint} is a checkpoint of another configuration: it has {lanes} lanes; give --lanes {lanes}."
            )
        self.network.load_state_dict(document["network"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.progress = Progress(**document["progress"])
        self.random.bit_generator.state = document["random"]
        self._set_mode(document["mode"])
        self._take_state(document["state"])
