"""A larger network that begins with what a smaller one knows: it computes the same until it learns.

New units read with random weights and are read with weights of zero (Net2Net, Chen et al. 2016, arXiv:1511.05641). A new layer
is a copy of the last one that adds nothing. What is written is zero and what is read is not, so both learn from the first step.

The norm divides by the root mean square over all channels. New channels of the width are zero: their sum of squares stays the
same, and the mean becomes smaller, by s**2 = old width / new width. So the old channels are kept 1 / s times as large. The norm
of the embedding's rows makes them so, and the weights that write to channels are multiplied by 1 / s. Then the norm divides by
the same numbers as before, its output is 1 / s times as large, and the weights that read the output are multiplied by s.
In float this is exact up to rounding. The rounded network changes a little when the width grows: the norm's output has 1 / s
times as many steps, and is clipped sooner. All other growth changes no integer of the old units.
"""

# R rows (outputs), K columns (inputs)

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from nncomp.errors import DataError
from nncomp.network.model import Model
from nncomp.training.float_network import FloatNetwork, Layer, NetworkShape, load_config
from nncomp.training.restore import restore
from nncomp.training.shapes import SIZES


def grown_shape(sizes: dict[str, int], wanted: NetworkShape) -> NetworkShape:
    """Return the shape of a model of these sizes after it has grown. It keeps its vocabulary.

    Raises DataError when the model is larger in any size.
    """
    old = load_config(sizes)
    larger = [name for name in SIZES if getattr(old, name) > getattr(wanted, name)]
    if larger:
        raise DataError(f"A model only grows: the shape has a smaller {' and '.join(larger)} than the model to start from.")
    return replace(old, **{name: getattr(wanted, name) for name in SIZES})


def has_only_more_layers(old: NetworkShape, new: NetworkShape) -> bool:
    """Return whether a shape has more layers than another, and no other difference."""
    return new.layer_count > old.layer_count and replace(new, layer_count=old.layer_count) == old


def _reading(new: Tensor, old: Tensor, factor: float, parts: int = 1) -> None:
    """Fill a weight that reads, shape (R, K): the old weight times `factor`, and random numbers of its size elsewhere.

    The rows have `parts` equal parts, and each grows by itself. No new number of an old row is larger than the row's largest, so
    that rounding to int8 keeps its scale.
    """
    old = old * factor
    new.normal_(0.0, float(old.square().mean().sqrt()))
    for to, of in zip(new.chunk(parts), old.chunk(parts), strict=True):
        rows, columns = of.shape
        limit = of.abs().amax(1, keepdim=True)
        to[:rows].clamp_(-limit, limit)
        to[:rows, :columns] = of


def _writing(new: Tensor, old: Tensor, factor: float = 1.0) -> None:
    """Fill a weight that writes, shape (R, K), or a row of numbers: the old one times `factor`, and zeros elsewhere."""
    new.zero_()
    new[tuple(slice(0, size) for size in old.shape)] = old * factor


def _grow_layer(new: Layer, old: Layer, factor: float, is_silent: bool) -> None:
    """Fill a layer from an old one; `factor` is s of the module's docstring. A silent layer adds nothing."""
    new.shift[: len(old.shift)] = old.shift
    _reading(new.gates_in.weight, old.gates_in.weight, factor, 3)
    assert new.gates_in.bias is not None and old.gates_in.bias is not None
    added = len(new.gates_in.bias) // 3 - len(old.gates_in.bias) // 3
    forget = -torch.linspace(0, 6, added)  # as in a new network
    for number, (to, of) in enumerate(zip(new.gates_in.bias.chunk(3), old.gates_in.bias.chunk(3), strict=True)):
        to[:] = torch.cat([of, forget if number == 0 else torch.zeros(added)])
    _reading(new.mlp_in.weight, old.mlp_in.weight, factor)
    for to, of in ((new.state_out.weight, old.state_out.weight), (new.mlp_out.weight, old.mlp_out.weight)):
        _writing(to, of, 0.0 if is_silent else 1 / factor)
    new.state_quantizer.scale.copy_(old.state_quantizer.scale)
    new.mlp_quantizer.scale.copy_(old.mlp_quantizer.scale)


@torch.no_grad()
def grow(model: Model, shape: NetworkShape, seed: int) -> FloatNetwork:
    """Return a network of a larger shape that computes what the model computes, rounded from the first step; see above.

    `shape` is one that `grown_shape` returns. If it only has more layers, only these and the weights of the groups learn.
    """
    base = restore(model)
    torch.manual_seed(seed)
    network = FloatNetwork(shape)
    factor = sqrt(base.config.width / shape.width)
    _writing(network.embedding, base.embedding)
    for number, layer in enumerate(network.layers):
        old = base.layers[min(number, base.config.layer_count - 1)]
        assert isinstance(layer, Layer) and isinstance(old, Layer)
        _grow_layer(layer, old, factor, number >= base.config.layer_count)
    _reading(network.group_in.weight, base.group_in.weight, factor)
    _writing(network.group_out.weight, base.group_out.weight)
    _reading(network.token_out.weight, base.token_out.weight, factor)
    for to, of in ((network.group_out.bias, base.group_out.bias), (network.token_out.bias, base.token_out.bias)):
        assert to is not None and of is not None
        to.copy_(of)
    network.group_quantizer.scale.copy_(base.group_quantizer.scale)
    network.set_quantization("on")
    if has_only_more_layers(base.config, shape):
        network.freeze(base.config.layer_count)
    return network
