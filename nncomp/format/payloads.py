"""The head of each kind of payload: what stands before the range coder's words. One class a kind, with `pack` and `parse`.

Knows nothing of what the words say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nncomp.errors import FormatError
from nncomp.format.numbers import (
    LINE_BYTES,
    LINE_ENTRY_BYTES,
    MAX_LANES_LOG2,
    MAX_LINES_LOG2,
    MAX_TABLE_BITS,
    MIN_LINES_LOG2,
    MIN_TABLE_BITS,
    PRIMER_LOG2,
    PRIMER_SHIFT,
    WORD_BYTES,
    BlockKind,
)


class Payload(NamedTuple):
    """A payload, and how many raw bytes its block says that it holds."""

    data: bytes
    raw_bytes: int


@dataclass(frozen=True)
class BytesHead:
    """The head of a block of bytes: log2 of the size of its hash tables, and how long its primer is, one byte.

    >>> BytesHead.parse(BytesHead(26).pack() + b"words")
    BytesHead(table_bits=26, primer=0)
    """

    table_bits: int
    primer: int = 0  # see `primer_bytes`

    SIZE = 1

    def pack(self) -> bytes:
        return bytes([self.table_bits | self.primer << PRIMER_SHIFT])

    @classmethod
    def parse(cls, payload: bytes) -> BytesHead:
        """Return the head of a payload; raises FormatError when it has none, or one out of bounds."""
        if not payload:
            raise FormatError("A block of mixing alone is empty; the file is truncated or altered.")
        head = cls(payload[0] & (1 << PRIMER_SHIFT) - 1, payload[0] >> PRIMER_SHIFT)
        if not MIN_TABLE_BITS <= head.table_bits <= MAX_TABLE_BITS:
            raise FormatError(
                f"A block asks for tables of 2**{head.table_bits} bytes; "
                f"2**{MIN_TABLE_BITS} to 2**{MAX_TABLE_BITS} are allowed. The file is altered."
            )
        return head


@dataclass(frozen=True)
class TokensHead:
    """The head of a block of tokens: log2 of its lanes, log2 of the lines of its hash table, its code; a byte each.

    The highest bits of the first byte say how long its primer is. A block with a primer has one lane and no code.

    >>> TokensHead.parse(TokensHead(2, 20, code=7).pack() + bytes(4))
    TokensHead(lanes_log2=2, lines_log2=20, code=7, primer=0)
    """

    lanes_log2: int
    lines_log2: int
    code: int = 0  # an entry of the model's table, from 1; 0: none
    primer: int = 0  # see `primer_bytes`

    SIZE = 3

    @property
    def lanes(self) -> int:
        return 1 << self.lanes_log2

    @property
    def lines(self) -> int:
        return 1 << self.lines_log2

    @property
    def table_bytes(self) -> int:
        """The bytes of the hash table, and of the tables that have an entry for each of its lines."""
        return LINE_BYTES + LINE_ENTRY_BYTES << self.lines_log2

    def pack(self) -> bytes:
        return bytes([self.lanes_log2 | self.primer << PRIMER_SHIFT, self.lines_log2, self.code])

    @classmethod
    def parse(cls, payload: bytes) -> TokensHead:
        """Return the head of a payload; raises FormatError when the payload is too short or the head out of bounds."""
        if len(payload) < cls.SIZE + WORD_BYTES:
            raise FormatError("A block of tokens is too short for its header; the file is truncated or altered.")
        first, lines_log2, code = payload[: cls.SIZE]
        primer, lanes_log2 = first >> PRIMER_SHIFT, first & (1 << PRIMER_SHIFT) - 1
        if lanes_log2 > MAX_LANES_LOG2 or not MIN_LINES_LOG2 <= lines_log2 <= MAX_LINES_LOG2:
            raise FormatError(
                f"A block of tokens asks for 2**{lanes_log2} lanes and 2**{lines_log2} lines of mixing table; "
                f"at most 2**{MAX_LANES_LOG2} and 2**{MAX_LINES_LOG2} are allowed. The file is altered."
            )
        if primer and (lanes_log2 or code):
            raise FormatError("A block of tokens begins with a reference and has several lanes or a code; the file is altered.")
        return cls(lanes_log2, lines_log2, code, primer)


HEAD_SIZES = {BlockKind.BYTES: BytesHead.SIZE, BlockKind.TOKENS: TokensHead.SIZE}  # of a payload, before the coder's words
HEAD_BYTES = max(HEAD_SIZES.values())


def primer_bytes(primer: int) -> int:
    """Return how many of the last bytes of the reference a block begins with, at most, by what its head says; 0 for none.

    >>> [primer_bytes(primer) for primer in (0, 1, 7)]
    [0, 16384, 1048576]
    """
    return 1 << PRIMER_LOG2 + primer if primer else 0


def asked_primer_bytes(kind: int, payload: bytes) -> int:
    """Return what `primer_bytes` says of the head of a payload; 0 for one that is no right head."""
    has_primer = kind in (BlockKind.BYTES, BlockKind.TOKENS) and payload
    return primer_bytes(payload[0] >> PRIMER_SHIFT) if has_primer else 0


def may_begin(kind: int, head: bytes, payload_bytes: int) -> bool:
    """Return whether a payload of this kind and size may begin with `head`, its first HEAD_BYTES; a quick look."""
    if kind == BlockKind.LZMA:
        return head[:1] == b"\0"  # the first byte of LZMA's own range coder
    size = HEAD_SIZES.get(BlockKind(kind))
    if size is None:
        return True
    try:
        if kind == BlockKind.BYTES:
            BytesHead.parse(head)
        else:
            TokensHead.parse(head + bytes(WORD_BYTES))
    except FormatError:
        return False
    return (payload_bytes - size) % WORD_BYTES == 0
