"""The arrays that the compiled network works on: what lanes remember, what one thread works with, what two threads share.

Each is a named tuple of its own. `State` belongs to lanes, `Scratch` to a thread, `Exchange` to the two threads that feed one
lane together. The weights, which all of them read, are `nncomp.network.engine.Constants`. Knows nothing of what is computed.
"""

# L lanes, R rows fed at once, A feeds of one thread ahead of the other
# N layers, D width, E state width, F mlp width, H group mlp width, G groups, S tokens a group

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.aligned import aligned_zeros
from nncomp.machine.kernels import inlined
from nncomp.network.code import NO_CODE, code_input, code_state
from nncomp.network.model import Model
from nncomp.network.tiles import room_words

APART = 16  # int64 from one counter to the next, so that each has a cache line of its own
ALL_STAGES = 1 << 30  # more than a feed has
TOGETHER = 4  # rows of the second product of the MLP that are made together


class State(NamedTuple):
    """What L lanes remember of their tokens."""

    h: NDArray[np.int32]  # N L E
    before: NDArray[np.int8]  # N L D, the normalised input of the token before
    code: NDArray[np.int64]  # L D, what its code adds to the input of the next token, in finer steps (`code.INPUT_SHIFT`)


class MlpScratch(NamedTuple):
    """Scratch of the second product of the MLP, which is made for up to 4 rows together."""

    z: NDArray[np.int8]  # 4 F, outputs of the squared ReLU
    flags: NDArray[np.int8]  # F rounded up to a multiple of 64: whether an output of one row is not zero
    places: NDArray[np.int64]  # 4, F // 8 + 1: which outputs of each row are not zero
    counts: NDArray[np.int64]  # 4: how many they are
    columns: NDArray[np.int64]  # 4: which outputs are multiplied together
    values: NDArray[np.int16]  # 4: their values


class Scratch(NamedTuple):
    """What one thread works with to feed R rows. Nothing here outlives a feed but the results, which the caller reads."""

    rows: NDArray[np.int64]  # R, 0 to R - 1
    x: NDArray[np.int32]  # R D, the residual stream
    y: NDArray[np.int8]  # R D, the same normalised
    u: NDArray[np.int8]  # R D, the same after the token shift
    gates: NDArray[np.int32]  # R 3E
    gates_row: NDArray[np.int32]  # 3E, the gates of one row
    out: NDArray[np.int8]  # R E, what the state gives out
    delta: NDArray[np.int32]  # R D, what is added to the residual stream
    wide: NDArray[np.int32]  # R F, before the squared ReLU
    mlp: MlpScratch
    group_wide: NDArray[np.int32]  # R H, before the squared ReLU
    group_z: NDArray[np.int8]  # R H, after it
    group_acc: NDArray[np.int32]  # R G
    token_acc: NDArray[np.int32]  # 1 S
    room: NDArray[np.int32]  # of the products (`tiles.room_words`)
    hidden: NDArray[np.int8]  # R D, a result: what the tokens of a group are predicted from
    groups: NDArray[np.int64]  # R G, a result: frequencies of the groups
    tokens: NDArray[np.int64]  # S, a result: frequencies of the tokens of one group


class Exchange(NamedTuple):
    """What two threads that feed lanes together hand each other, and which part of the network is this thread's.

    They share in one of these ways. Each has half of every weight, and shows its sums to the other one. Or the first one has the
    first stages (`stage_count`), and passes the residual stream on to the second one. Or one follows the other: halves of what
    comes after the first stages. Nothing is handed over by a thread that has all of the network.
    """

    met: NDArray[np.int64]  # 2 16, the first of each row: how many sums a half has shown; no rows if there are no halves
    shown: NDArray[np.int32]  # 2 2 R (D or G or more): the last two sums of each half
    half: np.int64  # 0 or 1: the half of this thread
    fed: NDArray[np.int64]  # 2 16, the first of each row: how many feeds were passed on, and how many were taken
    passed: NDArray[np.int32]  # A R D: the residual stream after the first stages of the last A feeds
    known: NDArray[np.uint16]  # A R bits: the network's p1 of the known tokens of the last A feeds, if all stages are the first
    hidden: NDArray[np.int8]  # A R D: what is in `Scratch.hidden` after each of them, if all stages are the first; when decoding
    groups: NDArray[np.int64]  # A R G: what is in `Scratch.groups`, likewise
    first: np.int64  # the first stage of this thread
    end: np.int64  # the first stage after this thread's


def new_state(model: Model, lanes: int, code: int = NO_CODE) -> State:
    """Return the first state of `lanes` lanes: zeros, or what the code of the block says."""
    s = model.sizes
    n, d, e = s["layer_count"], s["width"], s["state_width"]
    state = State(
        h=np.zeros((n, lanes, e), np.int32),
        before=np.zeros((n, lanes, d), np.int8),
        code=np.zeros((lanes, d), np.int64),
    )
    state_of_codes(model, state, [code] * lanes)
    return state


