"""Compile what most tests need: `python -m tests.prepare`.

`make test` runs it beside the check of types, which keeps one core busy. Then no worker of pytest waits for another that
compiles. Without it each test compiles what it needs, once.
"""

from __future__ import annotations

import numpy as np

import nncomp
from nncomp.network.engine import Network
from nncomp.network.likeliest import likeliest
from nncomp.network.model import read_model
from nncomp.network.registry import installed_model
from nncomp.network.surprisal import surprisal_bits


def main() -> None:
    """Have the loops compiled that code blocks of tokens and of bytes, and those that report on the network."""
    text = b"what a command does with a text, what a text does with a command\n" * 20
    model = installed_model("default")
    assert nncomp.decompress(nncomp.compress(text, model=None if model is None else "default")) == text
    if model:
        network = Network(read_model(model))
        likeliest(network, np.zeros(2, np.int32), 1)
        surprisal_bits(network, np.zeros(2, np.int32), 1)


if __name__ == "__main__":
    main()
