"""The integer network as operations of torch, on any device; same integers as `nncomp.network.engine_reference`, by test.

`TorchEngine.run` takes any number of steps at once. When the tokens are known, everything but the recurrence is computed for
whole chunks of steps and lanes; only h goes from step to step. A single step is a chunk of one. All numbers are int64 but those
of the products (`nncomp.network.torch_products`) and of the square root (float64, corrected). Knows nothing of mixing or coding.
"""

# T steps, L lanes, R rows (T * L, or some of them), D width, E state width, G groups, S tokens a group, N layers

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.errors import DeviceError
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
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.torch_products import Packed, choose_product

_CHUNK_TOKENS = {"cpu": 256, "cuda": 1 << 15}  # in work at once: each takes some 40 KB, and a CPU wants them in its cache


def integer_sqrt(value: Tensor) -> Tensor:
    """Return floor(sqrt(value)) for 0 <= value < 2**52: the IEEE root of float64, off by less than one, corrected."""
    root = value.to(torch.float64).sqrt().to(torch.int64)
    root = root - (root * root > value).to(torch.int64)
    return root + ((root + 1) * (root + 1) <= value).to(torch.int64)


def normalise(x_RD: Tensor) -> Tensor:
    """Return x in sixteenths of its root mean square, within +-127. |x * factor| <= 2**23 * 2**26."""
    mean = torch.div((x_RD * x_RD).sum(-1, keepdim=True), x_RD.shape[-1], rounding_mode="floor")  # sum <= 4096 * 2**46
    top = torch.full_like(mean, 16 << NORM_SHIFT)
    factor = torch.div(top, integer_sqrt(mean).clamp(min=MIN_NORM), rounding_mode="floor")
    return ((x_RD * factor + (1 << (NORM_SHIFT - 1))) >> NORM_SHIFT).clamp(-127, 127)


def squared_relu(acc: Tensor, scale: Tensor) -> Tensor:
    """Return the int8 code of relu(z)**2, 0..127. acc * scale < 2**27 * 2**31, t <= 4095."""
    t = ((acc.clamp(min=0) * scale + SCALE_HALF) >> SCALE_SHIFT).clamp(max=4095)
    return ((t * t + (1 << 15)) >> 16).clamp(max=127)


def frequencies(logits: Tensor, exp2: Tensor) -> Tensor:
    """Return 2**(logit - largest) in units of 2**-23, at least 1, over the last axis."""
    logits = logits.clamp(-LOGIT_MAX, LOGIT_MAX)
    below = logits.amax(-1, keepdim=True) - logits
    return (exp2[below & (EXP2_STEPS - 1)] >> (below >> LOGIT_BITS).clamp(max=31)).clamp(min=1)


