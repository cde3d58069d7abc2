"""What the experiments of docs/PAPER.md share: texts, runs with a curve of figures, the bits of blocks, lines of results.

A result is a line of JSON in benchmarks/results/paper-NAME.jsonl: the run, the seed, commit, machine and figures. A run adds its
line at its end; `benchmarks.paper.tables` fills docs/PAPER.md. All networks are trained and measured in float.
"""

# G blocks at a time, L lanes of each, T steps, C dimensions of the code (digits), K values of a digit

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper.code_groups import NO_TARGET, GroupShape, chunk_of
from benchmarks.paper.coded_network import CodedNetwork, one_hot
from benchmarks.paper.coded_trainer import CodedConfig, CodedTrainer, conditioned, read_groups
from benchmarks.paper.float_encoder import Encoder, EncoderConfig, shares_of_values
from nncomp.bench.measure import surroundings
from nncomp.network.vocabulary import Vocabulary, train_vocabulary
from nncomp.training.float_network import FloatNetwork, State
from nncomp.training.trainer import Trainer

RESULTS = Path(__file__).parents[1] / "results"
_FED = 1 << 15  # tokens through a network at a time, in a measurement
ENCODER_WIDTH = 48


@dataclass(frozen=True)
class Text:
    """Stretches of text as tokens: `ends` are where the stretches end in `ids`."""

    ids: NDArray[np.uint16]
    ends: NDArray[np.int64]
    raw_bytes: int


def stretches(folder: Path, stretch_bytes: int, of_each: int, skip: int = 0, names: tuple[str, ...] = ("*",)) -> list[bytes]:
    """Return stretches of `stretch_bytes` bytes: `of_each` bytes of each file of a folder, from byte `skip` on."""
    found = []
    for path in sorted(path for name in names for path in folder.glob(f"{name}.txt")):
        with path.open("rb") as file:
            file.seek(skip)
            text = file.read(of_each)
        found += [text[i : i + stretch_bytes] for i in range(0, len(text) - stretch_bytes + 1, stretch_bytes)]
    return found


def tokens_of(texts: list[bytes], vocabulary: Vocabulary) -> Text:
    """Return the tokens of stretches of text."""
    parts = [vocabulary.encode(text).astype(np.uint16) for text in texts]
    return Text(np.concatenate(parts), np.cumsum([len(part) for part in parts]), sum(map(len, texts)))


def vocabulary_of(texts: list[bytes], size: int) -> Vocabulary:
    """Return a vocabulary learned from the texts."""
    return train_vocabulary([text[i : i + 4000] for text in texts for i in range(0, len(text), 4000)], size)


class NoisyEncoder(Encoder):
    """An encoder that learns rounding from noise (Balle et al. 2017, arXiv:1611.01704), to compare with straight-through.

    In training each position moves by up to half a value, either way, and is not rounded: the network gets the rows of the two
    nearest values in shares, and pays their prices in the same shares. In measurements, digits are rounded.
    """

    def forward(self, ids_GN: torch.Tensor) -> torch.Tensor:
        position = self.position(ids_GN)
        moved = position + torch.rand_like(position) - 0.5
        return shares_of_values(moved.clamp(0, self.config.values - 1), self.config.values)


def new_small_encoder(network: CodedNetwork, seed: int, kind: type[Encoder] = Encoder) -> Encoder:
    """Return an untrained encoder, small as the networks here, the same for the same seed."""
    torch.manual_seed(seed + 1)
    c = network.config
    return kind(EncoderConfig(c.vocab_size, c.code_dimensions, c.code_levels, ENCODER_WIDTH))


def parameters(*modules: torch.nn.Module | None) -> int:
    """Return the number of parameters of all modules."""
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def train(trainer: Trainer, points: int, measure: Callable[[], dict[str, float]]) -> tuple[list[dict[str, float]], float]:
    """Run a training. Return the figures of `measure` at `points` points of the run, and the processor's seconds without them."""
    curve: list[dict[str, float]] = []
    cpu_s, began = 0.0, time.process_time()
    for row in trainer.run():
        if row["tokens"] >= trainer.config.tokens * (len(curve) + 1) / points:
            cpu_s += time.process_time() - began
            curve.append({"tokens": row["tokens"], "cpu_s": round(cpu_s, 1)} | rounded(measure()))
            began = time.process_time()
    cpu_s += time.process_time() - began
    if len(curve) < points:
        curve.append({"tokens": trainer.progress.tokens, "cpu_s": round(cpu_s, 1)} | rounded(measure()))
    return curve, cpu_s


