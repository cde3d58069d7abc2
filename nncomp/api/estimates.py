"""How few bits a text needs, for programs: what `nncomp entropy` shows, as numbers and arrays."""

# U units: tokens, or bytes where a piece of the text is estimated on bytes

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nncomp.api.chosen_model import (
    OF_LEVEL,
    Bytes,
    ModelName,
    ReferenceText,
    find_with,
    opened_reference,
    to_write_with,
    whole_number,
)
from nncomp.format.numbers import MAGIC
from nncomp.stream.tasks import Coding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """The bits that a text needs, and those that its file takes. All are multiples of 2**-16 bit, so that sums are exact.

    raw_bytes, file_bytes: the sizes of the text and of the file.
    bound_bits: the estimated bound, the lowest figure for the whole text.
    cross_entropy_bits: what the predictions of the file need, before the coder rounds and the container is added.
    parts_bits: the bits of the file by what they are for, from "bound" to "container"; they add up to 8 * file_bytes.
    bits: the surprisal of each token, float64, shape (U,).
    offsets, sizes: where each token begins in the text and its bytes, int64, shape (U,).
    ids: the tokens, int32, shape (U,); of a piece that is estimated on bytes, the bytes.

    Of a file with copies, the tokens are those of the literals.
    """

    raw_bytes: int
    file_bytes: int
    bound_bits: float
    cross_entropy_bits: float
    parts_bits: dict[str, float]
    bits: NDArray[np.float64] = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    sizes: NDArray[np.int64] = field(repr=False)
    ids: NDArray[np.int32] = field(repr=False)

    @property
    def bound_bits_per_byte(self) -> float | None:
        """The bound for each byte of the text, None for an empty one."""
        return self.bound_bits / self.raw_bytes if self.raw_bytes else None

    @property
    def cross_entropy_bits_per_byte(self) -> float | None:
        """The cross-entropy for each byte of the text, None for an empty one."""
        return self.cross_entropy_bits / self.raw_bytes if self.raw_bytes else None


def estimate(data: Bytes, *, model: ModelName = OF_LEVEL, workers: int = 0, reference: ReferenceText = None) -> Estimate:
    """Return how few bits a text needs, what its file takes above that, and the surprisal of each token.

    `data` is a text, which is compressed first, or the bytes of a .nnc file. `model`, `workers` and `reference`: see
    `nncomp.compress`; for a .nnc file `model` is the model of one's own that it was made with, and `reference` is that of the
    file. Text is also estimated with the model of level 9. Raises FormatError for a .nnc file that is damaged, ModelError if a
    model is missing, NoReferenceError if the reference is, and DataError if the reference cannot be read.

    >>> import nncomp
    >>> found = nncomp.estimate(b"to be, or not to be; " * 9, model=None)
    >>> found.bound_bits <= found.cross_entropy_bits <= 8 * found.file_bytes == sum(found.parts_bits.values())
    True
    >>> int(found.sizes.sum()) == found.raw_bytes
    True
    """
    import numpy as np

    from nncomp.entropy.gap import analyse, compress_and_analyse, strongest_model

    text = bytes(memoryview(data).cast("B"))
    if text.startswith(MAGIC):
        analysis = analyse(text, find_with(model, reference), strongest_model(), whole_number(workers, "workers"))
    else:
        coding = Coding(*to_write_with(model, None), opened_reference(reference))
        analysis = compress_and_analyse(text, coding, strongest_model(), whole_number(workers, "workers"))
    pieces = analysis.estimates
    sizes = np.concatenate([np.zeros(0, np.int64), *(each.sizes for each in pieces)])
    return Estimate(
        analysis.raw_bytes,
        analysis.file_bytes,
        analysis.bound_bits,
        sum(block.coded_bits for block in analysis.blocks),
        analysis.parts,
        bits=np.concatenate([np.zeros(0), *(each.bits for each in pieces)]),
        offsets=np.cumsum(sizes) - sizes,
        sizes=sizes,
        ids=np.concatenate([np.zeros(0, np.int32), *(each.ids for each in pieces)]),
    )
