"""Every number of the file format: kinds of block, sizes, limits, ids. docs/FORMAT.md is the law; a number stands here once.

Knows nothing of how a file is read or written.
"""

from __future__ import annotations

from enum import IntEnum

# Frame
MAGIC = bytes([0xD6, 0x1B, 0xA4, 0xE3])
VERSION = 1
CHECKSUM_BYTES = 8  # BLAKE2b of a block's raw bytes, and of an index
MODEL_HASH_BYTES = 8  # of the SHA-256 of a model file
MAX_TOTAL_BYTES = (1 << 63) - 1  # raw bytes of a frame

# Block
BLOCK_UNIT_BYTES = 256 << 10  # a frame of several blocks says in this unit how many raw bytes each block but the last has
MAX_BLOCK_UNITS = 15
BLOCK_BYTES = 14 * BLOCK_UNIT_BYTES  # what a writer takes: a block is less than a tenth of a file of 40 MB
SPLIT_BYTES = 6 << 20  # the last block of a frame has fewer raw bytes
KIND_BITS = 3

# Footer
TRAILER_BYTES = 4  # the footer's last field: its own length

# Models
NO_MODEL = 0  # this id names no model
MODEL_IDS = {"default": 1, "fast": 2}  # the models that come with nncomp
OWN_MODEL = 255  # any other model; its hash says which

# Payloads
WORD_BYTES = 4  # the range coder's words
LZMA_DICTIONARY_BYTES = 8 << 20
MIN_TABLE_BITS, MAX_TABLE_BITS = 16, 26  # of a block of bytes: log2 of the bytes of its hash tables
MAX_LANES_LOG2 = 4  # of a block of tokens
MIN_LINES_LOG2, MAX_LINES_LOG2 = 8, 22  # of a block of tokens: log2 of the lines of its hash table
LINE_BYTES = 64


class BlockKind(IntEnum):
    """What a block's payload is."""

    STORED = 0  # the raw bytes
    LZMA = 1  # an LZMA stream without the headers of .xz
    BYTES = 2  # mixing alone, on bytes
    TOKENS = 3  # network and mixing, on tokens
