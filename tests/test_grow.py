"""A network that grows computes what it computed before, and all that is new can learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nncomp.errors import DataError
from nncomp.network.engine import Network
from nncomp.network.surprisal import surprisal_bits
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, NetworkShape
from nncomp.training.grow import grow, grown_shape, has_only_more_layers
from nncomp.training.restore import restore
from nncomp.training.shapes import named_shape
from tests.models import SHAPE, TEXT, small_model

NARROW = [{"mlp_width": 96}, {"state_width": 80}, {"group_mlp_width": 48}, {"layer_count": 4}]
ALL: dict[str, Any] = {"mlp_width": 96, "state_width": 80, "group_mlp_width": 48, "layer_count": 3}
IDS = small_model().vocabulary.encode(TEXT[:3000])


def losses(network: FloatNetwork) -> torch.Tensor:
    ids = torch.from_numpy(IDS[: len(IDS) // 4 * 4].astype(np.int64)).view(4, -1).T
    hidden, _ = network.hidden(ids[:-1], network.initial_state(4))
    return network.token_losses(hidden, ids[1:])


@pytest.mark.parametrize("sizes", [*NARROW, ALL])
def test_the_integers_compute_the_same(sizes: dict[str, int]) -> None:
    """Bits of a text are equal, not close: state, MLPs and layers."""
    model = small_model()
    grown = export(grow(model, replace(SHAPE, **sizes), 1), model.vocabulary, {})
    same = export(restore(model), model.vocabulary, {})
    assert surprisal_bits(Network(grown), IDS, 4) == surprisal_bits(Network(same), IDS, 4)


@pytest.mark.parametrize("sizes", [*NARROW, {"width": 48}, {"width": 40} | ALL])
def test_the_floats_compute_the_same(sizes: dict[str, int]) -> None:
    """With any growth, the width included: losses of tokens, without rounding, up to the order of sums."""
    before, after = restore(small_model()), grow(small_model(), replace(SHAPE, **sizes), 1)
    for network in (before, after):
        network.set_quantization("off")
    with torch.no_grad():
        torch.testing.assert_close(losses(after), losses(before), rtol=1e-4, atol=1e-4)


def test_all_that_is_new_learns() -> None:
    """After two steps nearly every number has changed: 99 % and more of each weight; a fifth or more of each is new.

    Layers alone are another way: tests/test_base_model.py.
    """
    network = grow(small_model(), replace(SHAPE, width=48, **ALL), 1)
    fresh = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(losses(network).mean())
        optimizer.step()
    for name, parameter in network.named_parameters():
        changed = (parameter != fresh[name]).float()
        of_tokens = name in ("embedding", "token_out.weight", "token_out.bias")
        part = changed[IDS] if of_tokens else changed  # rows of tokens that the text has
        assert part.mean() > 0.95, name
    old = {name: parameter.shape for name, parameter in restore(small_model()).named_parameters()}
    for name in ("layers.0.mlp_out.weight", "layers.0.state_out.weight", "group_out.weight"):
        parameter = dict(network.named_parameters())[name]
        assert (parameter[:, old[name][1] :] != 0).float().mean() > 0.95, name  # zeros before


def test_shapes_by_name() -> None:
    assert named_shape("large") == NetworkShape(layer_count=6)
    assert named_shape("default,mlp_width=1536,layer_count=5") == NetworkShape(mlp_width=1536, layer_count=5)
    for wrong in (
        "huge",
        "large,",
        "large,width",
        "large,width=0",
        "large,width=4097",
        "large,layer_count=65",
        "large,vocab_size=512",
    ):
        with pytest.raises(DataError, match=r"There is no shape|is no size of a network"):
            named_shape(wrong)


def test_a_model_only_grows() -> None:
    sizes = SHAPE.to_json() | {"code_entries": 3}
    wanted = NetworkShape(width=64, layer_count=3, state_width=64, mlp_width=64, group_mlp_width=64)
    assert grown_shape(sizes, wanted) == replace(wanted, vocab_size=512, group_count=16, start_token=10)
    with pytest.raises(DataError, match="a smaller width and mlp_width than the model"):
        grown_shape(sizes, replace(wanted, width=16, mlp_width=8))
    assert has_only_more_layers(SHAPE, replace(SHAPE, layer_count=3))
    assert not has_only_more_layers(SHAPE, SHAPE) and not has_only_more_layers(SHAPE, replace(SHAPE, layer_count=3, width=48))
