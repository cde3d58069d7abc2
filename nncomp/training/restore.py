"""From an integer model back to a network in float: what `nncomp train --init` begins with.

The inverse of `nncomp.training.export`, as far as int8 allows. One factor is free in the integer model: the weights before a
squared activation may be larger if the weights after it are smaller. It is chosen so that both have about the same size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.network.model import LOGIT_BITS, OUTPUT_SHIFT, RESIDUAL_BITS, STATE_BITS, Model
from nncomp.training.export import LOG2E, ONE, gate_units
from nncomp.training.fake_int8 import NORM_STEPS
from nncomp.training.float_network import FloatNetwork, Layer, load_config

_EMBEDDING_RMS = 0.2  # of a row: the norm divides by it again; a smaller row changes its direction faster in training


def _rows(weight: NDArray[np.int8], step: NDArray[Any]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = weight * step[:, None]
    return result


def _rms(weight: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(weight * weight)))


def _around_square(
    weight_in: NDArray[np.int8],
    scale_in: NDArray[np.int32],
    weight_out: NDArray[np.int8],
    scale_out: NDArray[np.int32],
    unit: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the two weights around a squared activation, and its scale; inverse of `export._relu2_scale`."""
    before = _rows(weight_in, scale_in * (NORM_STEPS / 256 / ONE))
    after = _rows(weight_out, scale_out / unit)
    root = (_rms(after) / _rms(before)) ** (1 / 3)
    return before * root, after / root**2, root**2


@torch.no_grad()
def restore(model: Model) -> FloatNetwork:
    """Return a network with the weights and the scales of activations of the integer model, and quantisation on.

    So the network computes what the model computes, up to float rounding. The export of the network gives the model's
    integers, give or take 1.
    """
    a, network = model.arrays, FloatNetwork(load_config(model.sizes))

    def put(parameter: Tensor | None, values: Any) -> None:
        assert parameter is not None
        parameter.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))

    put(network.embedding, _EMBEDDING_RMS * _rows(a.embedding, a.embedding_scale / (2.0**RESIDUAL_BITS * 256)))
    logit = LOG2E * 2**LOGIT_BITS * ONE
    before, after, scale = _around_square(a.group_in_weight, a.group_in_scale, a.group_out_weight, a.group_out_scale, logit)
    put(network.group_in.weight, before)
    put(network.group_out.weight, after)
    put(network.group_out.bias, (a.group_out_bias - ONE // 2) / logit)
    put(network.group_quantizer.scale, scale)
    put(network.token_out.weight, _rows(a.token_weight, a.token_scale * (NORM_STEPS / logit)))
    put(network.token_out.bias, (a.token_bias - ONE // 2) / logit)
    unit, half = gate_units(model.sizes["state_width"])
    residual = 2.0**RESIDUAL_BITS * ONE
    for n, layer in enumerate(network.layers):
        assert isinstance(layer, Layer)
        put(layer.shift, a.shift[n] / 128)
        put(layer.gates_in.weight, _rows(a.gates_weight[n], a.gates_scale[n] * NORM_STEPS / unit))
        put(layer.gates_in.bias, (a.gates_bias[n] - half) / unit)
        state = 2.0 ** (OUTPUT_SHIFT - STATE_BITS) / float(a.state_scale[n])
        put(layer.state_quantizer.scale, state)
        put(layer.state_out.weight, _rows(a.state_out_weight[n], a.state_out_scale[n] / (state * residual)))
        before, after, scale = _around_square(
            a.mlp_in_weight[n], a.mlp_in_scale[n], a.mlp_out_weight[n], a.mlp_out_scale[n], residual
        )
        put(layer.mlp_in.weight, before)
        put(layer.mlp_out.weight, after)
        put(layer.mlp_quantizer.scale, scale)
    network.set_quantization("on")
    return network
