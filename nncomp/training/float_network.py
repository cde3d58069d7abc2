"""The network in float, to be trained: a gated linear recurrence over tokens with an output in two stages.

Layer: x += Wo (h * silu(g)) with h a gated running mean of c, then x += W2 relu(W1 norm(x))^2. Token shift (RWKV,
arXiv:2305.13048) lets each channel see the step before. The output is a class-factored softmax (Goodman 2001,
arXiv:cs/0108006): first the group (the upper bits of the token id, tokens being in byte order), then the token in it.
A coder that walks the token tree so needs one product over G groups and one over the tokens of one group, instead of
one over V. Knows nothing of files, tokenizers or coding; `nncomp.training.export` turns it into integers.
"""

# T steps, L lanes, V tokens, G groups, S tokens a group, D width, E state width, F mlp width, H group mlp width

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nncomp.training import fused
from nncomp.training.fake_int8 import NORM_STEPS, fake_int8, fake_int8_rows, round_straight_through
from nncomp.training.recurrence import recur
from nncomp.training.shapes import NetworkShape as NetworkShape

State = list[tuple[Tensor, Tensor]]  # per layer: h_LE float32, the normalised input of the step before, y_LD


def norm(x: Tensor) -> Tensor:
    """Return x divided by its root mean square over the last axis (RMSNorm without gain; the gain is in the weights)."""
    return F.rms_norm(x.float(), (x.shape[-1],), eps=1e-6)