def group_trainer(network: FloatNetwork, encoder: Encoder | None, config: CodedConfig, text: Text) -> CodedTrainer:
    """Return a training on groups of lanes, with a code or without. Its checkpoint goes to a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="nncomp-paper-"))
    return CodedTrainer(network, encoder, config, text.ids, text.ends, folder / "checkpoint.pt")


@dataclass(frozen=True)
class BlockBits:
    """Bits of each block, shape (B,): of its tokens, and of its code."""

    tokens: NDArray[np.float64]
    code: NDArray[np.float64]

    @property
    def net(self) -> NDArray[np.float64]:
        return self.tokens + self.code


@torch.no_grad()
def block_bits(
    network: FloatNetwork, encoder: Encoder | None, text: Text, lanes: int, code: str = "none", prefix: int = 0
) -> BlockBits:
    """Return the bits of each stretch of a text, as a block of `lanes` lanes, and the bits of its code.

    `code` is "own", "none" or "shuffled" (of another block, chosen at random, the same each time). With a prefix, the first
    `prefix` tokens of each block are coded in one lane, and all lanes go on from the state after them.
    """
    starts = np.concatenate([[0], text.ends[:-1]])
    groups = [(int(a) + prefix, int(b - a) - prefix) for a, b in zip(starts, text.ends, strict=True)]
    digits_GC = None
    if code != "none":
        assert encoder is not None
        encoder.eval()
        digits_GC = torch.cat([encoder.digits(read_groups(text.ids, groups[i : i + 16])) for i in range(0, len(groups), 16)])
        encoder.train()
        if code == "shuffled":
            digits_GC = digits_GC[torch.from_numpy(_elsewhere(len(groups)))]
    most = -(-max(tokens for _, tokens in groups) // lanes)
    steps = min(256, most)
    batch = max(1, _FED // (lanes * steps))
    shape = GroupShape(lanes, -(-most // steps), steps)
    token_bits, code_bits = [], []
    for i in range(0, len(groups), batch):
        part = groups[i : i + batch]
        state, row = network.initial_state(len(part) * lanes), None
        bits = np.zeros(len(part))
        if prefix:
            before = [(first - prefix, prefix) for first, _ in part]
            bits, state = _bits(network, text, before, GroupShape(1, 1, prefix), network.initial_state(len(part)), None)
            state = [(h.repeat_interleave(lanes, 0), y.repeat_interleave(lanes, 0)) for h, y in state]
        if digits_GC is not None and isinstance(network, CodedNetwork):
            choice = one_hot(digits_GC[i : i + batch], network.config.code_levels)
            state, row = conditioned(network, choice, torch.ones(len(part)), lanes)
            code_bits.append(network.code.bits(choice).double().numpy())
        bits = bits + _bits(network, text, part, shape, state, row)[0]
        token_bits.append(bits)
    tokens = np.concatenate(token_bits)
    return BlockBits(tokens, np.concatenate(code_bits) if code_bits else np.zeros(len(tokens)))


def _elsewhere(count: int) -> NDArray[np.int64]:
    """Return for each of `count` blocks the number of another block, at random."""
    order = np.random.default_rng(1).permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, 1)
    return other


def _bits(
    network: FloatNetwork, text: Text, groups: list[tuple[int, int]], shape: GroupShape, state: State, row: torch.Tensor | None
) -> tuple[NDArray[np.float64], State]:
    """Return the bits of each group, shape (G,), and the state after it."""
    bits = np.zeros(len(groups))
    for number in range(shape.chunks):
        fed, targets = (torch.from_numpy(a) for a in chunk_of(text.ids, groups, shape, number, network.config.start_token))
        known = targets != NO_TARGET
        with torch.autocast("cpu", torch.bfloat16):
            hidden, state = network.hidden(fed, state, row)
            losses = torch.zeros(targets.shape)
            losses[known] = network.token_losses(hidden[known], targets[known])
        bits += losses.double().sum(0).view(len(groups), -1).sum(1).numpy() / math.log(2)
    return bits, state


def rounded(figures: dict[str, float], digits: int = 5) -> dict[str, float]:
    """Return figures rounded to `digits` decimals."""
    return {name: round(value, digits) for name, value in figures.items()}


def save(name: str, line: dict[str, Any]) -> None:
    """Add a line to the results of an experiment of the paper."""
    save_line(f"paper-{name}", line)


def save_line(name: str, line: dict[str, Any]) -> None:
    """Add a line to a file of results: with date, commit, machine and command."""
    found = surroundings({})
    where = {key: found[key] for key in ("commit", "command", "machine")} | {"torch": torch.__version__}
    line = {"date": time.strftime("%Y-%m-%d"), **line, "threads": torch.get_num_threads(), **where}
    folder = Path(os.environ.get("NNCOMP_RESULTS", RESULTS))
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
    print(json.dumps(line), flush=True)


def load(name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of the results of an experiment."""
    path = RESULTS / f"paper-{name}.jsonl"
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines())
