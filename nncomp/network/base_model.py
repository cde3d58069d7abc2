"""A model that builds on a base model: its file has only the layers above the base's and the arrays that predict the groups.

So a large model needs little space beside a small one. The file names its base by the SHA-256 of the base's file, and takes all
other arrays from it. Knows nothing of where files are.
"""

from __future__ import annotations

import numpy as np

from nncomp.errors import ModelError
from nncomp.network.tensors import Tensors

LAYERS = (
    "shift", "gates_weight", "gates_scale", "gates_bias", "state_scale", "state_out_weight", "state_out_scale",
    "mlp_in_weight", "mlp_in_scale", "mlp_out_weight", "mlp_out_scale",
)  # fmt: skip
GROUPS = "group_in_weight", "group_in_scale", "group_out_weight", "group_out_scale", "group_out_bias"


def own_tensors(tensors: Tensors, base: Tensors) -> Tensors:
    """Return those tensors of a model that its file must have beside the tensors of its base."""
    first = len(base["shift"])
    return {name: np.ascontiguousarray(tensors[name][first:]) for name in LAYERS} | {name: tensors[name] for name in GROUPS}


def joined(own: Tensors, base: Tensors) -> Tensors:
    """Return the tensors of a model, joined from its file and its base; raises ModelError when their layers do not fit."""
    both = {name: array for name, array in base.items() if not name.startswith("code_")} | own
    for name in LAYERS:
        if name not in own:
            raise KeyError(name)
        kinds = [(array.dtype, array.ndim, array.shape[1:]) for array in (own[name], base[name])]
        if kinds[0] != kinds[1]:
            raise ModelError(f"The model's array {name} does not fit the array of its base; the model file is damaged.")
        both[name] = np.concatenate([base[name], own[name]])
    return both
