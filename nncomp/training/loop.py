"""The training loop: token ids in, a checkpoint out, within a given time or a given number of tokens.

The learning rate falls linearly to zero over the run. The first part trains in float; the last part trains with every
weight and activation rounded to what the integer network holds (quantisation-aware training), so that the exported
model loses nothing. A run that is stopped goes on from its checkpoint as if it had not been; measured in tokens it is the
same run to the last bit, on the same machine. Several processes share the lanes of each batch and average their gradients: the
run that one process would make, but for the order of sums. Knows nothing of the coder or the file format.
"""

# T steps, L lanes

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nncomp.errors import DataError
from nncomp.training.float_network import FloatNetwork, NetworkShape, State, load_config
from nncomp.training.objectives import CROSS_ENTROPY, distance
from nncomp.training.processes import Peers, autocast

_OBSERVED_CHUNKS = 40


@dataclass(frozen=True)
class TrainingConfig:
    """What decides a run, besides data and machine. Its length is in seconds, or in tokens if those are given."""

    time_s: float
    tokens: int = 0
    seed: int = 0
    lanes: int = 32
    steps: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    quantized_share: float = 0.12  # of the time, at the end
    reset_probability: float = 1 / 64  # that a lane starts a chunk from the initial state, as lanes of a file do
    checkpoint_s: float = 300.0
    objective: str = CROSS_ENTROPY  # or a distance from estimates of each token's entropy
    # Of a decoder with a code: lanes of one text share one, for so many chunks of `steps`.
    group_lanes: int = 2
    group_chunks: int = 8
    code_dropout: float = 0.2  # of groups that are told no code
    code_warmup: float = 0.2  # of the run, in which the price of a code rises to the whole

    def share(self, elapsed_s: float, tokens: int) -> float:
        """Return how much of the run is done, 0 to 1."""
        return min(1.0, tokens / self.tokens if self.tokens else elapsed_s / self.time_s)


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    position: int = 0
    elapsed_s: float = 0.0
    tokens: int = 0
    observed: int = 0  # chunks that the activation scales were taken from
    window: list[float] = field(default_factory=list)  # losses since the last row of figures


def lane_streams(ids: NDArray[Any], lanes: int, steps: int) -> NDArray[Any]:
    """Return the ids, or what there is for each of them, as lanes side by side, shape (T total, L); nothing is copied."""
    length = len(ids) // lanes
    if length < steps + 1:
        raise DataError(
            f"The corpus has {len(ids):,} tokens; {lanes} lanes of {steps + 1} steps need {lanes * (steps + 1):,}. "
            "Add text or use fewer lanes."
        )
    return ids[: length * lanes].reshape(lanes, length).T


def rows_of(streams: NDArray[Any], start: int, stop: int) -> NDArray[np.int64]:
    """Return some steps of lanes, shape (T, L), int64."""
    return np.ascontiguousarray(streams[start:stop], dtype=np.int64)


@torch.no_grad()
def evaluate(model: FloatNetwork, ids: NDArray[np.uint16], lanes: int = 32) -> float:
    """Return the summed cross-entropy in bits of all but the first token of each lane, scaled to all tokens."""
    streams = lane_streams(ids, lanes, 1)
    state, total, steps = model.initial_state(lanes), 0.0, 256
    for start in range(0, len(streams) - 1, steps):
        chunk = torch.from_numpy(rows_of(streams, start, start + steps + 1)).to(model.device)
        with autocast(model.device):
            loss, state = model(chunk[:-1], chunk[1:], state)
        total += float(loss)
    return total / math.log(2) * len(ids) / (streams.size - lanes)


