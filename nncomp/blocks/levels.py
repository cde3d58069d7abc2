"""The levels -1 to -9: which model a block is coded with, and what it may cost. A reader needs none of this.

Knows nothing of how blocks are coded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nncomp.errors import ModelError
from nncomp.format.numbers import BLOCK_BYTES, MAX_LINES_LOG2, MIN_LINES_LOG2

FIRST, STANDARD, LAST = 1, 5, 9
PARTS = 32  # of a block: what each part takes as tokens tells early whether the block will be larger as bytes
LANE_BYTES = 1 << 16  # a lane should have at least so many bytes: each one starts cold
FEW_LANES = 4  # more of them only for long blocks that repeat little
_LITTLE_SHARE = 0.3  # of a block: where the quickest LZMA leaves so much, it repeats little
_LONG_BYTES = 8 << 20  # a longer block fills a table twice as large


@dataclass(frozen=True)
class Effort:
    """What a block may cost."""

    max_lanes: int = 8  # fewer lanes are smaller, and slower
    max_lines_log2: int = 21  # of the hash table of a block of tokens, at 64 bytes a line; twice as many where it is long
    is_thorough: bool = True  # bytes and tokens are both tried (`Codec.encode_block`); else a sample says which
    tried_codes: int = 1  # 1: a block has the likeliest code; more: a short block is coded with so many codes and with none
    window_log2: int = 29  # how far back in the literals a copy may reach
    block_bytes: int = BLOCK_BYTES  # the literals of a block; the last one of a file has up to half as many again
    is_stored: bool = False  # nothing is tried: for what is compressed already

    def for_share(self, left_share: float) -> Effort:
        """Return the effort for a block of which the quickest LZMA leaves this share.

        A lane knows little of what the next ones repeat: eight lanes in place of four cost text that repeats much 0.3 to 1.3 %,
        other text 0.03 to 0.16 %.
        """
        return self if left_share >= _LITTLE_SHARE else replace(self, max_lanes=min(self.max_lanes, FEW_LANES))


USUAL = Effort()


@dataclass(frozen=True)
class Level:
    """The name of a model that comes with nncomp, and an effort."""

    model: str
    effort: Effort


LEVELS = {
    1: Level("fast", Effort(max_lanes=4, is_thorough=False, max_lines_log2=20)),
    2: Level("fast", Effort(max_lanes=4, max_lines_log2=20)),
    3: Level("fast", Effort(max_lanes=2, max_lines_log2=20)),
    4: Level("default", Effort(is_thorough=False)),
    5: Level("default", Effort()),
    6: Level("max", Effort(max_lanes=4, tried_codes=2)),
    7: Level("max", Effort(max_lanes=2, tried_codes=2)),
    8: Level("max", Effort(max_lanes=1, tried_codes=2, max_lines_log2=22, window_log2=32)),
    9: Level("max", Effort(max_lanes=1, tried_codes=6, max_lines_log2=22, window_log2=32)),
}


def level(number: int) -> Level:
    """Return the level of a number; raises ModelError when there is none."""
    if number not in LEVELS:
        raise ModelError(f"There is no level {number}: levels are {FIRST} (quickest) to {LAST} (smallest).")
    return LEVELS[number]


def lines_log2(raw_bytes: int, most: int = MAX_LINES_LOG2) -> int:
    """Return log2 of the lines (64 bytes each) of a block's hash table.

    There are about four lines a byte, up to 2**`most`; and twice as many lines where the block is long.
    """
    most += raw_bytes > _LONG_BYTES
    return max(MIN_LINES_LOG2, min(most, MAX_LINES_LOG2, (4 * raw_bytes - 1).bit_length()))
