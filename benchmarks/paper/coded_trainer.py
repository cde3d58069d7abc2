"""Training of a network together with its encoder.

The lanes of a group (`benchmarks.paper.code_groups`) are parts of one document and share one code. Their state begins with what
the code says. Some groups get no code, and their state begins with zeros. The loss is the cross-entropy of the tokens, plus
the bits of each code under the prior, spread over the tokens of the group. For the experiments of docs/PAPER.md: such a code has
no place in a file. Knows nothing of the coder or the file format.
"""

# G groups, L lanes of all groups, T steps, C dimensions of the code (digits), K values of a digit

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.code_groups import NO_TARGET, GroupShape, chunk_of, draw_groups
from benchmarks.paper.coded_network import CodedNetwork
from benchmarks.paper.float_encoder import NO_TOKEN, Encoder, sample
from nncomp.errors import DataError
from nncomp.training.float_network import FloatNetwork, State
from nncomp.training.processes import autocast
from nncomp.training.trainer import Trainer, TrainingConfig

Groups = list[tuple[int, int]]


@dataclass(frozen=True)
class CodedConfig(TrainingConfig):
    """What decides a run in groups: `group_lanes` lanes of one text share a code for `group_chunks` chunks of `steps` steps."""

    group_lanes: int = 2
    group_chunks: int = 8
    code_dropout: float = 0.2  # share of the groups that get no code
    code_warmup: float = 0.2  # share of the run in which the weight of the code's price rises from 0 to 1


def read_groups(ids: NDArray[Any], groups: Groups) -> Tensor:
    """Return the tokens that the encoder reads of each group, shape (G, N); shorter rows end with NO_TOKEN."""
    parts = [sample(ids[first : first + tokens]) for first, tokens in groups]
    read = np.full((len(parts), max(map(len, parts))), NO_TOKEN, np.int64)
    for row, part in zip(read, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(read)


def conditioned(network: CodedNetwork, choice_GCK: Tensor, told_G: Tensor, lanes: int) -> tuple[State, Tensor]:
    """Return the initial states of `lanes` lanes of each group, and what is added to each step's input, shape (L, D).

    Both are zero where `told_G` is 0: such a group gets no code.
    """
    row, states = network.code(choice_GCK * told_G[:, None, None])
    state = network.coded_state(states.repeat_interleave(lanes, 1))
    return state, row.repeat_interleave(lanes, 0)


class CodedTrainer(Trainer):
    """A run of a network together with its encoder; or of a network alone on the same groups, for comparison."""

    can_be_captured = False
    config: CodedConfig

    def __init__(
        self,
        network: FloatNetwork,
        encoder: Encoder | None,
        config: CodedConfig,
        train_ids: NDArray[np.uint16],
        ends: NDArray[np.int64],
        checkpoint: Path,
    ) -> None:
        """`ends` are the ends of the documents in `train_ids`. Raises DataError when the lanes are not whole groups."""
        if config.lanes % config.group_lanes:
            raise DataError(f"{config.lanes} lanes are not whole groups of {config.group_lanes}.")
        super().__init__(network, config, train_ids, checkpoint)
        self.encoder, self.ids, self.ends = encoder, train_ids, ends
        self.shape = GroupShape(config.group_lanes, config.group_chunks, config.steps)
        if encoder is not None:
            self.optimizer = self._new_optimizer(chain(network.parameters(), encoder.parameters()))
        self.groups: Groups = []
        self.told = torch.zeros(0)  # for each group 1, or 0 for a group without its code
        self.chunk = config.group_chunks  # the next chunk of the groups; at first no chunk is left

    def _begin_groups(self) -> None:
        c, count = self.config, self.config.lanes // self.config.group_lanes
        self.groups = draw_groups(self.ends, self.shape, count, self.random)
        self.told = torch.from_numpy((self.random.random(count) >= c.code_dropout).astype(np.float32))
        self.chunk = 0

    def _next_loss(self) -> tuple[Tensor, int]:
        c, network, lanes = self.config, self.network, self.config.group_lanes
        if self.chunk * c.steps >= max((-(-tokens // lanes) for _, tokens in self.groups), default=0):
            self._begin_groups()
        fed, targets = chunk_of(self.ids, self.groups, self.shape, self.chunk, network.config.start_token)
        device = network.device
        known = (targets != NO_TARGET).sum(0).reshape(len(self.groups), lanes).sum(1)
        code_LD, price = None, torch.zeros((), device=device)
        start = network.initial_state(c.lanes)
        if self.encoder is not None and isinstance(network, CodedNetwork):
            choice, told = self.encoder(read_groups(self.ids, self.groups).to(device)), self.told.to(device)
            start, code_LD = conditioned(network, choice, told, lanes)
            share = torch.from_numpy((known / np.array([tokens for _, tokens in self.groups])).astype(np.float32)).to(device)
            price = self._weighed((network.code.bits(choice) * told * share).sum() * math.log(2))
        if self.chunk == 0:
            self.state = start
        fed_TL, targets_TL = torch.from_numpy(fed).to(device), torch.from_numpy(targets).to(device)
        with autocast(device):
            hidden, self.state = network.hidden(fed_TL, self.state, code_LD)
            is_known = targets_TL != NO_TARGET
            loss = network.loss_sum(hidden[is_known], targets_TL[is_known])
        self.chunk += 1
        return loss + price, int(known.sum())

    def _weighed(self, price: Tensor) -> Tensor:
        """Return the price. Its gradient has a weight that rises from 0 to 1 in the first part of the run."""
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