def path_probabilities(frequencies_RS: Tensor, places_R: Tensor) -> Tensor:
    """Return p1 of each decision on the way to the place of each row, shape (R, log2 S): `decisions.node_probability`.

    >>> path_probabilities(torch.tensor([[1, 1, 1, 5]]), torch.tensor([3])).tolist()
    [[49152, 54613]]
    """
    size = frequencies_RS.shape[1]
    sums = torch.nn.functional.pad(frequencies_RS.cumsum(1), (1, 0))  # <= 256 * 2**23
    found, width = [], size
    while width > 1:
        low = places_R - places_R % width
        start, middle, end = sums.gather(1, torch.stack([low, low + width // 2, low + width], 1)).unbind(1)
        p1 = torch.div(((end - middle) << 16) + ((end - start) >> 1), end - start, rounding_mode="floor")
        found.append(p1.clamp(1, 65535))
        width //= 2
    return torch.stack(found, 1)


def open_device(name: str) -> torch.device:
    """Return torch's device of this name; raises DeviceError when it is not there, or its integers are not exact."""
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda are known to nncomp")
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("it finds no CUDA")
        _probe(device)
    except (RuntimeError, AssertionError) as error:
        said = str(error).strip().splitlines()[0].rstrip(".")
        raise DeviceError(
            f"torch {torch.__version__} cannot work on the device {name!r} ({said}); give cpu, cuda or cuda:N, "
            "or leave --device away."
        ) from error
    return device


def _probe(device: torch.device) -> None:
    """Raise DeviceError unless the square root, the floor and the shifts are those of Python at their extremes."""
    roots = [1, 2, 3, 1000, (1 << 23) - 1, 1 << 23, (1 << 26) - 1]
    values = [0, *(root * root + step for root in roots for step in (-1, 0, 1))]
    signed = [-(1 << 62), -(1 << 31) - 1, -(1 << 20), -7, -1, 0, 1, 7, (1 << 62) - 1]
    x = torch.tensor(signed, device=device)
    floor = torch.div(x, torch.full_like(x, 3), rounding_mode="floor")
    found = integer_sqrt(torch.tensor(values, device=device)).tolist(), (x >> 20).tolist(), floor.tolist()
    if found != ([math.isqrt(value) for value in values], [v >> 20 for v in signed], [v // 3 for v in signed]):
        raise DeviceError(f"The device {device} computes other integers than it must; leave --device away, and report it.")


@contextmanager
def _memory_named(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"There is not enough memory on the device {device}; try again with fewer workers: -T 1.") from error


class TorchNetwork(OutsideNetwork):
    """A model on a device: int64 arrays, and its weights as the product there wants them."""

    def __init__(self, model: Model, device: str) -> None:
        super().__init__(model)
        self.device = open_device(device)
        self.second = TorchNetwork(model.second, device) if model.second else None
        a, size = model.arrays, model.group_size
        layers = ("gates_weight", "state_out_weight", "mlp_in_weight", "mlp_out_weight")
        weights = {name: list(getattr(a, name)) for name in layers}
        weights |= {"group_in_weight": [a.group_in_weight], "group_out_weight": [a.group_out_weight]}
        weights["token_weight"] = [a.token_weight[i : i + size] for i in range(0, len(a.token_weight), size)]
        self.product_there = choose_product(self.device, [each.shape for parts in weights.values() for each in parts])
        pack = self.product_there.pack
        self.weights = {name: [pack(self.to_device(each)) for each in parts] for name, parts in weights.items()}
        self.there = {
            name: self.to_device(array).to(torch.int8 if name == "embedding" else torch.int64)
            for name, array in a._asdict().items()
            if name not in weights
        }

    def to_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)  # a copy: a model that is mapped cannot be written

    def multiply(self, a: Tensor, name: str, part: int = 0) -> Tensor:
        """Return the exact sums with a weight, shape (..., N), int64. |sum| <= 4096 * 127 * 127 < 2**27."""
        packed: Packed = self.weights[name][part]
        sums = self.product_there.multiply(a.reshape(-1, a.shape[-1]), packed)
        return sums.reshape(*a.shape[:-1], -1)

    def group_frequencies(self, hidden_RD: Tensor) -> Tensor:
        """Return the frequencies of the groups, shape (R, G)."""
        t = self.there
        z = squared_relu(self.multiply(hidden_RD, "group_in_weight"), t["group_in_scale"])
        acc = self.multiply(z, "group_out_weight")
        return frequencies((acc * t["group_out_scale"] + t["group_out_bias"]) >> SCALE_SHIFT, t["exp2"])

    def token_frequencies(self, hidden_RD: Tensor, groups_R: NDArray[np.integer[Any]]) -> Tensor:
        """Return the frequencies of the tokens of one group for each row, shape (R, S); the groups in rising order."""
        t, size = self.there, self.model.group_size
        present, firsts = np.unique(groups_R, return_index=True)
        parts = torch.split(hidden_RD, np.diff([*firsts.tolist(), len(groups_R)]).tolist())
        acc = torch.cat([self.multiply(rows, "token_weight", int(g)) for g, rows in zip(present, parts, strict=True)])
        at = self.to_device(groups_R.astype(np.int64))
        scale, bias = t["token_scale"].view(-1, size)[at], t["token_bias"].view(-1, size)[at]
        return frequencies((acc * scale + bias) >> SCALE_SHIFT, t["exp2"])

    def start(self, lanes: int, code: int) -> TorchEngine:
        """Return lanes at their first state; with the code of the block if there is one."""
        return TorchEngine(self, lanes, code)

    @torch.inference_mode()
    def probabilities(self, ids_N: NDArray[np.int32], first_ids: NDArray[np.int64], code: int) -> NDArray[np.uint16]:
        """Return the network's p1 of all decisions of known tokens in the order of coding: see OutsideNetwork."""
        counts_L = np.diff(first_ids)
        steps, lanes = int(counts_L.max()), len(counts_L)
        is_there_TL = np.arange(steps)[:, None] < counts_L
        ids_TL = np.zeros((steps, lanes), np.int64)
        ids_TL.T[is_there_TL.T] = ids_N
        before_TL = np.concatenate([np.full((1, lanes), self.model.sizes["start_token"]), ids_TL[:-1]])
        engine = self.start(lanes, code)
        found = []
        chunks = min(steps, -(-steps * lanes // _CHUNK_TOKENS[self.device.type]))
        with _memory_named(self.device):
            for part in np.array_split(np.arange(steps), chunks):
                hidden_RD, is_there = engine.run(before_TL[part]).flatten(0, 1), is_there_TL[part].ravel()
                found.append(self._path(hidden_RD[self.to_device(is_there)], ids_TL[part].ravel()[is_there]))
        return np.concatenate(found).ravel()

    def _path(self, hidden_RD: Tensor, ids_R: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Return p1 of the decisions of known tokens, shape (R, bits). Rows are ordered by group for the product, and back."""
        order_R = np.argsort(ids_R, kind="stable")
        groups_R, places_R = np.divmod(ids_R[order_R], self.model.group_size)
        hidden_RD = hidden_RD[self.to_device(order_R)]
        in_groups = path_probabilities(self.group_frequencies(hidden_RD), self.to_device(groups_R))
        in_tokens = path_probabilities(self.token_frequencies(hidden_RD, groups_R), self.to_device(places_R))
        result = np.zeros((len(ids_R), in_groups.shape[1] + in_tokens.shape[1]), np.uint16)
        result[order_R] = torch.cat([in_groups, in_tokens], 1).cpu().numpy()
        return result


class TorchEngine:
    """L lanes of the network on a device; the interface of ReferenceEngine, and many steps at once."""

    def __init__(self, network: TorchNetwork, lanes: int, code: int = NO_CODE) -> None:
        self.network, model = network, network.model
        s = model.sizes
        start, added = np.zeros((s["layer_count"], s["state_width"]), np.int64), np.zeros(s["width"], np.int64)
        if code:
            assert model.code is not None
            start, added = code_state(model.code, code), code_input(model.code, code)
        self.h = network.to_device(start)[:, None].repeat(1, lanes, 1)  # N L E
        self._code = network.to_device(added)
        self._before = torch.zeros((s["layer_count"], lanes, s["width"]), dtype=torch.int64, device=network.device)
        self._hidden = torch.zeros((lanes, s["width"]), dtype=torch.int64, device=network.device)

    def run(self, tokens_TL: NDArray[np.integer[Any]]) -> Tensor:
        """Feed T tokens to each lane; return what the groups and tokens of the next are predicted from, shape (T, L, D)."""
        t, tokens = self.network.there, self.network.to_device(tokens_TL.astype(np.int64))
        rows = t["embedding"][tokens].to(torch.int64) * t["embedding_scale"][tokens][..., None]
        x = ((rows + 128) >> 8).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)
        x = (x + self._added(len(x))[:, None]).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)
        for n in range(len(self.h)):
            x = self._layer(n, x)
        hidden_TLD = normalise(x)
        self._hidden = hidden_TLD[-1]
        return hidden_TLD

    def _added(self, steps: int) -> Tensor:
        """Return what the code adds to the inputs of the next tokens, shape (T, D). |code| < 2**31."""
        found = torch.empty((steps, len(self._code)), dtype=torch.int64, device=self.network.device)
        for row in found.unbind():
            torch.bitwise_right_shift(self._code, INPUT_SHIFT, out=row)
            self._code -= self._code >> FADE_SHIFT
        return found

    def _layer(self, n: int, x: Tensor) -> Tensor:
        m, t, e = self.network, self.network.there, self.h.shape[2]
        y = normalise(x)
        shift, before = t["shift"][n], torch.cat([self._before[n : n + 1], y[:-1]])
        self._before[n] = y[-1]
        u = (y * (128 - shift) + before * shift + 64) >> 7
        gates = m.multiply(u, "gates_weight", n) * t["gates_scale"][n] + t["gates_bias"][n]
        rate = t["sigmoid"][_table_index(gates[..., :e] >> SCALE_SHIFT)]
        c = (gates[..., e : 2 * e] >> STATE_SHIFT).clamp(-STATE_MAX, STATE_MAX)
        gate = t["silu"][_table_index(gates[..., 2 * e :] >> SCALE_SHIFT)]
        h = _recur(rate, c, self.h[n])
        self.h[n] = h[-1]
        gated = (h * gate) >> 16  # |h| <= 2**26, |gate| <= 2**20
        out = ((gated * t["state_scale"][n] + (1 << (OUTPUT_SHIFT - 1))) >> OUTPUT_SHIFT).clamp(-127, 127)
        x = _add(x, m.multiply(out, "state_out_weight", n), t["state_out_scale"][n])
        z = squared_relu(m.multiply(normalise(x), "mlp_in_weight", n), t["mlp_in_scale"][n])
        return _add(x, m.multiply(z, "mlp_out_weight", n), t["mlp_out_scale"][n])

    @property
    def hidden(self) -> NDArray[np.int64]:
        """What the tokens of a group are predicted from, after the last step, shape (L, D), int64."""
        return np.array(self._hidden.cpu().numpy())

    @torch.inference_mode()
    def step(self, tokens_L: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Feed one token to each lane; return the frequencies of the groups of the next, shape (L, G), int64."""
        with _memory_named(self.network.device):
            return np.array(self.network.group_frequencies(self.run(tokens_L[None])[0]).cpu().numpy())

    @torch.inference_mode()
    def token_frequencies(self, lane: int, group: int) -> NDArray[np.int64]:
        """Return the frequencies of the tokens of one group after the last step, shape (S,), int64."""
        return np.array(self.network.token_frequencies(self._hidden[lane : lane + 1], np.array([group]))[0].cpu().numpy())


def _table_index(z: Tensor) -> Tensor:
    return z.clamp(-TABLE_HALF, TABLE_HALF - 1) + TABLE_HALF


def _add(x: Tensor, acc: Tensor, scale: Tensor) -> Tensor:
    return (x + ((acc * scale + SCALE_HALF) >> SCALE_SHIFT)).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)


def _recur(rate_TLE: Tensor, c_TLE: Tensor, h_LE: Tensor) -> Tensor:
    """Return h after each step. Each rounds, so there is no order but this one. |c - h| <= 2**27, rate <= 2**20."""
    half, result = torch.full_like(h_LE, 1 << (STATE_BITS - 1)), torch.empty_like(c_TLE)
    for rate, c, h in zip(rate_TLE.unbind(), c_TLE.unbind(), result.unbind(), strict=True):
        torch.addcmul(half, c - h_LE, rate, out=h)
        h >>= STATE_BITS
        h += h_LE
        h_LE = h
    return result
