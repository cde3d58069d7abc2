"""Joint training of a decoder and its encoder, and what a code is worth: decoder bits and the bits of the code, both charged.

Groups (`nncomp.training.groups`) of lanes of one document share one code; their recurrent state starts from it, or from
zero in the share of groups that is told none. Loss: the decoder's bits, and each code's bits under the prior, divided over
the tokens that share it. Knows nothing of the coder or the file format.
"""

# G groups, L lanes of all groups, T steps, C dimensions of the code, K levels

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.errors import DataError
from nncomp.network.encoder import Encoder as SavedEncoder
from nncomp.network.encoder import sample
from nncomp.training.float_code_tables import CodeTables, one_hot
from nncomp.training.float_encoder import NO_TOKEN, Encoder, EncoderConfig
from nncomp.training.float_network import FloatNetwork, State
from nncomp.training.groups import NO_TARGET, GroupShape, all_groups, chunk_of, draw_groups
from nncomp.training.loop import Trainer, TrainingConfig
from nncomp.training.processes import autocast

Groups = list[tuple[int, int]]
CODE_LEVELS = 4  # of the dimensions of a new code


def add_code(model: FloatNetwork, dimensions: int, levels: int, seed: int) -> None:
    """Give a decoder that knows no code untrained tables for one; the same for the same seed."""
    torch.manual_seed(seed + 2)
    c = model.config = replace(model.config, code_dimensions=dimensions, code_levels=levels)
    model.code = CodeTables(dimensions, levels, c.width, c.layer_count, c.state_width)


def new_encoder(model: FloatNetwork, seed: int, width: int = 128) -> Encoder:
    """Return an untrained encoder for a decoder with a code; the same for the same seed."""
    torch.manual_seed(seed + 1)
    c = model.config
    return Encoder(EncoderConfig(c.vocab_size, c.code_dimensions, c.code_levels, width))


def restore_encoder(saved: SavedEncoder) -> Encoder:
    """Return the encoder of a model's encoder file, to train it further."""
    encoder = Encoder(EncoderConfig(**{name: saved.sizes[name] for name in ("vocab_size", "dimensions", "levels", "width")}))
    encoder.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in saved.arrays.items()})
    return encoder


def saved_encoder(weights: dict[str, Tensor], levels: int) -> SavedEncoder:
    """Return the encoder of these weights, as a checkpoint has them, for its file."""
    vocab_size, width = weights["embedding"].shape
    sizes = {"vocab_size": vocab_size, "dimensions": len(weights["mean"]), "levels": levels, "width": width}
    return SavedEncoder(sizes, {name: array.float().cpu().numpy() for name, array in weights.items()})


