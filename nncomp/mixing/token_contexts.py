"""The contexts of mixing on tokens: what each looks at, and how its hash is made.

A context is a *source*, what is looked at, and a *reach*, where it was seen: in all lanes, in this lane, or in this lane since
the last multiple of 1 to 32 KiB. A model file says which contexts it uses. CONTRIBUTING.md says how to add a source, and
tests/test_contexts.py names the place that is missing. Knows nothing of probabilities.
"""

# L lanes, N contexts

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import inlined
from nncomp.mixing import byte_contexts as bc
from nncomp.mixing import match_model as mm
from nncomp.mixing.arithmetic import combine
from nncomp.mixing.byte_contexts import Text, byte_above, byte_at, field_byte_above

# What each source looks at: name i belongs to h[i] in `set_sources`. "Above" is on the line above.
SOURCE_NAMES = (
    "order 0", "1 token", "2 tokens", "3 tokens", "key, word", "5 tokens", "1 byte", "2 bytes", "3 bytes", "4 bytes",
    "indent, first byte, word", "word", "2 words", "field above (byte)", "expected token", "column, byte above",
    "field above (hash)", "format", "format, word", "tag, word", "followers of 1 token", "followers of 2 tokens",
    "both followers", "3 words", "word, older word",
)  # fmt: skip
SOURCES = len(SOURCE_NAMES)
REACH_SHIFT = 5
SOURCE_LIMIT = 1 << REACH_SHIFT  # sources there can be: a context is number reach << REACH_SHIFT | source
REACHES = 8  # 0: all lanes, 1: this lane, k > 1: this lane since a multiple of 2**(8 + k) bytes
MAX_LANES = 16
PAIRS = 1 << 18  # hashes of two tokens
MAX_TOKENS = 1 << 16  # of a vocabulary


class Tokens(NamedTuple):
    """The tokens of all lanes so far."""

    ids: Any  # (bytes + 1,) int32: lane l's from starts[l] + 1 on, 0 where there is none yet
    counts: Any  # (L,) int64: how many each lane has
    followers: Any  # (MAX_TOKENS,) uint32: by token, the last one that followed, and the one before that << 16
    pair_followers: Any  # (PAIRS,) uint32: likewise by the hash of two tokens


def new_tokens(raw_bytes: int, lanes: int) -> Tokens:
    """Return the tokens before the first token of a block."""
    return Tokens(
        ids=np.zeros(raw_bytes + 1, np.int32),
        counts=np.zeros(lanes, np.int64),
        followers=np.zeros(MAX_TOKENS, np.uint32),
        pair_followers=np.zeros(PAIRS, np.uint32),
    )


def context(source: int, reach: int) -> int:
    """Return the number of a context.

    >>> context(source=2, reach=1)
    34
    """
    return reach << REACH_SHIFT | source


def context_name(number: int) -> str:
    """Return what a context looks at and where.

    >>> context_name(2), context_name(34), context_name(66)
    ('2 tokens', '2 tokens, this lane', '2 tokens, 1 KiB')
    """
    reach, source = divmod(number, SOURCE_LIMIT)
    return SOURCE_NAMES[source] + ("" if reach == 0 else ", this lane" if reach == 1 else f", {1 << reach - 2} KiB")


@functools.cache
def all_contexts() -> tuple[int, ...]:
    """Return the numbers of all contexts there are, upwards."""
    return tuple(context(source, reach) for reach in range(REACHES) for source in range(SOURCES))


@inlined
def token_before(tokens: Tokens, start: int, lane: int, back: int) -> int:
    """Return the token `back` steps ago (1: the last) in the lane, whose bytes begin at `start`; 0 before its first."""
    count = tokens.counts[lane]
    return np.int64(tokens.ids[start + 1 + count - back]) if count >= back else np.int64(0)


@inlined
def pair_hash(t1: int, t2: int) -> int:
    """Return the place of two tokens, the last one first, in `pair_followers`."""
    return combine(t1, t2) & (PAIRS - 1)


@inlined
def expected_token(matches: Any, b1: int) -> int:
    """Return a hash of the token that the long match expects and of its length, or of what the short match expects."""
    long, short = matches[0], matches[1]
    if long[mm.EXPECTED] >= 0:
        return combine(long[mm.EXPECTED] << 5 | min(long[mm.LENGTH], 31), b1)
    return combine(short[mm.EXPECTED] + 1, b1 + 256)


