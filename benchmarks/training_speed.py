"""Tokens a second of training, on this machine's GPU if it has one: new networks, random tokens, no text needed.

    python -m benchmarks.training_speed [--shape default large,width=384] [--lanes 256 512] [--seconds 15]

Each shape is trained with each number of lanes, in float and rounded. A line says how the kernels are launched: as a recorded
graph, or one by one, and why. The first 25 steps, in which kernels are compiled, do not count; at least 25 more do. With
`--one-by-one` no graph is recorded.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nncomp.training.float_network import Quantizer, new_network
from nncomp.training.processes import autocast, choose_device
from nncomp.training.shapes import named_shape
from nncomp.training.trainer import Trainer, TrainingConfig

_VOCABULARY = 16_384
_SCALE = 1 / 16  # of all activations: a network that learned nothing has none of its own


def measure(shape: str, lanes: int, seconds: float, is_rounded: bool, is_one_by_one: bool) -> str:
    """Train for some seconds after the first 25 steps, and return a line of figures."""
    network = new_network(replace(named_shape(shape), vocab_size=_VOCABULARY), 0).to(choose_device())
    if is_rounded:
        for module in network.modules():
            if isinstance(module, Quantizer):
                module.scale.fill_(_SCALE)
        network.set_quantization("on")
    config = TrainingConfig(time_s=1e6, lanes=lanes, quantized_share=0, checkpoint_s=float("inf"))
    ids = np.random.default_rng(0).integers(0, _VOCABULARY, (4 * config.steps + 1) * lanes).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network, config, ids, Path(folder) / "checkpoint.pt")
        if is_one_by_one:
            trainer.launches = "one by one"
        with closing(trainer.run()) as run:  # a row every 25 steps
            rows = [next(run), next(run)]
            while rows[-1]["elapsed_s"] - rows[0]["elapsed_s"] < seconds:
                rows.append(next(run))
    weights = sum(p.numel() for p in network.layers.parameters())
    kind = f"{shape}, {weights / 1e6:.1f} M weights in layers, {lanes} lanes, {'rounded' if is_rounded else 'float'}"
    rate = (rows[-1]["tokens"] - rows[0]["tokens"]) / (rows[-1]["elapsed_s"] - rows[0]["elapsed_s"])
    return f"{kind}: {rate:,.0f} tokens a second, {trainer.launches}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["default"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[256])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--one-by-one", action="store_true")
    arguments = parser.parse_args(argv)
    device = choose_device()
    cpu = f"{platform.machine()}, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    with autocast(device):
        half = "bfloat16" if torch.is_autocast_enabled(device.type) else "float32"
    print(f"{name}, torch {torch.__version__}, products in {half}", flush=True)
    for shape in arguments.shape:
        for lanes in arguments.lanes:
            for is_rounded in (False, True):
                print(measure(shape, lanes, arguments.seconds, is_rounded, arguments.one_by_one), flush=True)


if __name__ == "__main__":
    main()
