"""A causal transformer with the embedding and the output of nncomp's network, for comparison with its recurrence.

Attention over the chunk at hand and the one before it, which is kept as the state of a lane (Transformer-XL, Dai et al. 2019,
arXiv:1901.02860), rotary positions (Su et al. 2021, arXiv:2104.09864), squared ReLU as in the network. Only the
way in which a token gets information of earlier tokens differs.
"""

# T steps, L lanes, D width, H heads, M steps remembered

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nncomp.training.float_network import FloatNetwork, Linear, NetworkShape, State, norm

HEAD_WIDTH = 32


def rotate(x_LHTK: Tensor, first: int) -> Tensor:
    """Return queries or keys turned by their positions, `first` and on."""
    half = x_LHTK.shape[-1] // 2
    angle = torch.arange(first, first + x_LHTK.shape[-2])[:, None] * 10_000 ** -(torch.arange(half) / half)
    a, b = x_LHTK.float().chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).to(x_LHTK.dtype)


class Attention(nn.Module):
    """One layer: attention, then two products with a squared ReLU between, as in nncomp's network."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width, gain=0.3)
        self.mlp_in = Linear(width, mlp_width)
        self.mlp_out = Linear(mlp_width, width, gain=0.3)

    def forward(self, x_TLD: Tensor, before_MLD: Tensor, known_LM: Tensor) -> tuple[Tensor, Tensor]:
        steps, lanes, width = x_TLD.shape
        memory = before_MLD.shape[0]
        y = norm(x_TLD)
        seen = torch.cat([before_MLD.to(y.dtype), y])
        q, k, v = self.qkv(seen).view(memory + steps, lanes, 3, width // HEAD_WIDTH, HEAD_WIDTH).permute(2, 1, 3, 0, 4)
        near = torch.ones(steps, memory + steps, dtype=torch.bool).tril(memory).triu()  # the token and M before it
        allowed = near & torch.cat([known_LM, torch.ones(lanes, steps, dtype=torch.bool)], 1)[:, None, None, :]
        q, k = rotate(q[:, :, memory:], memory), rotate(k, 0)
        mixed = F.scaled_dot_product_attention(q, k, v.to(q.dtype), attn_mask=allowed)
        x = x_TLD + self.out(mixed.permute(2, 0, 1, 3).reshape(steps, lanes, width))
        x = x + self.mlp_out(F.relu(self.mlp_in(norm(x))) ** 2)
        return x, seen[-memory:].detach()


class Transformer(FloatNetwork):
    """A network with layers of attention. The state of a lane: each layer's last `memory` inputs, and their count."""

    def __init__(self, config: NetworkShape, memory: int = 256) -> None:
        super().__init__(config)
        self.memory = memory
        self.layers = nn.ModuleList(Attention(config.width, config.mlp_width) for _ in range(config.layer_count))

    def initial_state(self, lanes: int) -> State:
        width = self.config.width
        return [(torch.zeros(lanes, self.memory, width), torch.zeros(lanes, 1)) for _ in self.layers]

    def hidden(self, ids_TL: Tensor, state: State, code_LD: Tensor | None = None) -> tuple[Tensor, State]:
        x = norm(F.embedding(ids_TL, self.embedding))
        after: State = []
        for layer, (before, count) in zip(self.layers, state, strict=True):
            known = torch.arange(self.memory, 0, -1) <= count
            x, seen = layer(x, before.transpose(0, 1), known)
            after.append((seen.transpose(0, 1), (count + len(ids_TL)).clamp_max(self.memory)))
        return norm(x), after