def state_of_codes(model: Model, state: State, codes: Sequence[int]) -> None:
    """Set what lanes at their beginning have of their codes, one for each lane."""
    for lane, code in enumerate(codes):
        if code != NO_CODE:
            assert model.code is not None
            state.h[:, lane] = code_state(model.code, code)
            state.code[lane] = code_input(model.code, code)


def new_scratch(sizes: dict[str, int], rows: int) -> Scratch:
    """Return scratch to feed up to `rows` rows to a network of these sizes (a model's, or those of its half)."""
    d, e, f = sizes["width"], sizes["state_width"], sizes["mlp_width"]
    g, h = sizes["group_count"], sizes["group_mlp_width"]
    size = sizes["vocab_size"] // g
    i8, i32, i64 = np.int8, np.int32, np.int64
    mlp = MlpScratch(
        z=np.zeros((TOGETHER, f), i8),
        flags=np.zeros(-(-f // 64) * 64, i8),
        places=np.zeros((TOGETHER, f // 8 + 1), i64),
        counts=np.zeros(TOGETHER, i64),
        columns=np.zeros(4, i64),
        values=np.zeros(4, np.int16),
    )
    return Scratch(
        rows=np.arange(rows),
        x=np.zeros((rows, d), i32),
        y=np.zeros((rows, d), i8),
        u=np.zeros((rows, d), i8),
        gates=np.zeros((rows, 3 * e), i32),
        gates_row=np.zeros(3 * e, i32),
        out=np.zeros((rows, e), i8),
        delta=np.zeros((rows, d), i32),
        wide=np.zeros((rows, f), i32),
        mlp=mlp,
        group_wide=np.zeros((rows, h), i32),
        group_z=np.zeros((rows, h), i8),
        group_acc=np.zeros((rows, g), i32),
        token_acc=np.zeros((1, size), i32),
        room=np.zeros(room_words(rows, max(d, e, f, h)), i32),
        hidden=np.zeros((rows, d), i8),
        groups=np.zeros((rows, g), i64),
        tokens=np.zeros(size, i64),
    )


@inlined
def stage_count(layers: int) -> int:
    """Return how many stages a feed has: two a layer, the recurrence and the MLP; and the groups."""
    return 2 * layers + 1


def no_exchange() -> Exchange:
    """Return the exchange of a thread that has the whole network."""
    return Exchange(
        met=np.zeros((0, APART), np.int64),
        shown=np.zeros((0, 0, 0, 0), np.int32),
        half=np.int64(0),
        fed=_counters(),
        passed=np.zeros((2, 0, 0), np.int32),
        known=np.zeros((2, 0, 0), np.uint16),
        hidden=np.zeros((2, 0, 0), np.int8),
        groups=np.zeros((2, 0, 0), np.int64),
        first=np.int64(0),
        end=np.int64(ALL_STAGES),
    )


def _counters() -> NDArray[np.int64]:
    """Return two counters, each with a cache line to itself: a thread that looks at one disturbs no other writing."""
    return aligned_zeros(2 * APART, np.int64).reshape(2, APART)


def new_pipelines(sizes: dict[str, int], rows: int, ahead: int, is_known: bool) -> list[tuple[Exchange, Exchange]]:
    """Return the exchanges of the two threads of a pipeline that feeds R rows, for each way to share the stages.

    Of a pair the first thread mixes and has the last stages, or none; the second one has the first stages, half of them or more,
    and is so many feeds ahead at most. `is_known` says whether the tokens are.
    """
    bits, width = (sizes["vocab_size"] - 1).bit_length(), sizes["width"]
    both, stages = no_exchange()._replace(passed=np.zeros((ahead, rows, width), np.int32)), stage_count(sizes["layer_count"])
    if is_known:
        both = both._replace(known=np.zeros((ahead, rows, bits), np.uint16))
    else:
        hidden, groups = np.zeros((ahead, rows, width), np.int8), np.zeros((ahead, rows, sizes["group_count"]), np.int64)
        both = both._replace(hidden=hidden, groups=groups)
    cuts = [np.int64(cut) for cut in range(stages // 2, stages + 1)]
    return [(both._replace(first=cut), both._replace(end=cut)) for cut in cuts]


def new_exchanges(sizes: dict[str, int], rows: int) -> list[Exchange]:
    """Return the exchanges of two threads that each feed R rows to half of a network of these sizes; they share the arrays."""
    widest = max(sizes["width"], sizes["group_count"]) + APART  # so that the sums of two threads have no cache line in common
    met, shown = _counters(), np.zeros((2, 2, rows, widest), np.int32)
    return [no_exchange()._replace(met=met, shown=shown, half=np.int64(half)) for half in range(2)]
