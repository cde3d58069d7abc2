"""Frames and blocks of a stream, read from front to end, and the limits that a reader keeps.

A size that the bytes claim is checked against its limit before anything is read or allocated for it. The layout itself:
`nncomp/format/frames.py`. Knows nothing of what a payload means. The stream need not be seekable (`nncomp/format/index.py`: those
that are).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nncomp.errors import FormatError
from nncomp.format.frames import (
    BlockHeader,
    FoundHeader,
    FrameBlock,
    FrameHeader,
    FrameIndex,
    ListHeader,
    ModelReference,
    Readable,
    Start,
    content_of,
)
from nncomp.format.numbers import (
    BLOCK_MAGIC,
    CHECKSUM_BYTES,
    HAS_COPIES,
    HAS_MODEL,
    HAS_REFERENCE,
    HAS_WINDOW,
    KIND_BITS,
    LAST,
    MAGIC,
    MAX_LIST_BYTES,
    MAX_LITERAL_BYTES,
    MAX_RAW_BYTES,
    MAX_TOTAL_BYTES,
    MAX_VARINT_BYTES,
    MAX_WINDOW_LOG2,
    MIN_WINDOW_LOG2,
    MODEL_HASH_BYTES,
    REFERENCE_HASH_BYTES,
    VERSION,
    BlockKind,
)
from nncomp.format.varints import varint


class TruncatedError(FormatError, EOFError):
    """There are fewer bytes than there should be; what is there may be right. It is an EOFError too."""

    def __init__(self, message: str = "The file ends where more was expected; it is truncated: fetch or copy it again.") -> None:
        super().__init__(message)


BYTES_FOLLOW = (
    "Bytes after the end of the compressed data are no part of it; all before them is whole. "
    "Remove them, or use decompress --recover if they were a .nnc file."
)


class TrailingError(FormatError):
    """After the end of a frame there are bytes that begin no other frame; all before them is whole.

    `offset` says where they begin, -1 if that is not known. `content` is what the whole frames hold, where a function on bytes
    raises this: it can return nothing.
    """

    content: bytes | None = None

    def __init__(self, message: str = BYTES_FOLLOW, offset: int = -1) -> None:
        super().__init__(message)
        self.offset = offset


class ByteSource:
    """A stream that counts what it gave and that never gives less than was asked for."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def take_up_to(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.position += len(data)
        return data

    def take(self, count: int) -> bytes:
        data = self.take_up_to(count)
        if len(data) < count:
            raise TruncatedError
        return data

    def take_varint(self, limit: int, what: str) -> tuple[int, bytes]:
        """Return a value of at most `limit` and the bytes it was read from."""
        value, taken = 0, b""
        while True:
            byte = self.take(1)
            value |= (byte[0] & 0x7F) << 7 * len(taken)
            taken += byte
            if not byte[0] & 0x80:
                break
            if value > limit or len(taken) > MAX_VARINT_BYTES:
                break
        if value > limit or byte[0] & 0x80:
            raise FormatError(f"The file claims {what} of more than {limit:,} bytes, the most there can be; it is altered.")
        if taken != varint(value):
            raise FormatError("The file holds a size that is not written in its shortest form; it is altered.")
        return value, taken


OnEnd = Callable[[int, bytes], None]  # takes the number of a frame and the checksum of its content


def read_blocks(stream: Readable, on_end: OnEnd | None = None) -> Iterator[FrameBlock]:
    """Yield the blocks of all frames in `stream`, in order; raises FormatError for whatever is not as it should be.

    Payloads are not decoded, so nothing is compared with checksums. After the last of several blocks of a frame, `on_end` is
    called before anything else is read.
    """
    source = ByteSource(stream)
    for found in read_headers(source, on_end):
        block = found.header.block(source.take(found.header.body_bytes))
        yield FrameBlock(found.frame, found.number, found.offset, source.position, found.head, block)


def read_headers(source: ByteSource, on_end: OnEnd | None = None) -> Iterator[FoundHeader]:
    """Yield the headers of the blocks of all frames; whoever asks for the next one has taken or skipped the payloads."""
    frame = 0
    while magic := source.take_up_to(len(MAGIC)):
        check_magic(magic, frame, source.position - len(magic))
        head = read_frame_header(source)
        index = FrameIndex(head.data)
        while True:
            offset = source.position
            header = read_block_header(source, head, not index.blocks)
            check_start(header, index)
            yield FoundHeader(frame, index.blocks, offset, head, header)
            index.add(header)
            if header.is_last:
                break
        content = take_footer(source, index)
        if on_end and content:
            on_end(frame, content)
        frame += 1
    if not frame:
        raise FormatError("The file is empty, and so it is truncated: even an empty text has some bytes when it is compressed.")


def check_magic(magic: bytes, frame: int, offset: int = 0) -> None:
    """Raise FormatError unless these are the first bytes of the frame with this number, at this offset."""
    if magic == MAGIC:
        return
    if frame:
        raise TrailingError(offset=offset)
    if MAGIC.startswith(magic):
        raise TruncatedError
    raise FormatError(
        f"This is not a .nnc file: it begins with {magic.hex(' ')}, not with {MAGIC.hex(' ')}. "
        "Give a file made by nncomp compress."
    )


