"""The encoder of a table of codes: which codes may suit a text, by the embedding of its first tokens.

It is linear: the sum of the tokens' rows of the embedding, times a matrix. It learns from what the integer network needs for
beginnings of texts with each code. The sender tries the few codes that the encoder names, in place of all.
"""

# B texts, T tokens of each, K codes, D width

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.blocks.code_choice import code_bits
from nncomp.blocks.token_payload import model_start
from nncomp.network.code import STEPS_MAX
from nncomp.network.engine import Network
from nncomp.network.model import Model

_TEXTS = 4000  # that are coded with all codes, at most
_PREFIXES = 12, 24, 48  # tokens: short texts must be recognised, too
_SHARPNESS_BITS = 2.0  # a code that saves so many bits more is e times as likely to be wanted
_STEPS, _RATE, _DECAY = 300, 0.02, 0.01


def with_encoder(model: Model, ids_BT: NDArray[np.int64], random: np.random.Generator) -> Model:
    """Return the model with an encoder for its table of codes; `ids_BT` are beginnings of texts, negative after an end."""
    assert model.code is not None
    rows = random.permutation(len(ids_BT))[:_TEXTS]
    network = Network(model)
    start, codes = model_start(network), range(len(model.code.input) + 1)
    inputs, saved = list[NDArray[Any]](), list[NDArray[np.float64]]()
    for ids in ids_BT[rows, : _PREFIXES[-1]]:
        known = ids[ids >= 0]
        bits_NC = code_bits(network, start, known, codes).cumsum(0)
        for end in (n for n in _PREFIXES if n <= len(known)):
            inputs.append(model.arrays.embedding[known[:end]].mean(0))
            saved.append(bits_NC[end - 1, :1] - bits_NC[end - 1, 1:])
    matrix = _fitted(np.array(inputs, np.float32), np.array(saved, np.float32))
    return replace(model, code=model.code._replace(encoder=matrix))


def _fitted(inputs_BD: NDArray[np.float32], saved_BK: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return the encoder, shape (K, D), for which the codes that save most are the likeliest ones."""
    inputs = torch.from_numpy(inputs_BD / inputs_BD.std())
    wanted = torch.softmax(torch.from_numpy(saved_BK) / _SHARPNESS_BITS, 1)
    weight = torch.zeros(saved_BK.shape[1], inputs_BD.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([weight], weight_decay=_DECAY)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(inputs @ weight.T, wanted))
        optimizer.step()
    found = weight.detach().numpy()
    return np.rint(found * (STEPS_MAX / max(float(np.abs(found).max()), 1e-9))).astype(np.int16)
