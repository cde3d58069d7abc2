"""The surprisal of every token, or of every byte, of a piece of text, in one lane. Nothing is written.

All surprisals are rounded to 2**-16 bit. Sums and differences of them are exact in a float64 (up to 2**37 bits), so parts add up
with `==`. Knows nothing of files.
"""

# U units: tokens or bytes

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.format.numbers import MAX_TABLE_BITS, BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.machine.forks import once
from nncomp.mixing import byte_predictor
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.registry import ModelFile

if TYPE_CHECKING:
    from nncomp.blocks import primed_tokens

UNITS_PER_BIT = 1 << 16
CODE_BITS = 8.0  # of a code: a byte in the head of a block. (Without a code it is there, too, and part of the container.)


def rounded(bits: float) -> float:
    """Return bits rounded to 2**-16.

    >>> rounded(0.1), rounded(3)
    (0.100006103515625, 3.0)
    """
    return round(bits * UNITS_PER_BIT) / UNITS_PER_BIT


@lru_cache(maxsize=2)
def open_network(model: ModelFile) -> Network:
    """Return the network of a model file; raises ModelError when the file is damaged or was changed."""
    return Network(read_model(model))


@dataclass(frozen=True, eq=False)
class Estimate:
    """The surprisal of each unit of a piece of text."""

    kind: BlockKind  # TOKENS or BYTES
    model: ModelFile | None
    bits: NDArray[np.float64] = field(repr=False)  # U, multiples of 2**-16
    sizes: NDArray[np.int64] = field(repr=False)  # U, bytes of each unit
    ids: NDArray[np.int32] = field(repr=False)  # U, the tokens; or the bytes
    code: int = 0  # the code that the network has; 0 for none
    primer: bytes = field(default=b"", repr=False)  # what was read before; empty for nothing

    @property
    def code_bits(self) -> float:
        """What the code takes: its byte, or nothing for no code."""
        return CODE_BITS if self.code else 0.0

    @once
    def total_bits(self) -> float:
        """The surprisal of the piece, and the bits of its code."""
        return float(self.bits.sum()) + self.code_bits

    @property
    def chain_bits(self) -> NDArray[np.float64]:
        """The chain-rule estimate of each unit, shape (U,): the loss up to and with the unit, less the loss before it.

        H(t_N | t_<N) = H(t_<=N) - H(t_<N) (arXiv 2511.10618). Network and mixing see only what comes before a unit. So the
        estimate is `bits`, and the first unit has the bits of the code on top. The sum is `total_bits`.
        """
        bits = self.bits.copy()
        bits[:1] += self.code_bits
        return bits


def unit_bits(decisions: NDArray[np.uint8], p1: NDArray[np.uint16], per_unit: int) -> NDArray[np.float64]:
    """Return the surprisal of each unit of `per_unit` decisions, shape (U,), rounded to 2**-16 bit."""
    return np.round(range_coder.costs_bits(decisions, p1, per_unit) * UNITS_PER_BIT) / UNITS_PER_BIT


@lru_cache(maxsize=2)
def tokens_after(model: ModelFile, primer: bytes, lines_log2: int) -> primed_tokens.Primed:
    """Return what is known after a primer, with so many lines of hash table; raises ModelError as `open_network` does."""
    from nncomp.blocks.primed_tokens import prime

    return prime(open_network(model), primer, lines_log2)


@lru_cache(maxsize=1)
def _bytes_after(primer: bytes, sizes: tuple[int, int, int]) -> byte_predictor.Primed:
    return byte_predictor.primed(primer, sizes)


def bits_of_bytes(data: bytes, table_bits: int = MAX_TABLE_BITS, primer: bytes = b"") -> NDArray[np.float64]:
    """Return the surprisal of each byte, shape (U,), rounded to 2**-16 bit, after a primer if there is one."""
    after = _bytes_after(primer, byte_predictor.sizes(len(primer) + len(data), table_bits)) if primer else None
    raw = np.frombuffer(data, np.uint8)
    return unit_bits(np.unpackbits(raw), byte_predictor.probabilities(raw, table_bits, after), 8)


@dataclass(frozen=True)
class EstimateTask:
    """A piece of text, at least one byte, to estimate: on tokens with a model, or on bytes with mixing alone.

    The network may have a code; or network and mixing have read a primer before. The tokens are those that the vocabulary takes.
    """

    data: bytes = field(repr=False)
    model: ModelFile | None
    code: int = 0
    primer: bytes = field(default=b"", repr=False)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the piece."""
        return len(self.data)

    @property
    def input_bytes(self) -> int:
        """Bytes that progress counts."""
        return len(self.data)

    def run(self) -> Estimate:
        """Return the estimate; raises ModelError when the model file is damaged or was changed."""
        raw, primer = np.frombuffer(self.data, np.uint8), self.primer
        if self.model is None:
            bits = bits_of_bytes(self.data, primer=primer)
            return Estimate(BlockKind.BYTES, None, bits, np.ones(len(raw), np.int64), raw.astype(np.int32), primer=primer)
        from nncomp.blocks.levels import lines_log2
        from nncomp.blocks.primed_tokens import predict_after
        from nncomp.blocks.token_payload import model_start, predict_tokens

        network, lines = open_network(self.model), lines_log2(len(primer) + len(self.data))
        if primer:
            p = predict_after(tokens_after(self.model, primer, lines), self.data)
        else:
            p = predict_tokens(network, self.data, model_start(network), TokensHead(0, lines, self.code))
        vocabulary = network.model.vocabulary
        bits, sizes = unit_bits(p.decisions, p.p1, vocabulary.bits), np.diff(vocabulary.offsets)[p.ids]
        return Estimate(BlockKind.TOKENS, self.model, bits, sizes, p.ids, self.code, primer)
