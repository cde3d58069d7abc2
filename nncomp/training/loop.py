"""The training loop: token ids in, a checkpoint out, within a given time or a given number of tokens.

The learning rate falls linearly to zero over the run. The first part trains in float; the last part trains with every
weight and activation rounded to what the integer network holds (quantisation-aware training), so that the exported
model loses nothing. A run that is stopped goes on from its checkpoint as if it had not been; measured in tokens it is the
same run to the last bit, on the same machine. Knows nothing of the coder or the file format.
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
from nncomp.model.decoder import Decoder, DecoderConfig, State, load_config
from nncomp.training.objectives import CROSS_ENTROPY, distance

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


def lane_streams(ids: NDArray[Any], lanes: int, steps: int, seed: int) -> NDArray[Any]:
    """Return the ids, or what there is for each of them, as lanes side by side, shape (T total, L)."""
    length = len(ids) // lanes
    if length < steps + 1:
        raise DataError(
            f"The corpus has {len(ids):,} tokens; {lanes} lanes of {steps + 1} steps need {lanes * (steps + 1):,}. "
            "Add text or use fewer lanes."
        )
    return np.ascontiguousarray(ids[: length * lanes].reshape(lanes, length).T)


@torch.no_grad()
def evaluate(model: Decoder, ids: NDArray[np.uint16], lanes: int = 32) -> float:
    """Return the summed cross-entropy in bits of all but the first token of each lane, scaled to all tokens."""
    streams = lane_streams(ids, lanes, 1, 0)
    state, total, steps = model.initial_state(lanes), 0.0, 256
    for start in range(0, len(streams) - 1, steps):
        chunk = torch.from_numpy(streams[start : start + steps + 1].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            loss, state = model(chunk[:-1], chunk[1:], state)
        total += float(loss)
    return total / math.log(2) * len(ids) / (streams.size - lanes)


class Trainer:
    """One run: model, optimisers, position in the data, and the checkpoint they go to."""

    def __init__(
        self,
        model: Decoder,
        config: TrainingConfig,
        train_ids: NDArray[np.uint16],
        checkpoint: Path,
        estimates: NDArray[np.float32] | None = None,
    ) -> None:
        """`estimates` are of the entropy of each token, in nats: what an objective other than cross-entropy needs."""
        torch.manual_seed(config.seed)
        self.model, self.config, self.checkpoint = model, config, checkpoint
        self.optimizer = self._new_optimizer(model.parameters())
        self.streams = lane_streams(train_ids, config.lanes, config.steps, config.seed)
        self.estimates = None if estimates is None else lane_streams(estimates, config.lanes, config.steps, config.seed)
        self.random = np.random.default_rng(config.seed)
        self.progress = Progress()
        self.mode = "off"
        self.state: State = model.initial_state(config.lanes)

    def _new_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.AdamW:
        return torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=self.config.weight_decay, fused=True)

    def _next_chunk(self) -> Tensor:
        p, c = self.progress, self.config
        if p.position + c.steps + 1 > len(self.streams):
            p.position = 0
        chunk = self.streams[p.position : p.position + c.steps + 1].astype(np.int64)
        p.position += c.steps
        resets = self.random.random(c.lanes) < c.reset_probability
        if resets.any():
            keep = torch.from_numpy(~resets)[:, None]
            self.state = [(h * keep, y * keep) for h, y in self.state]
            chunk[0, resets] = self.model.config.start_token
        return torch.from_numpy(chunk)

    def _next_loss(self) -> tuple[Tensor, int]:
        """Return the loss of the next chunk, in nats, and its tokens."""
        chunk = self._next_chunk()
        with torch.autocast("cpu", torch.bfloat16):
            hidden, self.state = self.model.hidden(chunk[:-1], self.state)
            losses = self.model.token_losses(hidden, chunk[1:])
        loss = losses.sum()
        if self.estimates is not None:
            end = self.progress.position + 1
            of_chunk = torch.from_numpy(self.estimates[end - len(losses) : end])
            far = distance(self.config.objective, losses, of_chunk)
            loss = far + (loss - far).detach()  # what is reported is the cross-entropy, its gradient that of the distance
        return loss, losses.numel()

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield a row of figures every 25 steps. Ctrl-C leaves a checkpoint and is raised again."""
        c, p = self.config, self.progress
        before = p.elapsed_s
        began = last_saved = time.monotonic()
        try:
            while (share := c.share(p.elapsed_s, p.tokens)) < 1:
                if share >= 1 - c.quantized_share and self.mode != "on":
                    self._quantize_more()
                self._step(c.learning_rate * min(1.0, (p.step + 1) / c.warmup_steps) * (1 - share))
                p.elapsed_s = before + time.monotonic() - began
                if p.step % 25 == 0:
                    loss, p.window = float(np.mean(p.window)), []
                    yield {"step": p.step, "elapsed_s": p.elapsed_s, "tokens": p.tokens, "bits_per_token": loss}
                if time.monotonic() - last_saved > c.checkpoint_s:
                    self.save()
                    last_saved = time.monotonic()
        finally:
            if not p.window or math.isfinite(p.window[-1]):
                self.save()

    def _quantize_more(self) -> None:
        """Observe the activations for some chunks, then quantise."""
        self.mode = "observe" if self.progress.observed < _OBSERVED_CHUNKS else "on"
        self.progress.observed += 1
        self.model.set_quantization(self.mode)

    def _step(self, learning_rate: float) -> None:
        p = self.progress
        loss, count = self._next_loss()
        torch.autograd.backward(loss / count)
        p.window.append(float(loss.detach()) / count / math.log(2))
        if not math.isfinite(p.window[-1]):
            raise DataError("The training loss is not a number any more; use a lower learning rate. The last checkpoint is kept.")
        torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        p.step, p.tokens = p.step + 1, p.tokens + count

    def quantize_now(self) -> None:
        """Take the activation scales, if the run ended before it came to that, so that the model can be exported."""
        while self.mode != "on":
            self._quantize_more()
            if self.mode == "observe":
                with torch.no_grad():
                    self._next_loss()
        self.save()

    def document(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "config": self.model.config.to_json(),
            "training": asdict(self.config),
            "progress": asdict(self.progress),
            "mode": self.mode,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
            "random": self.random.bit_generator.state,
        }

    def save(self) -> None:
        """Write the checkpoint: complete under its name, or not at all. Raises DataError when the disk is full."""
        temporary = self.checkpoint.with_suffix(".part")
        try:
            torch.save(self.document(), temporary)
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
        self.model.load_state_dict(document["model"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.progress = Progress(**document["progress"])
        self.state = document["state"]
        self.random.bit_generator.state = document["random"]
        self.mode = document["mode"]
        self.model.set_quantization(self.mode)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the document of a checkpoint; raises DataError for one that is damaged or of another version."""
    try:
        document = torch.load(path, weights_only=True)
        if not {"config", "progress", "mode", "model", "optimizer", "state", "random"} <= document.keys():
            raise ValueError("parts of it are missing")
    except (OSError, RuntimeError, ValueError, AttributeError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"{path} is not a checkpoint of this version ({error}); remove it to start anew, or give another --work."
        ) from error
    result: dict[str, Any] = document
    return result


def load_checkpoint(path: Path) -> tuple[Decoder, dict[str, object]]:
    """Return the decoder of a checkpoint and the rest of its document."""
    document = read_checkpoint(path)
    model = Decoder(load_config(document["config"]))
    model.load_state_dict(document.pop("model"))
    return model, document


def new_model(config: DecoderConfig, seed: int) -> Decoder:
    """Return an untrained decoder; the same for the same seed."""
    torch.manual_seed(seed)
    return Decoder(config)
