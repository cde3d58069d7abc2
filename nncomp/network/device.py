"""The network on a device of torch, for `--device`. Knows nothing of torch but that it may not be installed."""

from __future__ import annotations

from nncomp.errors import DeviceError
from nncomp.network.model import Model
from nncomp.network.outside_network import OutsideNetwork


def open_outside(model: Model, device: str) -> OutsideNetwork:
    """Return the network of a model on a device of torch: cpu, cuda or cuda:N; raises DeviceError when it cannot run there."""
    try:
        from nncomp.network.torch_engine import TorchNetwork
    except ImportError as error:
        raise DeviceError(
            f"The network runs on a device ({device}) only with torch ({error}): pip install torch, or leave --device away."
        ) from error
    return TorchNetwork(model, device)
