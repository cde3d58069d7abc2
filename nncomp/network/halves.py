"""The two halves of a network, for two threads that feed one lane together: each reads its half of the weights only.

The states, the outputs of the MLP and those before the groups are halved. What is computed from a half of them is a part of
each sum, and the parts are added (`engine.feed`): twice a layer and once for the groups. So the integers are those of the whole.
"""

# D width, N layers, E state width, F mlp width, H group mlp width, G groups

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.network import vnni
from nncomp.network.engine import Buffers, Network, buffers_of, layer_weights, new_buffers
from nncomp.network.products import TILES, pack

_HALVED = "state_width", "mlp_width", "group_mlp_width"
_APART = 16  # int32 between the sums of the two threads, and words between their counters: other cache lines


def _slices(sizes: dict[str, int], half: int) -> list[slice]:
    """Return which of the states, of the outputs of the MLP and of those before the groups a half has."""
    slices = []
    for size in (sizes[name] for name in _HALVED):
        cut = -(-size // 2 // vnni.OUTPUTS) * vnni.OUTPUTS if size > vnni.OUTPUTS else size // 2  # as the tiles want it
        slices.append(slice(cut, size) if half else slice(0, cut))
    return slices


def _operands(model: Network, half: int) -> Any:
    a = model.arrays
    e, f, h = _slices(model.model.sizes, half)

    def of_gates(array: NDArray[Any]) -> NDArray[Any]:
        n, _, *rest = array.shape
        return array.reshape(n, 3, -1, *rest)[:, :, e].reshape(n, -1, *rest)

    parts = {
        **{name: of_gates(getattr(a, name)) for name in ("gates_weight", "gates_scale", "gates_bias")},
        **{name: getattr(a, name)[:, f] for name in ("mlp_in_weight", "mlp_in_scale", "mlp_out_KN", "mlp_threshold")},
        "state_out_weight": a.state_out_weight[:, :, e],
        "mlp_out_weight": a.mlp_out_weight[:, :, f],
        "group_in_weight": a.group_in_weight[h],
        "group_in_scale": a.group_in_scale[h],
        "group_out_weight": a.group_out_weight[:, h],
    }
    return a._replace(**{name: np.ascontiguousarray(array) for name, array in parts.items()})


class Half(NamedTuple):
    """Half of a network as `engine.feed` takes it, and the first state of its one lane."""

    packed: NDArray[np.uint64]
    arrays: Any  # Operands
    buffers: Buffers
    states: slice  # of the whole network's that it has
    kept: list[NDArray[np.uint8]]  # `packed` points into them


def halves(model: Network, digits_C: NDArray[np.int64] | None = None) -> list[Half]:
    """Return the halves of a network for one lane, or an empty list for one that is too narrow or has sizes that do not suit."""
    both = [_operands(model, half) for half in range(2)]
    weights = [layer_weights(arrays) for arrays in both]
    shapes = [weight.shape for of_half in weights for weight in of_half]
    if not all(map(min, shapes)) or (model.product == TILES and not all(vnni.fits(n, k) for n, k in shapes)):
        return []
    sizes, whole, found = model.model.sizes, new_buffers(model.model, 1, digits_C), list[Half]()
    widest = max(sizes["width"], sizes["group_count"]) + _APART
    met, shown = np.zeros((2, _APART), np.int64), np.zeros((2, 2, widest), np.int32)
    for half, arrays in enumerate(both):
        slices = _slices(sizes, half)
        own_sizes = {name: part.stop - part.start for name, part in zip(_HALVED, slices, strict=True)}
        pairs = [pack(int(model.product), weight) for weight in weights[half]]
        packed = np.array([address for address, _ in pairs], np.uint64)
        packed = np.concatenate([packed, model.packed[len(pairs) :]])  # the tokens of a group are predicted by one thread
        buffers = buffers_of(sizes | own_sizes, model.model.group_size, 1, 1)
        first = np.ascontiguousarray(whole.h[:, :, slices[0]])
        buffers = buffers._replace(h=first, code=whole.code, met=met, shown=shown, half=half)
        found.append(Half(packed, arrays, buffers, slices[0], [buffer for _, buffer in pairs]))
    return found