@inlined
def set_sources(h: Any, tokens: Tokens, text: Text, matches: Any, start: int, lane: int, data: Any, at: int) -> None:
    """Set what each source has for the lane's next token, h (SOURCES,), which begins at byte `at` of the lane's `data`.

    `text` and `matches` are the lane's; `start` is where its bytes begin in the block.
    """
    s = text.state
    b1, b2, b3, b4 = byte_at(data, at - 1), byte_at(data, at - 2), byte_at(data, at - 3), byte_at(data, at - 4)
    one = np.int64(1)  # a plain 1 is a type of its own, for which a function is compiled anew
    t1, t2 = token_before(tokens, start, lane, one), token_before(tokens, start, lane, one + 1)
    t3, t4 = token_before(tokens, start, lane, one + 2), token_before(tokens, start, lane, one + 3)
    t5 = token_before(tokens, start, lane, one + 4)
    word, previous_word, older_word = s[bc.WORD], s[bc.PREVIOUS_WORD], s[bc.OLDER_WORD]
    f = min(s[bc.FIELD], bc.MAX_FIELDS - 1)
    followers = np.int64(tokens.followers[t1])
    pair_followers = np.int64(tokens.pair_followers[pair_hash(t1, t2)])
    h[0] = 0
    h[1] = t1
    h[2] = t1 | t2 << 16
    h[3] = combine(t1 | t2 << 16, t3)
    h[4] = combine(s[bc.KEY], word)
    h[5] = combine(combine(h[3], t4), t5)
    h[6] = b1
    h[7] = b1 | b2 << 8
    h[8] = b1 | b2 << 8 | b3 << 16
    h[9] = b1 | b2 << 8 | b3 << 16 | b4 << 24
    h[10] = combine(combine(s[bc.INDENT] << 8 | s[bc.FIRST], word), b1)
    h[11] = combine(word, b1)
    h[12] = combine(combine(word, previous_word), b1)
    h[13] = field_byte_above(text, data, at) | b1 << 8 | f << 16
    h[14] = expected_token(matches, b1)
    h[15] = min(s[bc.COLUMN], bc.MAX_COLUMN) << 8 | byte_above(text, data, np.int64(0))
    h[16] = combine(combine(text.field_hashes[1, f], s[bc.FIELD_HASH]), f)
    h[17] = s[bc.FORMAT] & 0xFFFFFFFF
    h[18] = combine(s[bc.FORMAT] & 0xFFFFFF, word)
    h[19] = combine(text.tags[s[bc.TAG_DEPTH]], combine(s[bc.IN_TAG], word))
    h[20] = combine(followers, t1)
    h[21] = combine(pair_followers, t1)
    h[22] = combine(followers & 0xFFFF, pair_followers)
    h[23] = combine(combine(word, previous_word), older_word)
    h[24] = combine(combine(word, older_word), b1)


@inlined
def hash_contexts(hashes: Any, sources: Any, contexts: Any, lane: int, at: int) -> None:
    """Set the hash of each context in use, `hashes` (N,), for the lane's next token, which begins at its byte `at`."""
    for i in range(contexts.size):
        number = contexts[i]
        reach = number >> REACH_SHIFT
        where = np.int64(0)
        if reach > 0:
            where = 1 + lane
            if reach > 1:
                where += MAX_LANES * (1 + (at >> (8 + reach)))
        hashes[i] = combine(sources[number & (SOURCE_LIMIT - 1)], number + 1 + 256 * where)


@inlined
def append_token(tokens: Tokens, start: int, lane: int, token: int) -> int:
    """Add a token to the lane, and to the followers of those before it; return its place in `ids`."""
    one = np.int64(1)
    t1, t2 = token_before(tokens, start, lane, one), token_before(tokens, start, lane, one + 1)
    pair = pair_hash(t1, t2)
    tokens.followers[t1] = np.uint32((np.int64(tokens.followers[t1]) << 16 | token) & 0xFFFFFFFF)
    tokens.pair_followers[pair] = np.uint32((np.int64(tokens.pair_followers[pair]) << 16 | token) & 0xFFFFFFFF)
    tokens.counts[lane] += 1
    place = start + tokens.counts[lane]
    tokens.ids[place] = token
    return place


def tokens_of_lanes(tokens: Tokens, starts: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    """Return each lane's tokens, copied."""
    places = zip(starts.tolist(), tokens.counts.tolist(), strict=False)
    return [tokens.ids[first + 1 : first + 1 + count].copy() for first, count in places]
