"""A block as an LZMA stream, without the headers of .xz: kind LZMA. Knows nothing of the other kinds."""

from __future__ import annotations

import lzma

from nncomp.errors import FormatError
from nncomp.format.numbers import LZMA_DICTIONARY_BYTES

# The filter is part of the format (docs/FORMAT.md): text has no four-byte alignment, hence pb = 0.
FILTERS = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": LZMA_DICTIONARY_BYTES,
        "lc": 3,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "mf": lzma.MF_BT4,
        "nice_len": 273,
        "depth": 512,
    }
]


def encode_lzma(data: bytes) -> bytes:
    """Return the payload of a block."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS)


def quick_lzma_bytes(data: bytes) -> int:
    """Return how many bytes LZMA's quickest setting leaves: an estimate of how much repeats."""
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "preset": 0}]))


def decode_lzma(payload: bytes, raw_bytes: int) -> bytes:
    """Return the bytes of a payload, at most `raw_bytes` and one more.

    Raises FormatError when the stream is damaged, or does not end where the payload ends.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        # One byte more than is claimed would already be too many: a small payload cannot fill the memory.
        data = decoder.decompress(payload, raw_bytes + 1)
        if not decoder.eof and len(data) <= raw_bytes:
            data += decoder.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"A block coded as LZMA cannot be decoded ({error}); the file is altered.") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError("A block coded as LZMA does not end where its data ends; the file is altered.")
    return data
