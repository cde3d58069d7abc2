"""The network on a device of torch: where `--device` leads. Knows nothing of torch but that it may be missing."""

from __future__ import annotations

from nncomp.errors import DeviceError
from nncomp.network.model import IntegerModel
from nncomp.network.outside_network import OutsideModel


def open_outside(model: IntegerModel, device: str) -> OutsideModel:
    """Return the model with its network on a device of torch: cpu, cuda or cuda:N; raises DeviceError when that cannot be."""
    try:
        from nncomp.network.torch_engine import TorchModel
    except ImportError as error:
        raise DeviceError(
            f"The network runs on a device ({device}) only with torch ({error}): pip install torch, or leave --device away."
        ) from error
    return TorchModel(model, device)
