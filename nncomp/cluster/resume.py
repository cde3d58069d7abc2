"""Whether a .nnc file is the result of a text, without decoding: the checksum of each block is compared with the text."""

from __future__ import annotations

from nncomp.blocks.codec import decode_list
from nncomp.errors import FormatError
from nncomp.format.copies import parse_copies
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, Readable, block_checksum
from nncomp.stream.assembly import content_hash, pieces, put_together


def belong_together(packed: Readable, raw: Readable) -> bool:
    """Return whether `packed` is a complete .nnc file by its layout, and its checksums are those of the whole of `raw`.

    >>> import io
    >>> from nncomp.stream.pipeline import compress
    >>> from nncomp.stream.tasks import Coding
    >>> packed = io.BytesIO()
    >>> _ = compress(io.BytesIO(b""), packed, Coding(), 0)
    >>> belong_together(io.BytesIO(packed.getvalue()), io.BytesIO(b"")), belong_together(packed, io.BytesIO(b""))
    (True, False)
    """
    contents: dict[int, bytes] = {}
    content, frame = content_hash(), -1
    try:
        for found in read_blocks(packed, contents.__setitem__):
            if found.frame != frame:
                if contents.pop(frame, content.digest()) != content.digest():
                    return False
                content, frame = content_hash(), found.frame
            data = raw.read(found.block.raw_bytes)
            content.update(data)
            if len(data) != found.block.raw_bytes or (not found.head.window_log2 and not _holds(found.block, data)):
                return False
    except FormatError:
        return False
    return contents.pop(frame, content.digest()) == content.digest() and not raw.read(1)


def _holds(block: Block, data: bytes) -> bool:
    """Return whether the only block of a frame has the checksum of `data`."""
    if block.copies is None:
        return block_checksum(b"", data) == block.checksum
    listed = decode_list(block.copies.kind, block.copies.payload, block.copies.list_bytes)
    copies = parse_copies(listed, block.literal_bytes, block.copies.copied_bytes)
    literals, raw = bytearray(), 0
    for _, distance, start, stop in pieces(copies, block.literal_bytes, 0, block.raw_bytes):
        literals += b"" if distance else data[raw : raw + stop - start]
        raw += stop - start
    is_equal = block_checksum(listed, bytes(literals)) == block.checksum
    return is_equal and b"".join(put_together(bytes(literals), copies, None)) == data
