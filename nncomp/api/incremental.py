"""Compression and decompression in pieces, like `lzma.LZMACompressor` and `LZMADecompressor`."""

from __future__ import annotations

import io
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from nncomp.api.chosen_model import OF_LEVEL, Bytes, ModelName, ReferenceText, find_with, opened_reference, to_write_with
from nncomp.blocks.memory import Memory
from nncomp.format.frame_reader import (
    ByteSource,
    TruncatedError,
    check_magic,
    check_start,
    read_block_header,
    read_frame_header,
    take_footer,
)
from nncomp.format.frames import BlockHeader, FrameHeader, FrameIndex
from nncomp.format.numbers import CHECKSUM_BYTES, MAGIC
from nncomp.stream.assembly import Assembly
from nncomp.stream.pipeline import FrameAssembly, Summary
from nncomp.stream.tasks import Coding, decode_task, reference_of

if TYPE_CHECKING:
    from nncomp.stream.repeats import Cut


class Compressor:
    """Makes one frame from data in pieces.

    A block of 12 MiB is coded as soon as 18 MiB are held; until then `compress` returns nothing. The bytes of the frame do
    not depend on the pieces. Errors: see `nncomp.compress`.

    >>> import nncomp
    >>> compressor = nncomp.Compressor(model=None)
    >>> packed = compressor.compress(b"piece by ") + compressor.compress(b"piece") + compressor.flush()
    >>> nncomp.decompress(packed)
    b'piece by piece'
    """

    def __init__(
        self,
        *,
        level: int | None = None,
        model: ModelName = OF_LEVEL,
        reference: ReferenceText = None,
        block_size: int | None = None,
    ) -> None:
        from nncomp.stream.repeats import RepeatFinder

        self._coding = Coding(*to_write_with(model, level, block_size), opened_reference(reference))
        effort = self._coding.effort
        self._finder = RepeatFinder(1 << effort.window_log2, self._coding.reference, effort.block_bytes)
        self._sink = io.BytesIO()
        self._assembly = FrameAssembly(self._sink, self._coding, Summary())
        self._is_over = False

    def compress(self, data: Bytes) -> bytes:
        """Take a piece; return the complete part of the frame, possibly empty. Raises TypeError if it is no bytes."""
        if self._is_over:
            raise ValueError("The compressor was flushed. Make a new one for another frame.")
        self._code(self._finder.take(memoryview(data).cast("B")))
        return self._taken()

    def __reduce__(self) -> NoReturn:
        raise _no_copy(self)

    def flush(self) -> bytes:
        """Return the rest of the frame. The compressor takes no data after that."""
        if self._is_over:
            raise ValueError("The compressor was flushed already.")
        self._is_over = True
        self._code(self._finder.finish())
        return self._taken()

    def _code(self, cuts: Iterable[Cut]) -> None:
        for cut in cuts:
            Memory().check_coding(len(cut.literals), self._coding.model, self._coding.effort)
            self._assembly.add(self._coding.task(cut).run())

    def _taken(self) -> bytes:
        taken = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return taken


class Decompressor:
    """Decodes one frame from pieces. Each block comes out when it is complete and equals its checksum.

    At the end of the frame `eof` is true, and `unused_data` holds the bytes after it: give them to another Decompressor if
    another frame follows. At the end of the input, check `eof`: false means that the input is truncated. `needs_input` says
    whether there is nothing to be had without another piece. `model` and errors: see `nncomp.decompress`.

    >>> import nncomp
    >>> packed = nncomp.compress(b"piece by piece", model=None)
    >>> decompressor = nncomp.Decompressor()
    >>> decompressor.decompress(packed[:10]), decompressor.eof
    (b'', False)
    >>> decompressor.decompress(packed[10:] + b"more"), decompressor.eof, decompressor.unused_data
    (b'piece by piece', True, b'more')
    """

    def __init__(self, *, model: ModelName = None, reference: ReferenceText = None) -> None:
        self._find_model = find_with(model, reference)
        self._held = bytearray()
        self._index: FrameIndex | None = None
        self._head: FrameHeader | None = None
        self._assembly = Assembly(reference_of(self._find_model))
        self._has_last, self._footer_bytes = False, 0
        self._ready = memoryview(b"")  # of the last decoded block, what was not returned yet
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def __reduce__(self) -> NoReturn:
        raise _no_copy(self)

    def decompress(self, data: Bytes, max_length: int = -1) -> bytes:
        """Take a piece of the frame; return the content of the blocks that it completes, possibly empty.

        With a `max_length` of 0 or more, at most so many bytes are returned, and no further block is decoded: what a piece
        may become is then no more than one block (64 MiB). Go on with `decompress(b"", max_length)` while `needs_input` is
        false. Raises EOFError after the end of the frame, and TypeError if the piece is no bytes.
        """
        if self.eof:
            raise EOFError("The frame has ended. Make a new Decompressor for the next frame.")
        self._held += memoryview(data).cast("B")
        left = operator.index(max_length)
        parts: list[bytes] = []
        self.needs_input = False
        while left or (self._is_at_edge and not self._ready):
            if self._ready:
                part = self._ready[: None if left < 0 else left]
                self._ready = self._ready[len(part) :]
                left -= len(part) if left > 0 else 0
                parts.append(bytes(part))
            elif self.eof or not self._step(is_full=left == 0):
                break
        return b"".join(parts)

    @property
    def _is_at_edge(self) -> bool:
        """Return whether the next part may give no bytes: the header, a block of nothing, the footer."""
        return self._has_last or self._index is None or not self._index.blocks

    def _step(self, is_full: bool) -> bool:
        """Take the next part of the frame from the held bytes; return false if there is none.

        It may be incomplete; then input is needed. If `is_full`, no part is taken that gives bytes.
        """
        source = ByteSource(io.BytesIO(bytes(self._held[:_LONGEST_HEADER])))
        try:
            if self._head is None or self._index is None:
                check_magic(source.take(len(MAGIC)), 0)
                self._head = read_frame_header(source)
                self._index = FrameIndex(self._head.data)
            elif self._has_last:
                if len(self._held) < self._footer_bytes:
                    raise TruncatedError
                source = ByteSource(io.BytesIO(bytes(self._held)))
                if content := take_footer(source, self._index):
                    self._assembly.expect(0, content)
                self._assembly.check()
                self.eof, self.unused_data = True, bytes(self._held[source.position :])
            else:
                header = read_block_header(source, self._head, not self._index.blocks)
                check_start(header, self._index)
                if is_full and header.raw_bytes:
                    return False
                self._ready = memoryview(self._decoded(header, self._head, source))
                self._index.add(header)
                if header.is_last:
                    self._has_last, self._footer_bytes = True, len(self._index.footer(bytes(CHECKSUM_BYTES)))
        except TruncatedError:
            self.needs_input = True
            return False
        del self._held[: source.position]
        return True

    def _decoded(self, header: BlockHeader, head: FrameHeader, source: ByteSource) -> bytes:
        start = source.position
        if len(self._held) < start + header.body_bytes:
            raise TruncatedError
        source.position += header.body_bytes
        block = header.block(bytes(self._held[start : source.position]))
        decoded = decode_task(block, head, self._find_model, memory=Memory()).run()
        return b"".join(self._assembly.add(0, head, *decoded))


_LONGEST_HEADER = 64  # bytes; a frame's has at most 23, a block's less than 64


def _no_copy(of: object) -> TypeError:
    return TypeError(f"cannot pickle {type(of).__name__!r} object: it is in the middle of a frame")