def read_frame_header(source: ByteSource) -> FrameHeader:
    """Return the header of a frame, after its magic."""
    byte = source.take(1)
    version, flags = byte[0] >> 4, byte[0] & 0x0F
    if version != VERSION:
        raise FormatError(
            f"The file is of format version {version}; this nncomp reads version {VERSION}. "
            "Use the nncomp that made it or a newer one."
        )
    if flags & ~(HAS_MODEL | HAS_WINDOW | HAS_REFERENCE):
        raise FormatError("The file's header sets bits that mean nothing in version 1; the file is altered.")
    name = source.take(1 + MODEL_HASH_BYTES) if flags & HAS_MODEL else b""
    model = ModelReference(name[0], name[1:]) if name else None
    reference = source.take(REFERENCE_HASH_BYTES) if flags & HAS_REFERENCE else b""
    data = MAGIC + byte + name + reference
    if not flags & HAS_WINDOW:
        return FrameHeader(model, 0, data, reference)
    window = source.take(1)
    if not MIN_WINDOW_LOG2 <= window[0] <= MAX_WINDOW_LOG2:
        raise FormatError(
            f"The file claims copies from 2**{window[0]} bytes back; the exponent is {MIN_WINDOW_LOG2} to {MAX_WINDOW_LOG2}. "
            "It is altered."
        )
    return FrameHeader(model, window[0], data + window, reference)


def read_block_header(source: ByteSource, head: FrameHeader, is_first: bool) -> BlockHeader:
    """Return the header of a block, the first of the frame with the header `head` or not.

    Raises FormatError when no writer makes such a one.
    """
    data = b"" if is_first else source.take(len(BLOCK_MAGIC))
    if not is_first and data != BLOCK_MAGIC:
        raise FormatError("A block does not begin with its magic number; the file is altered.")
    first = source.take(1)
    kind, is_last, has_copies = first[0] & (1 << KIND_BITS) - 1, bool(first[0] & LAST), bool(first[0] & HAS_COPIES)
    if first[0] & ~(LAST | HAS_COPIES) != kind:
        raise FormatError("A block's first byte sets bits that mean nothing in version 1; the file is altered.")
    if bool(head.window_log2) == (is_first and is_last):
        says = "A frame of one block says a window" if head.window_log2 else "A frame of several blocks says no window"
        raise FormatError(f"{says}; the file is altered.")
    data += first
    start = Start(0, 0)
    if not is_first:
        (raw, taken), (literals, more) = (source.take_varint(MAX_TOTAL_BYTES, "a content") for _ in range(2))
        start, data = Start(raw, literals), data + taken + more
    literal_bytes, taken = source.take_varint(MAX_LITERAL_BYTES, "literals")
    data += taken
    payload_bytes, taken = _read_payload_bytes(source, kind, literal_bytes, "a coded block")
    data += taken
    copies, taken = _read_copies(source, literal_bytes) if has_copies else (None, b"")
    digest = source.take(CHECKSUM_BYTES)
    header = BlockHeader(kind, literal_bytes, payload_bytes, digest, is_last, copies, start, data + taken + digest)
    if head.window_log2 and not header.raw_bytes:
        raise FormatError("A block of several is empty; the file is altered.")
    return header


def check_start(header: BlockHeader, index: FrameIndex) -> None:
    """Raise FormatError unless a block begins where the blocks before it end."""
    if header.start != index.end:
        raise FormatError("A block says another place in the content than it has; the file is altered.")


def _read_copies(source: ByteSource, literal_bytes: int) -> tuple[ListHeader, bytes]:
    """Return what a block's header says of its copies, and the bytes that say it."""
    data = source.take(1)
    kind = data[0]
    if kind not in (BlockKind.STORED, BlockKind.LZMA, BlockKind.BYTES):
        raise FormatError(f"A list of copies is coded as kind {kind}, which this nncomp does not know; the file is altered.")
    copied_bytes, taken = source.take_varint(MAX_RAW_BYTES - literal_bytes, "copies")
    data += taken
    list_bytes, taken = source.take_varint(MAX_LIST_BYTES, "a list of copies")
    data += taken
    payload_bytes, taken = _read_payload_bytes(source, kind, list_bytes, "a coded list of copies")
    return ListHeader(kind, copied_bytes, list_bytes, payload_bytes), data + taken


def _read_payload_bytes(source: ByteSource, kind: int, decoded_bytes: int, what: str) -> tuple[int, bytes]:
    """Return the size of a payload that becomes so many bytes, and the bytes that say it: none of what is stored.

    A writer stores what it cannot make smaller.
    """
    return (decoded_bytes, b"") if kind == BlockKind.STORED else source.take_varint(decoded_bytes, what)


def take_footer(source: ByteSource, index: FrameIndex) -> bytes:
    """Return the checksum of a frame's content from its footer, or no bytes: a frame of one block has none.

    Raises FormatError unless the footer is the one that the blocks give.
    """
    footer = source.take(len(index.footer(bytes(CHECKSUM_BYTES))))
    content = content_of(footer)
    if footer != index.footer(content):
        raise wrong_index()
    return content


def wrong_index() -> FormatError:
    """Return the error for an index that is not the one of its blocks."""
    return FormatError("The index at the end does not describe the blocks before it; the file is altered.")
