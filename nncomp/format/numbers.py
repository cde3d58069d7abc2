"""Every number of the file format: kinds of block, sizes, limits, ids. docs/FORMAT.md is the law; a number stands here once.

Knows nothing of how a file is read or written.
"""

from __future__ import annotations

from enum import IntEnum

# Frame
MAGIC = bytes([0xD6, 0x1B, 0xA4, 0xE3])
BLOCK_MAGIC = bytes([0xD6, 0x1B, 0xA4, 0xB7])  # before every block of a frame but the first
VERSION = 1
MAX_VARINT_BYTES = 9  # 63 bits
HAS_MODEL = 0x01  # flags: the low four bits of the byte after the magic
HAS_WINDOW = 0x04  # the frame has several blocks, and says how far back copies reach
HAS_REFERENCE = 0x08  # the frame names a reference
CHECKSUM_BYTES = 8  # BLAKE2b of a block's list of copies and its literals, of a frame's content, and of an index
MODEL_HASH_BYTES = 8  # of the SHA-256 of a model file
MAX_TOTAL_BYTES = (1 << 63) - 1  # raw bytes of a frame

# Reference
REFERENCE_HASH_BYTES = 8  # of the SHA-256 of a reference

# Block
MAX_LITERAL_BYTES = (18 << 20) - 1  # of a block: what is coded
MAX_RAW_BYTES = 64 << 20  # of a block: literals and copies
BLOCK_BYTES = 12 << 20  # the literals that a writer takes, if it is not asked for fewer
SPLIT_BYTES = MAX_LITERAL_BYTES + 1  # it takes them when so many are there, half as many again; else all are the last block
MIN_BLOCK_BYTES = 1 << 16  # the fewest that it is asked for
KIND_BITS = 3
HAS_COPIES, LAST = 0x08, 0x80  # in the first byte of a block; the low three bits are its kind, the others are 0
LEAST_BLOCK_BYTES = len(BLOCK_MAGIC) + CHECKSUM_BYTES  # every block but the first of a frame has more

# Copies
MIN_COPY_BYTES = 32
MAX_COPIES = 1 << 16  # of a block
MAX_LIST_BYTES = 1 << 20  # of their list, before it is coded
MIN_WINDOW_LOG2, MAX_WINDOW_LOG2 = 16, 32  # of a frame of several blocks: how far back in its literals a copy may reach

# Footer
TRAILER_BYTES = 4  # the footer's last field: its own length

# Models
NO_MODEL = 0  # this id names no model
MODEL_IDS = {"default": 1, "fast": 2, "max": 3}  # the models that come with nncomp
MODEL_NAMES = ", ".join(MODEL_IDS)  # for messages
OWN_MODEL = 255  # any other model; its hash says which
MAX_HEAD_BYTES = 1 << 20  # of the head of a model file, or of an n-gram table
NGRAM_SLOTS, MAX_NGRAM_LINES = 16, 1 << 22  # of an n-gram table: entries of a line, and lines

# Payloads
WORD_BYTES = 4  # the range coder's words
LZMA_DICTIONARY_BYTES = 8 << 20
MIN_TABLE_BITS, MAX_TABLE_BITS = 16, 26  # of a block of bytes: log2 of the bytes of its hash tables
MAX_LANES_LOG2 = 4  # of a block of tokens
MIN_LINES_LOG2, MAX_LINES_LOG2 = 8, 22  # of a block of tokens: log2 of the lines of its hash table
LINE_BYTES = 64
LINE_ENTRY_BYTES = 8  # for each line: an entry of each of two tables of matches
PRIMER_SHIFT = 5  # of a block of bytes or tokens: the highest three bits of its head's first byte say how long its primer is
MAX_PRIMER = (1 << 8 - PRIMER_SHIFT) - 1
PRIMER_LOG2 = 13  # log2 of the bytes of a primer is this and those bits, if they are not 0


class BlockKind(IntEnum):
    """What a block's payload is."""

    STORED = 0  # the raw bytes
    LZMA = 1  # an LZMA stream without the headers of .xz
    BYTES = 2  # mixing alone, on bytes
    TOKENS = 3  # network and mixing, on tokens

    @property
    def label(self) -> str:
        """The kind's name in listings and in JSON."""
        return self.name.lower()
