"""The reference engine: the definition of the integer network, in NumPy int64.

Every other engine must give the same integers. Written to be read beside docs/FORMAT.md, "Network"; not fast.
"""

# L lanes, D width, E state width, F mlp width, G groups, S tokens a group

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.network.code import FADE_SHIFT, INPUT_SHIFT, NO_CODE, code_input, code_state
from nncomp.network.model import (
    EXP2_STEPS,
    LOGIT_BITS,
    LOGIT_MAX,
    MIN_NORM,
    NORM_SHIFT,
    OUTPUT_SHIFT,
    RESIDUAL_MAX,
    SCALE_HALF,
    SCALE_SHIFT,
    STATE_BITS,
    STATE_MAX,
    STATE_SHIFT,
    TABLE_HALF,
    Model,
)

Ints = NDArray[np.int64]


def product(activations_LK: Any, weight_NK: Any) -> Ints:
    """Return the exact sums, shape (L, N). |sum| <= 4096 * 127 * 127 < 2**27."""
    result: Ints = activations_LK.astype(np.int64) @ weight_NK.astype(np.int64).T
    return result


def normalise(x_LD: Ints) -> Ints:
    """Return x in sixteenths of its root mean square, within +-127. |x * factor| <= 2**23 * 2**26."""
    mean = (x_LD * x_LD).sum(1) // x_LD.shape[1]
    factors = np.array([(16 << NORM_SHIFT) // max(math.isqrt(int(m)), MIN_NORM) for m in mean], dtype=np.int64)
    return np.clip((x_LD * factors[:, None] + (1 << (NORM_SHIFT - 1))) >> NORM_SHIFT, -127, 127)


def squared_relu(acc: Ints, scale: Any) -> Ints:
    """Return the int8 code of relu(z)**2, 0..127. t <= 4095."""
    t = np.minimum((np.maximum(acc, 0) * scale + SCALE_HALF) >> SCALE_SHIFT, 4095)
    return np.minimum((t * t + (1 << 15)) >> 16, 127)


def frequencies(logits: Ints, exp2: Any) -> Ints:
    """Return 2**(logit - largest) in units of 2**-23, at least 1, over the last axis."""
    logits = np.clip(logits, -LOGIT_MAX, LOGIT_MAX)
    below = logits.max(-1, keepdims=True) - logits
    shifts = np.minimum(below >> LOGIT_BITS, 31)
    return np.maximum(exp2.astype(np.int64)[below & (EXP2_STEPS - 1)] >> shifts, 1)


class ReferenceEngine:
    """L lanes of the network, advancing in step, with the code of a block if there is one."""

    def __init__(self, model: Model, lanes: int, code: int = NO_CODE) -> None:
        self.model, s = model, model.sizes
        self.h = np.zeros((s["layer_count"], lanes, s["state_width"]), np.int64)
        self.before = np.zeros((s["layer_count"], lanes, s["width"]), np.int64)
        self.hidden = np.zeros((lanes, s["width"]), np.int64)
        self.code = np.zeros(s["width"], np.int64)
        if code:
            assert model.code is not None
            self.h += code_state(model.code, code)[:, None]
            self.code = code_input(model.code, code)

    def _table_index(self, z: Ints) -> Ints:
        return np.clip(z, -TABLE_HALF, TABLE_HALF - 1) + TABLE_HALF

    def _layer(self, i: int, x: Ints) -> Ints:
        a, e = self.model.arrays, self.h.shape[2]
        y = normalise(x)
        shift = a.shift[i].astype(np.int64)
        u = (y * (128 - shift) + self.before[i] * shift + 64) >> 7
        self.before[i] = y
        gates = product(u, a.gates_weight[i]) * a.gates_scale[i] + a.gates_bias[i]
        rate = a.sigmoid.astype(np.int64)[self._table_index(gates[:, :e] >> SCALE_SHIFT)]
        c = np.clip(gates[:, e : 2 * e] >> STATE_SHIFT, -STATE_MAX, STATE_MAX)
        gate = a.silu.astype(np.int64)[self._table_index(gates[:, 2 * e :] >> SCALE_SHIFT)]
        # |c - h| <= 2**27, rate <= 2**20; h stays between its old value and c
        self.h[i] += ((c - self.h[i]) * rate + (1 << (STATE_BITS - 1))) >> STATE_BITS
        gated = (self.h[i] * gate) >> 16  # |h| <= 2**26, |gate| <= 2**20
        out = np.clip((gated * int(a.state_scale[i]) + (1 << (OUTPUT_SHIFT - 1))) >> OUTPUT_SHIFT, -127, 127)
        x = self._add(x, product(out, a.state_out_weight[i]), a.state_out_scale[i])
        z = squared_relu(product(normalise(x), a.mlp_in_weight[i]), a.mlp_in_scale[i])
        return self._add(x, product(z, a.mlp_out_weight[i]), a.mlp_out_scale[i])

    def _add(self, x: Ints, acc: Ints, scale: Any) -> Ints:
        return np.clip(x + ((acc * scale + SCALE_HALF) >> SCALE_SHIFT), -RESIDUAL_MAX, RESIDUAL_MAX)

    def step(self, tokens_L: NDArray[np.integer[Any]]) -> Ints:
        """Feed one token to each lane; return the frequencies of the groups of the next, shape (L, G), int64."""
        a = self.model.arrays
        rows = a.embedding[tokens_L].astype(np.int64) * a.embedding_scale[tokens_L][:, None]
        x = np.clip((rows + 128) >> 8, -RESIDUAL_MAX, RESIDUAL_MAX)
        x = np.clip(x + (self.code >> INPUT_SHIFT), -RESIDUAL_MAX, RESIDUAL_MAX)  # |code| < 2**31
        self.code -= self.code >> FADE_SHIFT
        for i in range(len(self.h)):
            x = self._layer(i, x)
        self.hidden = normalise(x)
        z = squared_relu(product(self.hidden, a.group_in_weight), a.group_in_scale)
        acc = product(z, a.group_out_weight)
        return frequencies((acc * a.group_out_scale + a.group_out_bias) >> SCALE_SHIFT, a.exp2)

    def token_frequencies(self, lane: int, group: int) -> Ints:
        """Return the frequencies of the tokens of one group after the last step, shape (S,), int64."""
        a, size = self.model.arrays, self.model.group_size
        rows = slice(group * size, (group + 1) * size)
        acc = product(self.hidden[lane : lane + 1], a.token_weight[rows])[0]
        return frequencies((acc * a.token_scale[rows] + a.token_bias[rows]) >> SCALE_SHIFT, a.exp2)
