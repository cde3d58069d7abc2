"""How a block becomes bytes and back: the only place where the kinds of block meet.

A codec tries each kind it can and keeps the smallest. Knows nothing of files, terminals, frames or processes.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from nncomp.container import STORED, checksum, varint
from nncomp.errors import FormatError
from nncomp.registry import ModelFile

MIN_TABLE_BITS = 10
TABLE_BITS = 20  # of mixing on bytes: 63 MB of slots at most
_PIECE = 1 << 20  # decisions whose surprisal is summed at a time


class BlockKind(IntEnum):
    """What a block's payload is; the numbers are part of the format."""

    STORED = STORED  # the raw bytes
    XZ = 1  # LZMA, without the headers of xz
    BYTES = 2  # mixing alone, on bytes
    TOKENS = 3  # network and mixing, on tokens


@dataclass(frozen=True)
class CodedBlock:
    """A payload of some kind, and the surprisal of what was coded in it, in bits."""

    kind: BlockKind
    payload: bytes = field(repr=False)
    cost_bits: float


# The filter is part of the format (docs/FORMAT.md): text has no four-byte alignment, hence pb = 0.
_LZMA_FILTERS = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 8 << 20,
        "lc": 3,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "mf": lzma.MF_BT4,
        "nice_len": 273,
        "depth": 512,
    }
]


class Codec:
    """Encodes and decodes blocks, with the network of one model or with none."""

    def __init__(self, model: ModelFile | None = None) -> None:
        self.model = model

    def encode_block(self, data: bytes) -> CodedBlock:
        """Return the smallest coding of `data`; of equals the one that is quicker to decode.

        >>> Codec().encode_block(b"").kind.name
        'STORED'
        """
        best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
        for coded in self._codings(data):
            if _size(coded) < _size(best):
                best = coded
        return best

    def _codings(self, data: bytes) -> Iterator[CodedBlock]:
        """Yield what the block could be; a place for each kind, the quickest to decode first."""
        if data:
            yield _encode_lzma(data)
            yield _encode_bytes(data)

    def decode_block(self, kind: int, payload: bytes, raw_bytes: int) -> bytes:
        """Return the `raw_bytes` bytes of a payload; raises FormatError when it does not hold exactly so many."""
        if kind == BlockKind.STORED:
            data = payload
        elif kind == BlockKind.XZ:
            data = _decode_lzma(payload, raw_bytes)
        elif kind == BlockKind.BYTES:
            data = _decode_bytes(payload, raw_bytes)
        else:
            raise FormatError(f"A block is of kind {kind}, which this nncomp cannot read; use a newer one.")
        if len(data) != raw_bytes:
            raise FormatError(f"A block of {raw_bytes:,} bytes holds {len(data):,}; the file is altered.")
        return data


def verify_block(data: bytes, expected: bytes) -> None:
    """Raise FormatError unless the decoded bytes have the checksum that was written with them."""
    if checksum(data) != expected:
        raise FormatError("A block decodes to other bytes than were compressed (its checksum differs); the file is altered.")


def _size(coded: CodedBlock) -> int:
    """Return the bytes a block takes for its payload and the payload's size; a stored block does not write its size."""
    size_bytes = 0 if coded.kind == BlockKind.STORED else len(varint(len(coded.payload)))
    return size_bytes + len(coded.payload)


def _encode_lzma(data: bytes) -> CodedBlock:
    payload = lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
    return CodedBlock(BlockKind.XZ, payload, 8.0 * len(payload))


def _decode_lzma(payload: bytes, raw_bytes: int) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
    try:
        # One byte more than is claimed would already be too many: a small payload cannot fill the memory.
        data = decoder.decompress(payload, raw_bytes + 1)
        if not decoder.eof and len(data) <= raw_bytes:
            data += decoder.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"A block coded as xz cannot be decoded ({error}); the file is altered.") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError("A block coded as xz does not end where its data ends; the file is altered.")
    return data


def _encode_bytes(data: bytes) -> CodedBlock:
    import numpy as np

    from nncomp import coding
    from nncomp.mixing import byte_model

    raw = np.frombuffer(data, np.uint8)
    probabilities = byte_model.encode_bytes(raw, TABLE_BITS)
    decisions = np.unpackbits(raw)  # 8 a byte, most significant first, as the model takes them
    words = coding.encode(decisions, probabilities)
    pieces = [slice(i, i + _PIECE) for i in range(0, len(decisions), _PIECE)]
    cost_bits = sum(coding.cost_bits(decisions[piece], probabilities[piece]) for piece in pieces)
    return CodedBlock(BlockKind.BYTES, bytes([TABLE_BITS]) + coding.words_to_bytes(words), cost_bits)


def _decode_bytes(payload: bytes, raw_bytes: int) -> bytes:
    from nncomp import coding
    from nncomp.mixing import byte_model

    table_bits = payload[0] if payload else 0
    if not MIN_TABLE_BITS <= table_bits <= TABLE_BITS:
        raise FormatError(
            f"A block asks for mixing tables of 2**{table_bits} places, outside {MIN_TABLE_BITS} to {TABLE_BITS}; "
            "the file is altered, or made by a newer nncomp."
        )
    words = coding.bytes_to_words(payload[1:])
    return byte_model.decode_bytes(words, raw_bytes, table_bits).tobytes()
