"""*Network*: one lane's states, and the probability of each node that they give."""

from __future__ import annotations

import math

import numpy as np

from checks.independent.model_file import Model
from checks.independent.tables import Ints, clip


def _normalise(x: Ints) -> Ints:
    mean = int((x * x).sum()) // len(x)
    factor = 2**32 // max(math.isqrt(mean), 64)
    return clip((x * factor + 2**27) >> 28, 127)


def _add(x: Ints, acc: Ints, scale: Ints) -> Ints:
    return clip(x + ((acc * scale + 2**19) >> 20), 2**23)


def _relu2(acc: Ints, scale: Ints) -> Ints:
    t = np.minimum((np.maximum(acc, 0) * scale + 2**19) >> 20, 4095)
    return clip((t * t + 2**15) >> 16, 127)


def _table(table: Ints, z: Ints) -> Ints:
    found: Ints = table[np.minimum(np.maximum(z, -1024), 1023) + 1024]
    return found


class Networks:
    """One lane of each network of a model. The first one has the code."""

    def __init__(self, model: Model, code: int) -> None:
        self.lanes = [Lane(model, code), *([Lane(model.second, 0)] if model.second else [])]

    def step(self, token: int) -> None:
        """Take a token; the probabilities are then those of the next one."""
        for lane in self.lanes:
            lane.step(token)

    def p1(self, node: int) -> list[int]:
        """Return each network's probability of the decision 1 at a node, after a step."""
        return [lane.p1(node) for lane in self.lanes]


class Lane:
    """The network's states in one lane, all 0 at first, or what the code says; 0 is no code."""

    def __init__(self, model: Model, code: int) -> None:
        self.sizes, self.arrays = model.sizes, model.arrays
        layers = model.sizes["layer_count"]
        self.h = np.zeros((layers, model.sizes["state_width"]), np.int64)
        self.before = np.zeros((layers, model.sizes["width"]), np.int64)
        self.told = np.zeros(model.sizes["width"], np.int64)
        if code:
            self.h += model.code["code_state"][code - 1] << 8
            self.told += model.code["code_input"][code - 1] << 16

    def step(self, token: int) -> None:
        """Take a token; the probabilities are then those of the next one."""
        a = self.arrays
        x = clip((a["embedding"][token] * a["embedding_scale"][token] + 128) >> 8, 2**23)
        x = clip(x + (self.told >> 16), 2**23)
        self.told = self.told - (self.told >> 8)
        for layer in range(self.sizes["layer_count"]):
            x = self._layer(x, layer)
        self.hidden = _normalise(x)
        inner = _relu2(a["group_in_weight"] @ self.hidden, a["group_in_scale"])
        groups = slice(None)
        self.groups = self._frequencies(a["group_out_weight"] @ inner, a["group_out_scale"], a["group_out_bias"], groups)
        self.in_group: dict[int, list[int]] = {}

    def _layer(self, x: Ints, layer: int) -> Ints:
        a = {name: self.arrays[name][layer] for name in self.arrays if name.startswith(("shift", "gates", "state", "mlp"))}
        y = _normalise(x)
        u = (y * (128 - a["shift"]) + self.before[layer] * a["shift"] + 64) >> 7
        self.before[layer] = y
        g = a["gates_weight"] @ u * a["gates_scale"] + a["gates_bias"]
        first, second, third = np.split(g, 3)
        rate = _table(self.arrays["sigmoid"], first >> 20)
        c = clip(second >> 10, 2**26)
        gate = _table(self.arrays["silu"], third >> 20)
        h = self.h[layer]
        h += ((c - h) * rate + 2**19) >> 20
        out = clip((((h * gate) >> 16) * a["state_scale"] + 2**31) >> 32, 127)
        x = _add(x, a["state_out_weight"] @ out, a["state_out_scale"])
        z = _relu2(a["mlp_in_weight"] @ _normalise(x), a["mlp_in_scale"])
        return _add(x, a["mlp_out_weight"] @ z, a["mlp_out_scale"])

    def _frequencies(self, acc: Ints, scale: Ints, bias: Ints, rows: slice) -> list[int]:
        logit = clip((acc * scale[rows] + bias[rows]) >> 20, 2**20)
        below = logit.max() - logit
        table = self.arrays["exp2"]
        return np.maximum(table[below % 1024] >> np.minimum(below >> 10, 31), 1).tolist()  # type: ignore[no-any-return]

    def _token_frequencies(self, group: int) -> list[int]:
        if group not in self.in_group:
            size = self.sizes["vocab_size"] // self.sizes["group_count"]
            rows, a = slice(group * size, (group + 1) * size), self.arrays
            self.in_group[group] = self._frequencies(
                a["token_weight"][rows] @ self.hidden, a["token_scale"], a["token_bias"], rows
            )
        return self.in_group[group]

    def p1(self, node: int) -> int:
        """Return the probability of the decision 1 at a node, after a step."""
        frequencies = self.groups
        if node >= len(self.groups):  # the group is known: a 1 and its bits are followed by decisions among its tokens
            further = node.bit_length() - len(self.groups).bit_length()
            frequencies = self._token_frequencies((node >> further) - len(self.groups))
            node = 1 << further | node % 2**further
        depth = node.bit_length() - 1
        half = len(frequencies) >> depth + 1
        start = (node - (1 << depth)) * 2 * half
        zeros, ones = sum(frequencies[start : start + half]), sum(frequencies[start + half : start + 2 * half])
        return min(max((ones * 65536 + (zeros + ones) // 2) // (zeros + ones), 1), 65535)
