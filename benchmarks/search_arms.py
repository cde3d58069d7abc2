"""The arms of the search: a small network and its training. Each arm differs from the base in one thing.

The base is the shape "fast" with the optimiser of `nncomp train`. An arm is trained for some seconds of the
processor's time, whatever they come to in tokens. Everything is in float, products in bfloat16 where the processor has it;
nothing is rounded. Knows nothing of where text comes from.
"""

# T steps, L lanes, N tokens, G groups, S tokens a group, E state width

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nncomp.training import fused
from nncomp.training.float_network import FloatNetwork, Layer, Linear, NetworkShape, State, products_by_group
from nncomp.training.lanes import lane_streams, rows_of
from nncomp.training.processes import autocast
from nncomp.training.recurrence import scan
from nncomp.training.shapes import SHAPES

BASE, RATE = SHAPES["fast"], 3e-3
LANES, STEPS, WARMUP_STEPS = 16, 128, 50
WEIGHT_DECAY, RESET_PROBABILITY = 0.01, 1 / 64  # as in `nncomp train`
AVERAGED_SHARE = 0.1  # of the run: the time constant of a mean of weights


@dataclass(frozen=True)
class Arm:
    """The difference from the base, as settings and in words."""

    says: str
    shape: NetworkShape = BASE
    is_word_bound: bool = False  # no token crosses a space
    is_even: bool = False  # the same amount of each kind of text, instead of an amount by size
    has_shift: bool = True
    has_gate: bool = True
    is_tied: bool = False
    dropout: float = 0.0
    rate: float = RATE
    muon_rate: float = 0.0  # of the matrices of the layers; 0: AdamW has them too
    is_averaged: bool = False
    is_constant: bool = False  # the rate does not fall to zero
    is_taught: bool = False  # by the default model

    @property
    def is_runnable(self) -> bool:
        """Whether the integer engine can run it."""
        return self.has_gate

    @property
    def multiply_adds(self) -> int:
        """Products for a token: those of layers, groups and one group's tokens."""
        c = self.shape
        layer = c.width * c.state_width * (4 if self.has_gate else 3) + 2 * c.width * c.mlp_width
        return c.layer_count * layer + c.group_mlp_width * (c.width + c.group_count) + c.width * c.group_size


ARMS = {
    "base": Arm("base: the shape of fast"),
    "vocabulary-4096": Arm("vocabulary of 4,096", replace(BASE, vocab_size=4096, group_count=64)),
    "vocabulary-16384": Arm("vocabulary of 16,384", replace(BASE, vocab_size=16384, group_count=256)),
    "words": Arm("no token crosses a space", is_word_bound=True),
    "muon": Arm("Muon for the layers, 0.003", muon_rate=3e-3),
    "taught": Arm("taught by the default model", is_taught=True),
    "layers-5": Arm("5 layers", replace(BASE, layer_count=5)),
    "layers-2": Arm("2 layers", replace(BASE, layer_count=2)),
    "width-192": Arm("width 192", replace(BASE, width=192)),
    "tied": Arm("tied embeddings", is_tied=True),
    "averaged": Arm("mean of weights", is_averaged=True),
    "averaged-constant": Arm("mean of weights, constant rate", is_averaged=True, is_constant=True),
    "rate-x2": Arm("learning rate 0.006", rate=2 * RATE),
    "rate-half": Arm("learning rate 0.0015", rate=RATE / 2),
    "even": Arm("each kind of text alike", is_even=True),
    "state-384": Arm("state of 384", replace(BASE, state_width=384)),
    "state-128": Arm("state of 128", replace(BASE, state_width=128)),
    "mlp-1024": Arm("MLP of 1,024", replace(BASE, mlp_width=1024)),
    "mlp-256": Arm("MLP of 256", replace(BASE, mlp_width=256)),
    "no-shift": Arm("no token shift", has_shift=False),
    "no-gate": Arm("no output gate", has_gate=False),
    "dropout": Arm("dropout of 0.1", dropout=0.1),
    "muon-x3": Arm("Muon for the layers, 0.01", muon_rate=1e-2),
}


