"""The training loop: documents in, a checkpoint out, within a given time.

The learning rate falls linearly to zero over the time given. The first part trains in float; the last part trains
with every weight and activation rounded to what the integer network holds (quantisation-aware training), so that
the exported model loses nothing. Knows nothing of the coder or the file format.
"""

# T steps, L lanes

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.errors import DataError
from nncomp.model.decoder import Decoder, DecoderConfig, State, load_config

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """What decides a run, besides data and machine."""

    time_s: float
    seed: int = 0
    lanes: int = 32
    steps: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    quantized_share: float = 0.12  # of the time, at the end
    reset_probability: float = 1 / 64  # that a lane starts a chunk from the initial state, as lanes of a file do
    checkpoint_s: float = 300.0


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    position: int = 0
    elapsed_s: float = 0.0
    tokens: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def lane_streams(ids: NDArray[np.uint16], lanes: int, steps: int, seed: int) -> NDArray[np.uint16]:
    """Return the ids as lanes side by side, shape (T total, L)."""
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

    def __init__(self, model: Decoder, config: TrainingConfig, train_ids: NDArray[np.uint16], checkpoint: Path) -> None:
        torch.manual_seed(config.seed)
        self.model, self.config, self.checkpoint = model, config, checkpoint
        self.optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True)
        self.streams = lane_streams(train_ids, config.lanes, config.steps, config.seed)
        self.random = np.random.default_rng(config.seed)
        self.progress = Progress()
        self.mode = "off"
        self.state: State = model.initial_state(config.lanes)

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

    def run(self) -> Iterator[dict[str, float]]:
        """Train until the time is over; yield a row of figures every 25 steps."""
        c, p = self.config, self.progress
        before = p.elapsed_s
        began = last_saved = time.monotonic()
        observed, window = 0, []
        while p.elapsed_s < c.time_s:
            share = p.elapsed_s / c.time_s
            if share >= 1 - c.quantized_share and self.mode != "on":
                self.mode = "observe" if observed < 40 else "on"
                observed += 1
                self.model.set_quantization(self.mode)
            chunk = self._next_chunk()
            with torch.autocast("cpu", torch.bfloat16):
                loss, self.state = self.model(chunk[:-1], chunk[1:], self.state)
            count = chunk[1:].numel()
            (loss / count).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = c.learning_rate * min(1.0, (p.step + 1) / c.warmup_steps) * (1 - share)
            self.optimizer.step()
            self.optimizer.zero_grad()
            window.append(float(loss.detach()) / count / math.log(2))
            p.step, p.tokens = p.step + 1, p.tokens + count
            p.elapsed_s = before + time.monotonic() - began
            if not math.isfinite(window[-1]):
                raise DataError(
                    "The training loss is not a number any more; lower the learning rate. The last checkpoint is kept."
                )
            if p.step % 25 == 0:
                row = {"step": p.step, "elapsed_s": p.elapsed_s, "tokens": p.tokens, "bits_per_token": float(np.mean(window))}
                p.history.append(row)
                window = []
                yield row
            if time.monotonic() - last_saved > c.checkpoint_s:
                self.save()
                last_saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write the checkpoint: complete under its name, or not at all."""
        temporary = self.checkpoint.with_suffix(".part")
        torch.save(
            {
                "config": self.model.config.to_json(),
                "training": asdict(self.config),
                "progress": asdict(self.progress),
                "mode": self.mode,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def restore(self) -> None:
        """Go on from the checkpoint: same weights, optimiser state and place in the data."""
        document = torch.load(self.checkpoint, weights_only=True)
        if load_config(document["config"]) != self.model.config:
            raise DataError(f"{self.checkpoint} is a checkpoint of another configuration: {json.dumps(document['config'])}.")
        self.model.load_state_dict(document["model"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.progress = Progress(**document["progress"])
        self.mode = document["mode"]
        self.model.set_quantization(self.mode)


def load_checkpoint(path: Path) -> tuple[Decoder, dict[str, object]]:
    """Return the decoder of a checkpoint and the rest of its document."""
    document = torch.load(path, weights_only=True)
    model = Decoder(load_config(document["config"]))
    model.load_state_dict(document.pop("model"))
    return model, document


def new_model(config: DecoderConfig, seed: int) -> Decoder:
    """Return an untrained decoder; the same for the same seed."""
    torch.manual_seed(seed)
    return Decoder(config)
