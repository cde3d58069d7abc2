"""Whether a .nnc file is the result of a text, without decoding: the checksum of each block is compared with the text."""

from __future__ import annotations

from nncomp.errors import FormatError
from nncomp.format.frames import Readable, checksum, read_blocks


def belong_together(packed: Readable, raw: Readable) -> bool:
    """Return whether `packed` is a complete .nnc file by its layout, and its checksums are those of the whole of `raw`.

    >>> import io
    >>> from nncomp.stream.pipeline import Coding, compress
    >>> packed = io.BytesIO()
    >>> _ = compress(io.BytesIO(b""), packed, Coding(), 0)
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
