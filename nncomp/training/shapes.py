"""The shapes of networks: their sizes, and the names of some. Knows nothing of what a network computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from nncomp.errors import DataError
from nncomp.network.model import MAX_LAYERS, MAX_WIDTH

SIZES = "width", "layer_count", "state_width", "mlp_width", "group_mlp_width"  # that can grow


@dataclass(frozen=True)
class NetworkShape:
    """The sizes of a network; stored with the weights."""

    vocab_size: int = 8192
    group_count: int = 128
    width: int = 256
    layer_count: int = 4
    state_width: int = 256
    mlp_width: int = 1024
    group_mlp_width: int = 512
    start_token: int = 0

    @property
    def group_size(self) -> int:
        return self.vocab_size // self.group_count

    def to_json(self) -> dict[str, int]:
        """Return the sizes."""
        return asdict(self)


SHAPES = {
    "fast": NetworkShape(width=128, layer_count=3, state_width=192, mlp_width=512, group_mlp_width=256),
    "default": NetworkShape(),
    "large": NetworkShape(layer_count=6),
}  # "fast" and "default" are those of the models with these names


def named_shape(text: str) -> NetworkShape:
    """Return the shape that a name and sizes say. Raises DataError for another name, or a size that no network has.

    >>> named_shape("large,mlp_width=1536").to_json()["mlp_width"]
    1536
    """
    name, *changes = text.split(",")
    if name not in SHAPES:
        raise DataError(f"There is no shape {name!r}: shapes are {', '.join(SHAPES)}.")
    sizes = {}
    for change in changes:
        size, _, number = change.partition("=")
        most = MAX_LAYERS if size == "layer_count" else MAX_WIDTH
        if size not in SIZES or not number.isdecimal() or not 0 < int(number) <= most:
            raise DataError(f"{change!r} is no size of a network: write it like {SIZES[0]}=384; sizes are {', '.join(SIZES)}.")
        sizes[size] = int(number)
    return replace(SHAPES[name], **sizes)
