"""The two halves of a network, for two threads that feed the same lanes together: each reads its half of the weights only.

A half has some of the states, of the inner outputs of each MLP and of those before the groups. A product with a half of them
gives a part of each sum. `engine.feed` adds the parts, twice a layer and once for the groups: the sums of the whole network.
"""

# L lanes, D width, N layers, E state width, F mlp width, H group mlp width, G groups

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.network import tiles
from nncomp.network.engine import Constants, Network, layer_weights
from nncomp.network.products import TILES, pack
from nncomp.network.state import Exchange, Scratch, State, new_exchanges, new_scratch, new_state

_HALVED = "state_width", "mlp_width", "group_mlp_width"


def _slices(sizes: dict[str, int], half: int) -> list[slice]:
    """Return which of the states, of the inner outputs of an MLP and of those before the groups a half has."""
    slices = []
    for size in (sizes[name] for name in _HALVED):
        cut = -(-size // 2 // tiles.OUTPUTS) * tiles.OUTPUTS if size > tiles.OUTPUTS else size // 2  # as the tiles want it
        slices.append(slice(cut, size) if half else slice(0, cut))
    return slices


def _constants(network: Network, half: int, lanes: int) -> Constants:
    """Return the arrays of a half; the weights are not packed yet."""
    c = network.constants(lanes)
    a = c.arrays
    e, f, h = _slices(network.model.sizes, half)

    def of_gates(array: NDArray[Any]) -> NDArray[Any]:
        n, _, *rest = array.shape
        return array.reshape(n, 3, -1, *rest)[:, :, e].reshape(n, -1, *rest)

    parts = {
        **{name: of_gates(getattr(a, name)) for name in ("gates_weight", "gates_scale", "gates_bias")},
        **{name: getattr(a, name)[:, f] for name in ("mlp_in_weight", "mlp_in_scale")},
        "state_out_weight": a.state_out_weight[:, :, e],
        "mlp_out_weight": a.mlp_out_weight[:, :, f],
        "group_in_weight": a.group_in_weight[h],
        "group_in_scale": a.group_in_scale[h],
        "group_out_weight": a.group_out_weight[:, h],
    }
    return c._replace(
        arrays=a._replace(**{name: np.ascontiguousarray(array) for name, array in parts.items()}),
        mlp_out_turned=np.ascontiguousarray(c.mlp_out_turned[:, f]),
        mlp_threshold=np.ascontiguousarray(c.mlp_threshold[:, f]),
    )


class Half(NamedTuple):
    """Half of a network as `engine.feed` takes it, and the first state of its lanes."""

    constants: Constants
    state: State
    scratch: Scratch
    exchange: Exchange
    places: slice  # of the states of the whole network: those that the half has
    kept: list[NDArray[np.uint8]]  # `constants.packed` points into them


def halves(network: Network, lanes: int) -> list[Half]:
    """Return the halves of a network for L lanes; an empty list for a network that is too narrow or whose sizes do not suit."""
    both = [_constants(network, half, lanes) for half in range(2)]
    weights = [layer_weights(constants.arrays) for constants in both]
    shapes = [weight.shape for of_half in weights for weight in of_half]
    product = int(network.constants(lanes).product)
    if not all(map(min, shapes)) or (product == TILES and not all(tiles.fits(n, k) for n, k in shapes)):
        return []
    sizes, found = network.model.sizes, list[Half]()
    exchanges = new_exchanges(sizes, lanes)
    for half, constants in enumerate(both):
        slices = _slices(sizes, half)
        own_sizes = {name: part.stop - part.start for name, part in zip(_HALVED, slices, strict=True)}
        pairs = [pack(product, weight) for weight in weights[half]]
        packed = np.array([address for address, _ in pairs], np.uint64)
        packed = np.concatenate([packed, constants.packed[len(pairs) :]])  # the tokens of a group are predicted by one thread
        state = new_state(network.model, lanes)
        state = state._replace(h=np.ascontiguousarray(state.h[:, :, slices[0]]))
        scratch, kept = new_scratch(sizes | own_sizes, lanes), [buffer for _, buffer in pairs]
        found.append(Half(constants._replace(packed=packed), state, scratch, exchanges[half], slices[0], kept))
    return found