def read_groups(ids: NDArray[Any], groups: Groups) -> Tensor:
    """Return what the encoder reads of each group, shape (G, N), as long as the longest."""
    parts = [sample(ids[first : first + tokens]) for first, tokens in groups]
    read = np.full((len(parts), max(map(len, parts))), NO_TOKEN, np.int64)
    for row, part in zip(read, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(read)


def conditioned(model: FloatNetwork, choice_GCK: Tensor, told_G: Tensor, lanes: int) -> tuple[State, Tensor]:
    """Return the states that `lanes` lanes of each group start from, and the added inputs, shape (L, D).

    Both are zero where `told_G` is 0: such a group is told no code.
    """
    assert model.code is not None
    row, states = model.code(choice_GCK * told_G[:, None, None])
    state = model.coded_state(states.repeat_interleave(lanes, 1))
    return state, row.repeat_interleave(lanes, 0)


def decoder_loss(model: FloatNetwork, fed: Tensor, targets: Tensor, state: State, code_LD: Tensor | None) -> tuple[Tensor, State]:
    """Return the summed cross-entropy in nats of the targets there are, and the state after the last step."""
    with autocast(fed.device):
        hidden, after = model.hidden(fed, state, code_LD)
        known = targets != NO_TARGET
        return model.loss_sum(hidden[known], targets[known]), after


class CodedTrainer(Trainer):
    """A run of a decoder together with the encoder that tells it a code; or alone on the same groups, to compare with."""

    def __init__(
        self,
        model: FloatNetwork,
        encoder: Encoder | None,
        config: TrainingConfig,
        train_ids: NDArray[np.uint16],
        ends: NDArray[np.int64],
        checkpoint: Path,
    ) -> None:
        """`ends` are where the documents end in `train_ids`. Raises DataError when lanes and groups do not fit together."""
        if config.lanes % config.group_lanes:
            raise DataError(f"{config.lanes} lanes are not whole groups of {config.group_lanes}.")
        super().__init__(model, config, train_ids, checkpoint)
        self.encoder, self.ids, self.ends = encoder, train_ids, ends
        self.shape = GroupShape(config.group_lanes, config.group_chunks, config.steps)
        if encoder is not None:
            self.optimizer = self._new_optimizer(chain(model.parameters(), encoder.parameters()))
        self.groups: Groups = []
        self.told = torch.zeros(0)  # of each group, 1 if it is told its code
        self.chunk = config.group_chunks  # the next one of the groups; none is left at first

    def _begin_groups(self) -> None:
        c, count = self.config, self.config.lanes // self.config.group_lanes
        self.groups = draw_groups(self.ends, self.shape, count, self.random)
        self.told = torch.from_numpy((self.random.random(count) >= c.code_dropout).astype(np.float32))
        self.chunk = 0

    def _next_loss(self) -> tuple[Tensor, int]:
        c, model, lanes = self.config, self.model, self.config.group_lanes
        if self.chunk * c.steps >= max((-(-tokens // lanes) for _, tokens in self.groups), default=0):
            self._begin_groups()
        fed, targets = chunk_of(self.ids, self.groups, self.shape, self.chunk, model.config.start_token)
        device = model.device
        known = (targets != NO_TARGET).sum(0).reshape(len(self.groups), lanes).sum(1)
        code_LD, price = None, torch.zeros((), device=device)
        start = model.initial_state(c.lanes)
        if self.encoder is not None and model.code is not None:
            choice, told = self.encoder(read_groups(self.ids, self.groups).to(device)), self.told.to(device)
            start, code_LD = conditioned(model, choice, told, lanes)
            share = torch.from_numpy((known / np.array([tokens for _, tokens in self.groups])).astype(np.float32)).to(device)
            price = self._weighed((model.code.bits(choice) * told * share).sum() * math.log(2))
        if self.chunk == 0:
            self.state = start
        fed_TL, targets_TL = torch.from_numpy(fed).to(device), torch.from_numpy(targets).to(device)
        loss, self.state = decoder_loss(model, fed_TL, targets_TL, self.state, code_LD)
        self.chunk += 1
        return loss + price, int(known.sum())

    def _weighed(self, price: Tensor) -> Tensor:
        """Return the price, whole as a figure; its gradient rises to the whole while the run warms up."""
        p, warmup = self.progress, self.config.code_warmup
        weight = min(1.0, self.config.share(p.elapsed_s, p.tokens) / warmup) if warmup else 1.0
        return weight * price + (1 - weight) * price.detach()

    def document(self) -> dict[str, Any]:
        groups = {"spans": self.groups, "told": self.told, "chunk": self.chunk}
        weights = self.encoder.state_dict() if self.encoder is not None else {}
        return super().document() | {"encoder": weights, "groups": groups}

    def go_on_from(self, document: dict[str, Any]) -> None:
        super().go_on_from(document)
        if self.encoder is not None:
            self.encoder.load_state_dict(document["encoder"])
        groups = document["groups"]
        self.groups = [(int(first), int(tokens)) for first, tokens in groups["spans"]]
        self.told, self.chunk = groups["told"], groups["chunk"]


@dataclass(frozen=True)
class Worth:
    """The bits of a text: the decoder's, and those of the codes it was told."""

    tokens: int
    decoder_bits: float
    code_bits: float

    @property
    def total_bits(self) -> float:
        return self.decoder_bits + self.code_bits


@torch.no_grad()
def worth(
    model: FloatNetwork,
    encoder: Encoder | None,
    ids: NDArray[Any],
    ends: NDArray[np.int64],
    shape: GroupShape,
    codes: str = "own",
    batch: int = 16,
) -> Worth:
    """Return the bits of documents in groups, each with its code: "own", "none", or "shuffled" (the next group's).

    A code costs what the prior says, whichever it is; none costs nothing.
    """
    groups = all_groups(ends, shape)
    decoder_bits, code_bits, device = 0.0, 0.0, model.device
    indices = torch.zeros(len(groups), model.config.code_dimensions, dtype=torch.long, device=device)
    if encoder is not None and codes != "none":
        encoder.eval()
        parts = [read_groups(ids, groups[i : i + batch]).to(device) for i in range(0, len(groups), batch)]
        indices = torch.cat([encoder.indices(part) for part in parts])
        encoder.train()
        if codes == "shuffled":
            indices = indices.roll(1, 0)
    for i in range(0, len(groups), batch):
        part = groups[i : i + batch]
        state, code_LD = model.initial_state(len(part) * shape.lanes), None
        if encoder is not None and codes != "none" and model.code is not None:
            choice = one_hot(indices[i : i + batch], model.config.code_levels)
            state, code_LD = conditioned(model, choice, torch.ones(len(part), device=device), shape.lanes)
            code_bits += float(model.code.bits(choice).sum())
        for number in range(-(-max(-(-tokens // shape.lanes) for _, tokens in part) // shape.steps)):
            fed, targets = chunk_of(ids, part, shape, number, model.config.start_token)
            fed_TL, targets_TL = torch.from_numpy(fed).to(device), torch.from_numpy(targets).to(device)
            loss, state = decoder_loss(model, fed_TL, targets_TL, state, code_LD)
            decoder_bits += float(loss) / math.log(2)
    return Worth(sum(tokens for _, tokens in groups), decoder_bits, code_bits)