class ArmLayer(Layer):
    """A layer in float, without what an arm leaves out, and with dropout on what it adds."""

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm.shape)
        self.has_shift, self.dropout = arm.has_shift, arm.dropout
        if not arm.has_shift:
            self.shift.requires_grad_(False).zero_()
        if not arm.has_gate:
            e, before = arm.shape.state_width, self.gates_in
            self.gates_in = Linear(arm.shape.width, 2 * e, bias=True)
            assert self.gates_in.bias is not None and before.bias is not None
            self.gates_in.bias.data.copy_(before.bias.data[: 2 * e])

    def forward(self, x_TLD: Tensor, h_LE: Tensor, y_LD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = fused.norm(x_TLD)
        u = fused.shift_lanes(y, y_LD, self.shift.clamp(0, 1)) if self.has_shift else y
        a, c, *g = self.gates_in(u).split(h_LE.shape[1], -1)
        steps = len(a)
        h = scan(torch.sigmoid(a.float()).reshape(steps, -1), c.float().reshape(steps, -1), h_LE.reshape(-1)).view_as(c)
        out = h * F.silu(g[0].float()) if g else h
        x = x_TLD + self._dropped(self.state_out(self.state_quantizer(out.to(c.dtype))))
        z = fused.squared_relu(self.mlp_in(fused.norm(x)))
        x = x + self._dropped(self.mlp_out(self.mlp_quantizer(z)))
        return x, h[-1].detach(), y[-1].detach()

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def new_network(arm: Arm, seed: int, start_token: int) -> FloatNetwork:
    """Return the untrained network of an arm."""
    torch.manual_seed(seed)
    network = FloatNetwork(replace(arm.shape, start_token=start_token))
    if not (arm.has_shift and arm.has_gate) or arm.dropout:
        network.layers = nn.ModuleList(ArmLayer(arm) for _ in range(arm.shape.layer_count))
    if arm.is_tied:
        network.token_out.weight = network.embedding
    return network


def optimizers(network: FloatNetwork, arm: Arm) -> list[torch.optim.Optimizer]:
    """Return AdamW as `nncomp train` has it, and Muon (Jordan 2024) for the matrices of the layers if the arm says so.

    Each group of parameters holds its highest rate. Muon's steps are scaled to the size of AdamW's (arXiv:2502.16982).
    """
    learned = [p for p in network.parameters() if p.requires_grad]
    of_layers = [p for p in network.layers.parameters() if p.ndim == 2] if arm.muon_rate else []
    known = {id(p) for p in of_layers}
    others = {"params": [p for p in learned if id(p) not in known], "highest": arm.rate}
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW([others], betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY, fused=True)]
    if of_layers:
        group = {"params": of_layers, "highest": arm.muon_rate}
        made.append(torch.optim.Muon([group], weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"))
    return made


def log_probabilities(network: FloatNetwork, hidden_TLD: Tensor, targets_TL: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of all groups, shape (N, G), and of the tokens in each target's group, shape (N, S).

    Rows are sorted by the targets' group, as `torch.argsort` sorts them.
    """
    size, weight, bias = network.config.group_size, network.token_out.weight, network.token_out.bias
    assert bias is not None
    group = targets_TL.flatten() // size
    order = torch.argsort(group, stable=True)
    rows = hidden_TLD.flatten(0, -2)[order]
    products = products_by_group(rows, group[order], weight.view(-1, size, weight.shape[1]))
    in_group = products.float() + bias.view(-1, size)[group[order]]
    return F.log_softmax(network.group_logits(rows).float(), -1), F.log_softmax(in_group, -1)


def taught_loss(network: FloatNetwork, teacher: FloatNetwork, hidden: tuple[Tensor, Tensor], targets_TL: Tensor) -> Tensor:
    """Return half the cross-entropy and half the divergence from the teacher, in nats, summed over the tokens.

    The divergence is that of the groups and that within the target's group; within other groups it is not asked for.
    """
    group, in_group = log_probabilities(network, hidden[0], targets_TL)
    with torch.no_grad():
        taught_group, taught_in_group = log_probabilities(teacher, hidden[1], targets_TL)
    target = targets_TL.flatten()
    target = target[torch.argsort(target // network.config.group_size, stable=True)]
    entropy = F.nll_loss(group, target // network.config.group_size, reduction="sum")
    entropy = entropy + F.nll_loss(in_group, target % network.config.group_size, reduction="sum")
    divergence = F.kl_div(group, taught_group, reduction="sum", log_target=True)
    divergence = divergence + F.kl_div(in_group, taught_in_group, reduction="sum", log_target=True)
    return (entropy + divergence) / 2


class Chunks:
    """Text in lanes, chunk after chunk, repeated when it ends, and the state of each network that reads it."""

    def __init__(self, models: list[FloatNetwork], ids: NDArray[np.uint16], seed: int) -> None:
        self.models, self.streams, self.position = models, lane_streams(ids, LANES, STEPS), 0
        self.states: list[State] = [network.initial_state(LANES) for network in models]
        self.random = np.random.default_rng(seed)

    def next(self) -> Tensor:
        """Return the next chunk, shape (T + 1, L); some lanes start anew, as lanes of a file do."""
        if self.position + STEPS + 1 > len(self.streams):
            self.position = 0
        chunk = rows_of(self.streams, self.position, self.position + STEPS + 1)
        self.position += STEPS
        resets = self.random.random(LANES) < RESET_PROBABILITY
        chunk[0, resets] = self.models[0].config.start_token
        keep = torch.from_numpy(~resets)[:, None]
        self.states = [[(h * keep, y * keep) for h, y in state] for state in self.states]
        return torch.from_numpy(chunk)

    def hidden(self, number: int, chunk: Tensor) -> Tensor:
        """Return a network's hidden values for a chunk, and keep its state."""
        hidden, self.states[number] = self.models[number].hidden(chunk[:-1], self.states[number])
        return hidden


def _loss(chunks: Chunks) -> Tensor:
    """Return the mean loss of the next chunk in nats: of the first network, taught by the second if there is one."""
    chunk = chunks.next()
    with autocast(torch.device("cpu")):
        hidden = chunks.hidden(0, chunk)
        if len(chunks.models) == 1:
            return chunks.models[0].loss_sum(hidden, chunk[1:]) / chunk[1:].numel()
        with torch.no_grad():
            taught = chunks.hidden(1, chunk)
        return taught_loss(chunks.models[0], chunks.models[1], (hidden, taught), chunk[1:]) / chunk[1:].numel()


def train(
    network: FloatNetwork, arm: Arm, ids: NDArray[np.uint16], seconds: float, seed: int, teacher: FloatNetwork | None = None,
    clock: Callable[[], float] = time.process_time,
) -> tuple[int, float]:  # fmt: skip
    """Train for so much of the processor's time, teacher and mean of weights included; return tokens and seconds."""
    chunks, made = Chunks([network] if teacher is None else [network, teacher], ids, seed), optimizers(network, arm)
    groups = [group for each in made for group in each.param_groups]
    learned = [p for group in groups for p in group["params"]]
    mean: list[Tensor] = []
    began, step, averaged_at = clock(), 0, 0.0
    network.train()
    while (share := (clock() - began) / seconds) < 1:
        torch.autograd.backward(_loss(chunks))
        nn.utils.clip_grad_norm_(learned, 1.0)
        rise, fall = min(1.0, (step + 1) / WARMUP_STEPS), 1.0 if arm.is_constant else 1 - share
        for group in groups:
            group["lr"] = group["highest"] * rise * fall
        for each in made:
            each.step()
            each.zero_grad()
        step += 1
        if arm.is_averaged and share > 0.5 and step % 4 == 0:
            with torch.no_grad():
                mean = mean or [p.clone() for p in learned]
                weight = min(1.0, (share - averaged_at) / AVERAGED_SHARE)
                torch._foreach_lerp_(mean, learned, weight)
                averaged_at = share
    if mean:
        with torch.no_grad():
            torch._foreach_copy_(learned, mean)
    network.eval()
    return step * LANES * STEPS, clock() - began
