"""From float to integers: a trained network becomes a model.

The export runs once, on the machine of the training. Its result is a file, so no float of this module decides a probability
when a text is coded.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.blocks.token_payload import start_extra
from nncomp.errors import ModelError
from nncomp.network.model import (
    EXP2_STEPS,
    FREQUENCY_BITS,
    LOGIT_BITS,
    OUTPUT_SHIFT,
    RESIDUAL_BITS,
    SCALE_SHIFT,
    STATE_BITS,
    STATE_SHIFT,
    TABLE_HALF,
    TABLE_STEPS,
    Arrays,
    Model,
)
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.fake_int8 import NORM_STEPS, row_scale
from nncomp.training.float_network import FloatNetwork, Layer, Linear, norm
from nncomp.training.mixing_start import first_values

ONE = 1 << SCALE_SHIFT
LOG2E = math.log2(math.e)


def _int8_rows(weight: Tensor) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return the rows as int8, and for each row the value of one step."""
    scale = row_scale(weight)
    values = torch.clamp(torch.floor(weight.detach() / scale + 0.5), -127, 127)
    return values.to(torch.int8).numpy(), scale.double().squeeze(1).numpy()


def _round(values: Any, dtype: Any) -> Any:
    info, rounded = np.iinfo(dtype), np.rint(np.asarray(values, dtype=np.float64))
    if not (np.isfinite(rounded).all() and rounded.min() >= info.min and rounded.max() <= info.max):
        raise ModelError("The trained weights are too large for the integer model; train again with another --seed.")
    return rounded.astype(dtype)


def _bias(linear: Linear, factor: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Return bias * factor, rounded; `factor` is how many units of the accumulator 1.0 has."""
    assert linear.bias is not None
    result: NDArray[np.int64] = _round(linear.bias.detach().double().numpy() * factor, np.int64)
    return result


def _relu2_scale(row: NDArray[np.float64], activation: float) -> NDArray[np.int32]:
    """Return the scale after which t * t >> 16 is the squared activation in steps of `activation`."""
    result: NDArray[np.int32] = _round(row / NORM_STEPS * 256 / math.sqrt(activation) * ONE, np.int32)
    return result


def gate_units(state_width: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what is one in each of the sums of the gates, and half of the step that they are rounded to, shape (3 E,).

    a and g index tables of 64 steps a unit, shifted by 20; c has 20 fraction bits, shifted by 10.
    """
    unit = np.repeat([TABLE_STEPS * ONE, float(1 << (STATE_BITS + STATE_SHIFT)), TABLE_STEPS * ONE], state_width)
    return unit, np.repeat([ONE // 2, 1 << (STATE_SHIFT - 1), ONE // 2], state_width)


def _export_layer(layer: Layer) -> dict[str, Any]:
    out: dict[str, Any] = {"shift": _round(layer.shift.detach().clamp(0, 1) * 128, np.uint8)}
    unit, half = gate_units(layer.state_out.weight.shape[1])
    out["gates_weight"], row = _int8_rows(layer.gates_in.weight)
    out["gates_scale"] = _round(row / NORM_STEPS * unit, np.int32)
    out["gates_bias"] = _bias(layer.gates_in, unit) + half
    state, mlp = float(layer.state_quantizer.scale), float(layer.mlp_quantizer.scale)
    out["state_scale"] = _round(2.0 ** (OUTPUT_SHIFT - STATE_BITS) / state, np.int32)
    for name, linear, activation in (("state_out", layer.state_out, state), ("mlp_out", layer.mlp_out, mlp)):
        out[f"{name}_weight"], row = _int8_rows(linear.weight)
        out[f"{name}_scale"] = _round(row * activation * 2**RESIDUAL_BITS * ONE, np.int32)
    out["mlp_in_weight"], row = _int8_rows(layer.mlp_in.weight)
    out["mlp_in_scale"] = _relu2_scale(row, mlp)
    return out


def tables() -> dict[str, NDArray[np.int32]]:
    """Return the tables of the nonlinear functions, which the model file holds."""
    z = (np.arange(2 * TABLE_HALF) - TABLE_HALF) / TABLE_STEPS
    sigmoid = 1 / (1 + np.exp(-z))
    exp2 = 2.0 ** (FREQUENCY_BITS - np.arange(EXP2_STEPS) / EXP2_STEPS)
    return {
        "sigmoid": _round(sigmoid * 2**STATE_BITS, np.int32),
        "silu": _round(z * sigmoid * 2**16, np.int32),
        "exp2": _round(exp2, np.int32),
    }


@torch.no_grad()
def export(network: FloatNetwork, vocabulary: Vocabulary, record: dict[str, Any]) -> Model:
    """Return the integer model of a network, with plain start values of mixing; the scales of its activations must be known."""
    arrays: dict[str, Any] = dict(tables())
    layers = [_export_layer(layer) for layer in network.layers if isinstance(layer, Layer)]
    arrays |= {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    arrays["embedding"], row = _int8_rows(norm(network.embedding))
    arrays["embedding_scale"] = _round(row * 2**RESIDUAL_BITS * 256, np.int32)
    activation = float(network.group_quantizer.scale)
    arrays["group_in_weight"], row = _int8_rows(network.group_in.weight)
    arrays["group_in_scale"] = _relu2_scale(row, activation)
    unit = LOG2E * 2**LOGIT_BITS * ONE
    arrays["group_out_weight"], row = _int8_rows(network.group_out.weight)
    arrays["group_out_scale"] = _round(row * activation * unit, np.int32)
    arrays["group_out_bias"] = _bias(network.group_out, unit) + ONE // 2
    arrays["token_weight"], row = _int8_rows(network.token_out.weight)
    arrays["token_scale"] = _round(row / NORM_STEPS * unit, np.int32)
    arrays["token_bias"] = _bias(network.token_out, unit) + ONE // 2
    return Model(Arrays(**arrays), vocabulary, network.config.to_json(), record, start_extra(first_values()))
