"""Several short blocks of tokens, decoded in step by one thread: the network reads its weights once for a token of each.

A block of one lane has one row at a step, and a step takes nearly as long for one row as for four. So several blocks are in
hand: each has mixing and a decoder of its own, and a lane of one network that feeds all of them. What they hold is what each
holds by itself. Knows nothing of files.
"""

# B blocks in hand

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nncomp import range_coder
from nncomp.blocks.levels import LANE_BYTES, lines_log2
from nncomp.blocks.token_loop import LEFT, WRONG, Fed, Shared, Turns, run
from nncomp.blocks.token_payload import opened
from nncomp.blocks.token_threads import Begin, shared_of
from nncomp.blocks.token_ways import is_large, no_lead, rows_of
from nncomp.errors import FormatError
from nncomp.format.payloads import Payload, TokensHead
from nncomp.machine.object_code import emptied
from nncomp.machine.turns import sleep_address
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.network.engine import Network
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.state import Scratch, State, new_scratch, new_state, no_exchange
from nncomp.network.vocabulary import MAX_TOKEN_BYTES

_MOST_BYTES = 2 * LANE_BYTES  # of a block: a longer one has several lanes at most levels, and large tables
_ENDLESS = 1 << 40  # bytes


@dataclass
class _Block:
    """A block, its payload, what it is decoded with, and what its lane of the network remembers."""

    payload: Payload
    mixing: TokenMixing
    shared: Shared
    state: State

    @property
    def is_over(self) -> bool:
        return not self.shared.count[LEFT] or bool(self.shared.count[WRONG])

    def raw(self) -> bytes | None:
        """Return the raw bytes, or None where something is wrong."""
        if self.shared.count[WRONG]:
            return None
        try:
            range_coder.check_finished(self.shared.decoder, self.shared.words)
        except FormatError:
            return None
        return bytes(self.shared.data)


def is_short(payload: Payload) -> bool:
    """Return whether a block is decoded in step with others: one lane, no primer, tables no larger than a sender makes."""
    try:
        head = TokensHead.parse(payload.data)
    except FormatError:
        return False
    is_plain = head.lanes == 1 and not head.primer and head.lines_log2 <= lines_log2(payload.raw_bytes)
    return is_plain and 0 < payload.raw_bytes <= _MOST_BYTES


def decode_several(network: Network, payloads: list[Payload], in_hand: int) -> dict[Payload, bytes]:
    """Return the raw bytes of the blocks that are short, if that is quicker than one after another.

    With two networks none is. A block that does not hold what it should is left out: decoded alone, it says what is wrong.
    """
    is_plain = not isinstance(network, OutsideNetwork) and network.second is None
    if in_hand < 2 or not is_plain or not is_large(network):
        return {}
    found: dict[Payload, bytes] = {}
    waiting = _begun(network, filter(is_short, dict.fromkeys(payloads)))
    blocks = list(islice(waiting, in_hand))
    while blocks:
        hand = _Hand(network, blocks)
        while not any(block.is_over for block in blocks):  # all of its lanes have blocks
            hand.go_on()
            for lane, block in enumerate(blocks):
                if block.is_over:
                    if raw := block.raw():
                        found[block.payload] = raw
                    if after := next(waiting, None):
                        hand.put(lane, after)
        blocks = [block for block in blocks if not block.is_over]  # fewer rows at a step are quicker
    return found


def _begun(network: Network, payloads: Iterable[Payload]) -> Iterator[_Block]:
    """Yield the blocks before their first tokens; those that have nothing to decode are left out."""
    for payload in payloads:
        with suppress(FormatError):
            head, words, mixing = opened(network, payload.data, payload.raw_bytes)
            shared = shared_of(network, mixing, np.zeros(payload.raw_bytes, np.uint8), Begin(head.code))
            decoder = range_coder.first_state(words)
            shared = shared._replace(words=words, decoder=decoder, is_outside=True, position=np.zeros(1, np.int64))
            yield _Block(payload, mixing, shared, new_state(network.model, 1, head.code))


class _Hand:
    """B blocks in hand, each with a lane of one network.

    A step is a call that feeds, to which the blocks are lanes of an endless block, and then a call for each block, which mixes
    and decodes a token, and to which the network is an outside one.
    """

    def __init__(self, network: Network, blocks: list[_Block]) -> None:
        self.blocks, self._network, lanes = blocks, network, len(blocks)
        self._constants, self._scratch = network.constants(lanes), new_scratch(network.model.sizes, lanes)
        self._state, self._count = new_state(network.model, lanes), np.zeros((lanes, 3), np.int64)
        self._filled, self._before = np.zeros(lanes, np.int64), np.zeros(lanes, np.int32)
        self._calls = [self._feeding(blocks[0]), *(self._decoding(lane) for lane in range(lanes))]

    def put(self, lane: int, block: _Block) -> None:
        """Let a lane go on with another block."""
        self.blocks[lane] = block
        self._calls[1 + lane] = self._decoding(lane)

    def go_on(self) -> None:
        """Decode a token of each block at a step, until one of them has ended, or some steps after one of them went wrong."""
        left, wrong = self._count[:, LEFT], self._count[:, WRONG]
        while left.all() and not wrong.any():
            for _ in range(max(1, int(left.min()) // MAX_TOKEN_BYTES)):  # no block ends before
                for call in self._calls:
                    call()

    def _feeding(self, like: _Block) -> Callable[[], None]:
        """Return the call that feeds; all blocks are like this one in their types."""
        mixing, shared = emptied(like.mixing), emptied(like.shared)
        starts, count = np.arange(len(self.blocks) + 1) * _ENDLESS, np.array([0, _ENDLESS, 0])
        mixing = mixing._replace(constants=mixing.constants._replace(starts=starts))
        shared = shared._replace(filled=self._filled, before=self._before, words=like.shared.words, count=count, is_outside=False)
        return self._bound(self._scratch, mixing, shared, is_mixing=False)

    def _decoding(self, lane: int) -> Callable[[], None]:
        """Return the call that decodes a token of the block of a lane; what the block has of the lane's arrays moves there."""
        block, here = self.blocks[lane], slice(lane, lane + 1)
        state = State(self._state.h[:, here], self._state.before[:, here], self._state.code[here])
        shared = block.shared._replace(count=self._count[lane], filled=self._filled[here], before=self._before[here])
        for to, of in zip((*state, *shared), (*block.state, *block.shared), strict=True):
            if to is not of:
                to[:] = of
        block.state, block.shared = state, shared
        scratch = self._scratch._replace(rows=self._scratch.rows[:1])
        scratch = scratch._replace(groups=scratch.groups[here], hidden=scratch.hidden[here])
        return self._bound(scratch, block.mixing, shared, is_mixing=True)

    def _bound(self, scratch: Scratch, mixing: TokenMixing, shared: Shared, is_mixing: bool) -> Callable[[], None]:
        rows, turns = len(scratch.rows), Turns(np.zeros(1, np.int64), is_mixing, 1, np.array([0, 1]), sleep_address())
        of_rows = rows_of(self._network, rows, rows)
        fed = Fed(self._constants, self._state, scratch, no_exchange())
        return run.bound(no_lead(fed), fed, fed, mixing, shared, turns, of_rows)
