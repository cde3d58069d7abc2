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
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nncomp.errors import DataError
from nncomp.training.captured import Captured
from nncomp.training.checkpoint import no_checkpoint, read_checkpoint, write_checkpoint
from nncomp.training.float_network import FloatNetwork, State
from nncomp.training.lanes import Streams, lane_streams, rows_of
from nncomp.training.objectives import CROSS_ENTROPY, distance
from nncomp.training.processes import Processes, StoppedError, autocast

_OBSERVED_CHUNKS = 40  # before the rounding: the scales of activations are taken from these
_ROW_STEPS = 25  # between two rows of figures
_SAME = "seed", "init", "objective"  # of the configuration: a run that goes on from a checkpoint has those of the checkpoint's


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
    init: str = ""  # the SHA-256 of the model that the run goes on from, if there is one

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


@torch.no_grad()
def evaluate(network: FloatNetwork, ids: NDArray[np.uint16], lanes: int) -> float:
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
    """One run: the network, the optimiser, the place in the text, and the path of the checkpoint.

    On one GPU, loss and gradients of a chunk are recorded as a graph, and losses are read only with each row of figures, so that
    the GPU does not wait for Python. `launches` says how it went.
    """

    can_be_captured = True  # loss and gradients depend on nothing but the chunk, the state and the weights

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
        self.streams = Streams(train_ids, config.lanes, config.steps, network.device)
        self.estimates = None if estimates is None else Streams(estimates, config.lanes, config.steps, network.device)
        self.random = np.random.default_rng(config.seed)
        self.progress = Progress()
        self.mode = network.quantization
        self.lanes = self.processes.lanes(config.lanes)  # the lanes of this process
        self.state: State = network.initial_state(self.lanes.stop - self.lanes.start)
        self._losses: nn.Module = _Losses(network)
        if self.processes.count > 1:
            self._losses = nn.parallel.DistributedDataParallel(self._losses)
        self._unread: list[Tensor] = []  # losses of steps in nats a token, still on the device
        self._captured: Captured | None = None
        self.launches = "one by one"
        if self.processes.count == 1 and network.device.type == "cuda" and self.can_be_captured:
            self.launches = "as a graph"

    def _new_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.AdamW:
        return torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=self.config.weight_decay, fused=True)

    def _next_chunk(self) -> list[Tensor]:
        """Return the tokens of the next chunk, shape (T + 1, L), and the estimates of all but the first, if there are any.

        The state of some lanes begins anew.
        """
        p, c, device = self.progress, self.config, self.network.device
        if p.position + c.steps + 1 > len(self.streams):
            p.position = 0
        begin, end = p.position, p.position + c.steps + 1
        chunk = [s.chunk(begin + n, end, self.lanes) for n, s in enumerate((self.streams, self.estimates)) if s is not None]
        p.position += c.steps
        resets = (self.random.random(c.lanes) < c.reset_probability)[self.lanes]
        if resets.any():
            is_reset = torch.from_numpy(resets)
            if device.type == "cuda":  # from pinned memory, the copy does not wait for the GPU
                is_reset = is_reset.pin_memory().to(device, non_blocking=True)
            keep = ~is_reset[:, None]
            self.state = [(h * keep, y * keep) for h, y in self.state]
            chunk[0][0].masked_fill_(is_reset, self.network.config.start_token)
        return chunk

    def _loss(self, chunk: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the loss of a chunk, in nats, and the state after it."""
        with autocast(self.network.device):
            losses, after = self._losses(chunk[0], state)
        loss = losses.sum()
        if self.estimates is not None:
            far = distance(self.config.objective, losses, chunk[1])
            loss = far + (loss - far).detach()  # the value of the cross-entropy, the gradient of the distance
        return loss, after

    def _next_loss(self) -> tuple[Tensor, int]:
        """Return the loss of the next chunk, in nats, and its tokens."""
        chunk = self._next_chunk()
        loss, self.state = self._loss(chunk, self.state)
        return loss, chunk[0].numel() - chunk[0].shape[1]

    def _work(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Make the gradients of a chunk's mean loss. Take the chunk and the state, return the loss and the state after it."""
        parts = 1 if self.estimates is None else 2
        loss, after = self._loss(list(inputs[:parts]), list(zip(inputs[parts::2], inputs[parts + 1 :: 2], strict=True)))
        torch.autograd.backward(loss / (inputs[0].numel() - inputs[0].shape[1]))
        return loss.detach(), *(tensor for pair in after for tensor in pair)

    def _gradients(self) -> tuple[Tensor, int]:
        """Make the gradients of the next chunk's mean loss. Return the loss in nats, on the device, and the tokens."""
        if self.launches != "as a graph" or self.mode == "observe":
            loss, count = self._next_loss()
            torch.autograd.backward(loss / count)  # every process has as many tokens, so the mean of the gradients is right
            return loss.detach(), count
        chunk = self._next_chunk()
        inputs = [*chunk, *(tensor for pair in self.state for tensor in pair)]
        if self._captured is None:
            self._captured = Captured(self._work, self.optimizer.zero_grad)
        try:
            loss, *after = self._captured(*inputs)
        except RuntimeError as error:
            self.launches, self._captured = f"one by one ({str(error).splitlines()[0]})", None
            self.optimizer.zero_grad()
            loss, *after = self._work(*inputs)
        self.state = list(zip(after[::2], after[1::2], strict=True))
        return loss.clone(), chunk[0].numel() - chunk[0].shape[1]

    def run(self) -> Generator[dict[str, float], None, None]:
        """Train to the end; yield a row of figures every 25 steps. At its end the checkpoint is written.

        A signal that `processes` hold ends the run after a step, with StoppedError. A run that ends within a step writes no
        checkpoint: half a step cannot be gone on from.
        """
        c, p = self.config, self.progress
        before = p.elapsed_s
        began = last_saved = time.monotonic()
        is_whole = False  # whether no step is half done, and its loss is a number; several processes save only if all stop
        try:
            while (share := c.share(p.elapsed_s, p.tokens)) < 1:
                is_whole = False
                if share >= 1 - c.quantized_share and self.mode != "on":
                    self._quantize_more()
                self._step(c.learning_rate * min(1.0, (p.step + 1) / c.warmup_steps) * (1 - share))
                now = time.monotonic()
                p.elapsed_s, is_due, stopped = self._agree(before + now - began, now - last_saved > c.checkpoint_s)
                if p.step % _ROW_STEPS == 0 or is_due or stopped or self.network.device.type == "cpu":
                    self._read_losses()
                    is_whole = stopped or self.processes.count == 1
                if p.step % _ROW_STEPS == 0:
                    loss, p.window = float(np.mean(p.window)), []
                    yield {"step": p.step, "elapsed_s": p.elapsed_s, "tokens": p.tokens, "bits_per_token": loss}
                if stopped:
                    raise StoppedError
                if is_due:
                    self.save()
                    last_saved = time.monotonic()
            self._read_losses()
            is_whole = True
        finally:
            if is_whole:
                self.save()

    def _agree(self, elapsed_s: float, is_due: bool) -> tuple[float, bool, bool]:
        """Return the time of the first process, whether a checkpoint is due, and whether any process was stopped.

        All processes get the same answer.
        """
        if self.processes.count == 1:
            return elapsed_s, is_due, self.processes.is_stopped
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
        self.mode, self._captured = mode, None
        self.optimizer.zero_grad()
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
        loss, count = self._gradients()
        self._unread.append(loss / count)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=False)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        if self._captured is None:
            self.optimizer.zero_grad()
        all_of_them = self.processes.count if self.mode != "observe" else 1
        p.step, p.tokens = p.step + 1, p.tokens + count * all_of_them

    def _read_losses(self) -> None:
        """Take the losses of the last steps from the device. Raises DataError when one is not a number."""
        unread, self._unread = [float(loss) for loss in self._unread], []
        nats = self.processes.total(unread, self.network.device) if unread else []
        self.progress.window += [loss / self.processes.count / math.log(2) for loss in nats]
        if not all(math.isfinite(loss) for loss in self.progress.window):
            raise DataError("The training loss is not a number any more. The last checkpoint is kept; try another --seed.")

    def quantize_now(self) -> None:
        """Take the scales of activations if the run ended before; the export needs them.

        No checkpoint is written: the run would go on otherwise than one that was not stopped.
        """
        while self.mode != "on":
            self._quantize_more()
            if self.mode == "observe":
                with torch.no_grad():
                    self._next_loss()

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
        document = read_checkpoint(self.checkpoint)
        try:
            self.go_on_from(document)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:  # its parts are none of a run
            raise no_checkpoint(self.checkpoint) from error

    def go_on_from(self, document: dict[str, Any]) -> None:
        """Take over a checkpoint's content, as `document` returns it."""
        theirs, ours = document["training"], asdict(self.config)
        if dict(document["config"]) != self.network.config.to_json():
            raise DataError(f"{self.checkpoint} is a checkpoint of another configuration: {json.dumps(document['config'])}.")
        lanes = len(document["state"][0][0])
        if lanes != self.config.lanes:
            raise DataError(
                f"{self.checkpoint} is a checkpoint of another configuration: it has {lanes} lanes; give --lanes {lanes}."
            )
        other = [f"--{name}" for name in _SAME if theirs.get(name, ours[name]) != ours[name]]
        if other:
            raise DataError(
                f"{self.checkpoint} is a checkpoint of a training with another {' and another '.join(other)}; "
                "give what it was begun with, or another --work."
            )
        self.network.load_state_dict(document["network"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.progress = Progress(**document["progress"])
        self.random.bit_generator.state = document["random"]
        self._set_mode(document["mode"])
        self._take_state(document["state"])