class _Losses(nn.Module):
    """The decoder as DistributedDataParallel wants it: everything from a chunk to the losses in one call."""

    def __init__(self, model: FloatNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, after = self.model.hidden(chunk[:-1], state)
        return self.model.token_losses(hidden, chunk[1:]), after


class Trainer:
    """One run: model, optimisers, position in the data, and the checkpoint they go to."""

    def __init__(
        self,
        model: FloatNetwork,
        config: TrainingConfig,
        train_ids: NDArray[np.uint16],
        checkpoint: Path,
        estimates: NDArray[np.float32] | None = None,
        peers: Peers | None = None,
    ) -> None:
        """`estimates` are of the entropy of each token, in nats: what an objective other than cross-entropy needs. With
        `peers`, this process works on its share of the lanes, on the device where the model is."""
        torch.manual_seed(config.seed)
        self.model, self.config, self.checkpoint = model, config, checkpoint
        self.peers = peers or Peers()
        self.optimizer = self._new_optimizer(p for p in model.parameters() if p.requires_grad)
        self.streams = lane_streams(train_ids, config.lanes, config.steps)
        self.estimates = None if estimates is None else lane_streams(estimates, config.lanes, config.steps)
        self.random = np.random.default_rng(config.seed)
        self.progress = Progress()
        self.mode = "off"
        self.lanes = self.peers.lanes(config.lanes)  # those this process works on
        self.state: State = model.initial_state(self.lanes.stop - self.lanes.start)
        self._losses: nn.Module = _Losses(model)
        if self.peers.count > 1:
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
            keep = torch.from_numpy(~resets)[:, None].to(self.model.device)
            self.state = [(h * keep, y * keep) for h, y in self.state]
            chunk[0, resets] = self.model.config.start_token
        return torch.from_numpy(chunk).to(self.model.device)

    def _next_loss(self) -> tuple[Tensor, int]:
        """Return the loss of the next chunk, in nats, and its tokens."""
        chunk = self._next_chunk()
        with autocast(self.model.device):
            losses, self.state = self._losses(chunk, self.state)
        loss = losses.sum()
        if self.estimates is not None:
            end = self.progress.position + 1
            of_chunk = torch.from_numpy(np.ascontiguousarray(self.estimates[end - len(losses) : end, self.lanes]))
            far = distance(self.config.objective, losses, of_chunk.to(losses.device))
            loss = far + (loss - far).detach()  # what is reported is the cross-entropy, its gradient that of the distance
        return loss, losses.numel()

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield a row of figures every 25 steps. Ctrl-C leaves a checkpoint and is raised again."""
        c, p = self.config, self.progress
        before = p.elapsed_s
        began = last_saved = time.monotonic()
        is_agreed = self.peers.count == 1  # of several processes, none saves when it alone was interrupted
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
        """Return the first process's time and whether it is due to save, and whether any was stopped: the same for all."""
        if self.peers.count == 1:
            return elapsed_s, is_due, False
        first = self.peers.is_first
        mine = [elapsed_s * first, float(is_due and first), float(self.peers.is_stopped)]
        elapsed_s, due, stopped = self.peers.total(mine, self.model.device)
        return elapsed_s, due > 0, stopped > 0

    def _quantize_more(self) -> None:
        """Observe the activations for some chunks, then quantise."""
        self._set_mode("observe" if self.progress.observed < _OBSERVED_CHUNKS else "on")
        self.progress.observed += 1

    def _set_mode(self, mode: str) -> None:
        """Quantise or not. While activations are observed, each process works on all lanes, so that it sees the same largest."""
        if (mode == "observe") != (self.mode == "observe") and self.peers.count > 1:
            whole = self._whole_state()
            self.lanes = slice(0, self.config.lanes) if mode == "observe" else self.peers.lanes(self.config.lanes)
            self._take_state(whole)
        self.mode = mode
        self.model.set_quantization(mode)

    def _whole_state(self) -> State:
        """Return the state of all lanes."""
        if self.lanes.stop - self.lanes.start == self.config.lanes:
            return self.state
        return [(self.peers.joined(h), self.peers.joined(y)) for h, y in self.state]

    def _take_state(self, whole: State) -> None:
        """Go on from the state of all lanes."""
        device = self.model.device
        self.state = [(h[self.lanes].to(device), y[self.lanes].to(device)) for h, y in whole]

    def _step(self, learning_rate: float) -> None:
        p = self.progress
        loss, count = self._next_loss()
        torch.autograd.backward(loss / count)  # DistributedDataParallel averages the gradients, and all processes count the same
        nats = self.peers.total([float(loss.detach()) / count], self.model.device)[0] / self.peers.count
        p.window.append(nats / math.log(2))
        if not math.isfinite(p.window[-1]):
            raise DataError("The training loss is not a number any more; use a lower learning rate. The last checkpoint is kept.")
        torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        all_of_them = self.peers.count if self.mode != "observe" else 1
        p.step, p.tokens = p.step + 1, p.tokens + count * all_of_them

    def quantize_now(self) -> None:
        """Take the activation scales, if the run ended before it came to that, so that the model can be exported."""
        while self.mode != "on":
            self._quantize_more()
            if self.mode == "observe":
                with torch.no_grad():
                    self._next_loss()
        self.save()

    def document(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the same for any number of processes."""
        return {
            "config": self.model.config.to_json(),
            "training": asdict(self.config),
            "progress": asdict(self.progress),
            "mode": self.mode,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self._whole_state(),
            "random": self.random.bit_generator.state,
        }

    def save(self) -> None:
        """Write the checkpoint: complete under its name, or not at all. Raises DataError when the disk is full."""
        document, temporary = self.document(), self.checkpoint.with_suffix(".part")
        if not self.peers.is_first:
            return
        try:
            torch.save(document, temporary)
            temporary.replace(self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise DataError(f"The checkpoint {self.checkpoint} cannot be written: {error}. The one before it is kept.") from error

    def restore(self) -> None:
        """Go on from the checkpoint: weights, optimiser, recurrent state, place in the data and random choices.

        Raises DataError for a checkpoint of another configuration or one that cannot be read.
        """
        self.go_on_from(read_checkpoint(self.checkpoint))

    def go_on_from(self, document: dict[str, Any]) -> None:
        """Take over what `document` gave."""
        if load_config(document["config"]) != self.model.config:
            raise DataError(f"{self.checkpoint} is a checkpoint of another configuration: {json.dumps(document['config'])}.")
        lanes = len(document["state"][0][0])
        if lanes != self.config.lanes:
            raise DataError(
                f"{self.checkpoint} is a checkpoint of another configuration: it has {lanes} lanes; give --lanes {lanes}."
            )
        self.model.load_state_dict(document["model"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.progress = Progress(**document["progress"])
        self.random.bit_generator.state = document["random"]
        self._set_mode(document["mode"])
        self._take_state(document["state"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the document of a checkpoint; raises DataError for one that is damaged or of another version."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        if not {"config", "progress", "mode", "model", "optimizer", "state", "random"} <= document.keys():
            raise ValueError("parts of it are missing")
    except (OSError, RuntimeError, ValueError, AttributeError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"{path} is not a checkpoint of this version ({error}); remove it to start anew, or give another --work."
        ) from error
    result: dict[str, Any] = document
    return result


def load_checkpoint(path: Path) -> tuple[FloatNetwork, dict[str, object]]:
    """Return the decoder of a checkpoint and the rest of its document."""
    document = read_checkpoint(path)
    model = FloatNetwork(load_config(document["config"]))
    model.load_state_dict(document.pop("model"))
    return model, document


def new_model(config: NetworkShape, seed: int) -> FloatNetwork:
    """Return an untrained decoder; the same for the same seed."""
    torch.manual_seed(seed)
    return FloatNetwork(config)
