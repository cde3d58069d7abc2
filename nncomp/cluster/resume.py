"""Whether a .nnc file and its content belong together, without decoding: each block's checksum is that of its raw bytes."""

from __future__ import annotations

from nncomp.errors import FormatError
from nncomp.format.frames import Readable, checksum, read_blocks


def belong_together(packed: Readable, raw: Readable) -> bool:
    """Return whether `packed` is laid out as a .nnc file, whole, and its checksums are those of `raw`, all of it.

    >>> import io
    >>> from nncomp.stream.pipeline import compress
    >>> packed = io.BytesIO()
    >>> _ = compress(io.BytesIO(b""), packed, None, 0)
    >>> belong_together(io.BytesIO(packed.getvalue()), io.BytesIO(b"")), belong_together(packed, io.BytesIO(b""))
    (True, False)
    """
    try:
        for found in read_blocks(packed):
            data = raw.read(found.block.raw_bytes)
            if len(data) != found.block.raw_bytes or checksum(data) != found.block.checksum:
                return False
    except FormatError:
        return False
    return not raw.read(1)