class Quantizer(nn.Module):
    """An activation that becomes int8 with one scale, taken from the largest values seen while observing.

    mode "off": the identity; "observe": the identity, recording a high quantile; "on": fake int8.
    """

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.zeros(()))
        self.mode = "off"

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "observe":
            sample = x.detach().float().abs().flatten()[::13]
            top = sample.topk(max(1, sample.numel() // 20000)).values[-1] / 127
            self.scale.copy_(torch.maximum(self.scale, top))
        return fake_int8(x.float(), self.scale).to(x.dtype) if self.mode == "on" else x


class Linear(nn.Module):
    """A product whose weight is int8 by rows once quantisation is on; the bias stays in the wide accumulator."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain * 0.577 / inputs**0.5))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.quantized = False

    def effective_weight(self) -> Tensor:
        return fake_int8_rows(self.weight) if self.quantized else self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)


class Layer(nn.Module):
    def __init__(self, config: NetworkShape) -> None:
        super().__init__()
        d, e, f = config.width, config.state_width, config.mlp_width
        self.shift = nn.Parameter(torch.full((d,), 0.5))
        self.gates_in = Linear(d, 3 * e, bias=True)
        self.state_out = Linear(e, d, gain=0.3)
        self.mlp_in = Linear(d, f)
        self.mlp_out = Linear(f, d, gain=0.3)
        self.state_quantizer, self.mlp_quantizer = Quantizer(), Quantizer()
        self.quantized = False
        with torch.no_grad():  # forget gates from half a step to about 400 steps
            assert self.gates_in.bias is not None
            self.gates_in.bias[:e] = -torch.linspace(0, 6, e)

    def normalise(self, x: Tensor) -> Tensor:
        y = fused.norm(x)
        return fake_int8(y, 1 / NORM_STEPS) if self.quantized else y

    def forward(self, x_TLD: Tensor, h_LE: Tensor, y_LD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.normalise(x_TLD)
        shift = self.shift.clamp(0, 1)
        if self.quantized:
            shift = round_straight_through(shift * 128) / 128
        u = fused.shift_lanes(y, y_LD, shift)
        if self.quantized:
            u = round_straight_through(u * NORM_STEPS) / NORM_STEPS
        out, h = recur(self.gates_in(u), h_LE)
        x = x_TLD + self.state_out(self.state_quantizer(out))
        z = fused.squared_relu(self.mlp_in(self.normalise(x)))
        x = x + self.mlp_out(self.mlp_quantizer(z))
        return x, h, y[-1].detach()


def products_by_group(rows_ND: Tensor, group_N: Tensor, weight_GSD: Tensor) -> Tensor:
    """Return each row times the weight of its group, shape (N, S); the rows are sorted by group. One product a group."""
    parts = torch.split(rows_ND, torch.bincount(group_N, minlength=len(weight_GSD)).tolist())
    return torch.cat([F.linear(part, weight) for part, weight in zip(parts, weight_GSD, strict=True)])


def products_in_tiles(rows_ND: Tensor, group_N: Tensor, weight_GSD: Tensor, tile: int = 64) -> Tensor:
    """Return what `products_by_group` returns, from one batch of products of tiles of rows.

    The host need not wait for the GPU to learn how many rows each group has. Each group begins a new tile, so there are at
    most N / tile + G tiles; unused tiles are zeros.
    """
    groups, count = len(weight_GSD), len(rows_ND)
    counts_G = torch.zeros(groups, dtype=torch.long, device=rows_ND.device).scatter_add_(0, group_N, torch.ones_like(group_N))
    tiles_G = (counts_G + tile - 1) // tile
    first_tile_G, first_row_G = tiles_G.cumsum(0) - tiles_G, counts_G.cumsum(0) - counts_G
    place_N = first_tile_G[group_N] * tile + torch.arange(count, device=rows_ND.device) - first_row_G[group_N]
    tiles = count // tile + groups
    padded = rows_ND.new_zeros(tiles * tile, rows_ND.shape[1]).index_copy(0, place_N, rows_ND)
    number = torch.arange(tiles, device=rows_ND.device)
    group_of_tile = torch.searchsorted(tiles_G.cumsum(0), number, right=True).clamp_max(groups - 1)
    products = torch.bmm(padded.view(tiles, tile, -1), weight_GSD.index_select(0, group_of_tile).transpose(1, 2))
    return products.reshape(tiles * tile, -1)[place_N]


class FloatNetwork(nn.Module):
    """Logits of the next token from the tokens so far; see the module docstring."""

    def __init__(self, config: NetworkShape) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, config.width) * 0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layer_count))
        self.group_in = Linear(config.width, config.group_mlp_width)
        self.group_out = Linear(config.group_mlp_width, config.group_count, bias=True)
        self.group_quantizer = Quantizer()
        self.token_out = Linear(config.width, config.vocab_size, bias=True)
        self.quantized = False
        self.quantization = "off"

    def freeze(self, layers: int) -> None:
        """Keep the first `layers` layers, the embedding and the token weights as they are.

        Only later layers and the weights of the groups learn.
        """
        for parameter in self.parameters():
            parameter.requires_grad = False
        for module in (*self.layers[layers:], self.group_in, self.group_out):
            for parameter in module.parameters():
                parameter.requires_grad = True

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def set_quantization(self, mode: str) -> None:
        """Set "off" (no rounding), "observe" (take the scales of activations) or "on" (all values as in the integer network)."""
        self.quantization = mode
        for module in self.modules():
            if isinstance(module, Quantizer):
                module.mode = mode
            elif isinstance(module, (Linear, Layer, FloatNetwork)):
                module.quantized = mode == "on"

    def initial_state(self, lanes: int) -> State:
        c, device = self.config, self.device
        return [
            (torch.zeros(lanes, c.state_width, device=device), torch.zeros(lanes, c.width, device=device))
            for _ in range(c.layer_count)
        ]

    def coded_state(self, states_NLE: Tensor) -> State:
        """Return the initial state of lanes with a code; `states_NLE` is what the code says."""
        zero = self.initial_state(states_NLE.shape[1])
        return [(h, y) for h, (_, y) in zip(states_NLE, zero, strict=True)]

    def embedding_rows(self) -> Tensor:
        """Return the embedding, shape (V, D), each row divided by its root mean square."""
        rows = norm(self.embedding)
        return fake_int8_rows(rows) if self.quantized else rows

    def hidden(self, ids_TL: Tensor, state: State, code: Tensor | None = None) -> tuple[Tensor, State]:
        """Return the normalised output of the last layer, shape (T, L, D), and the state after the last step.

        `code` is what each lane's code adds to the input of each step, shape (L, D) or (T, L, D).
        """
        rows = F.embedding(ids_TL, self.embedding_rows() if self.quantized else self.embedding)
        x = rows if self.quantized else fused.norm(rows)
        if code is not None:
            x = x + code
        after: State = []
        for layer, (h, y) in zip(self.layers, state, strict=True):
            x, h, y = layer(x, h, y)
            after.append((h, y))
        x = fused.norm(x)
        return (fake_int8(x, 1 / NORM_STEPS) if self.quantized else x), after

    def group_logits(self, hidden: Tensor) -> Tensor:
        z = fused.squared_relu(self.group_in(hidden))
        logits: Tensor = self.group_out(self.group_quantizer(z))
        return logits

    def token_losses(self, hidden_TLD: Tensor, targets_TL: Tensor) -> Tensor:
        """Return the cross-entropy in nats of each target, group and token in group together, shaped as the targets."""
        size = self.config.group_size
        hidden, targets = hidden_TLD.flatten(0, -2), targets_TL.flatten()
        group = targets // size
        losses = F.cross_entropy(self.group_logits(hidden).float(), group, reduction="none")
        type_ = hidden.device.type
        weight = self.token_out.effective_weight()
        weight = weight.to(torch.get_autocast_dtype(type_) if torch.is_autocast_enabled(type_) else hidden.dtype)
        assert self.token_out.bias is not None
        biases = self.token_out.bias.view(-1, size)
        of_groups = products_in_tiles if hidden.is_cuda else products_by_group
        order = torch.argsort(group)
        products = of_groups(hidden[order].to(weight.dtype), group[order], weight.view(-1, size, weight.shape[1]))
        in_group = products.float() + biases[group[order]]
        losses = losses.index_add(0, order, F.cross_entropy(in_group, targets[order] % size, reduction="none"))
        return losses.view_as(targets_TL)

    def loss_sum(self, hidden_TLD: Tensor, targets_TL: Tensor) -> Tensor:
        """Return the summed cross-entropy in nats of the targets."""
        return self.token_losses(hidden_TLD, targets_TL).sum()

    def forward(self, ids_TL: Tensor, targets_TL: Tensor, state: State, code_LD: Tensor | None = None) -> tuple[Tensor, State]:
        """Return the summed cross-entropy in nats and the state after the last step."""
        hidden, after = self.hidden(ids_TL, state, code_LD)
        return self.loss_sum(hidden, targets_TL), after


def load_config(document: dict[str, Any]) -> NetworkShape:
    """Return the shape that `NetworkShape.to_json` wrote, or that of a model's sizes; what else these say is no shape."""
    return NetworkShape(**{each.name: int(document[each.name]) for each in fields(NetworkShape) if each.name in document})


def new_network(config: NetworkShape, seed: int) -> FloatNetwork:
    """Return an untrained network, the same for the same seed."""
    torch.manual_seed(seed)
    return FloatNetwork(config)
