"""The fast engine: the integer network of `nncomp.network.engine_reference` as compiled loops around exact int8 products.

`feed`, `step` and `token_frequencies` are compiled functions that other compiled loops call; `FastEngine` wraps the last two
with the interface of the reference. Same integers, by test with `==`.
"""

# R rows fed at once, L lanes, D width, E state width, F mlp width, G groups, S tokens a group, N layers

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled, inlined
from nncomp.machine.turns import pass_on, wait_for
from nncomp.network.code_tables import code_input, code_state
from nncomp.network.model import (
    EXP2_STEPS,
    LOGIT_BITS,
    LOGIT_MAX,
    MIN_NORM,
    NORM_SHIFT,
    OUTPUT_SHIFT,
    RESIDUAL_MAX,
    SCALE_SHIFT,
    STATE_BITS,
    STATE_MAX,
    STATE_SHIFT,
    TABLE_HALF,
    Arrays,
    Model,
)
from nncomp.network.products import choose_product, multiply, pack

_HALF = 1 << (SCALE_SHIFT - 1)
_FIRST_ROOT = 182  # the least t whose square's code, (t * t + 2**15) >> 16, is not 0
_NEVER = (1 << 31) - 1  # a sum is less
# What the compiled functions read: the arrays of the model; each layer's second MLP weight turned, N F D int8; and from which sum
# on an output of the squared ReLU is not zero, N F int32.
Operands: Any = namedtuple("Operands", (*Arrays._fields, "mlp_out_KN", "mlp_threshold"))  # type: ignore[misc]
_GATES, _STATE_OUT, _MLP_IN, _MLP_OUT, _PER_LAYER = range(5)  # places in `packed`, layer by layer; then the group's two
_TOGETHER = 4  # rows of the second product of the MLP: of these all are multiplied out if one has many columns
_APART = 16  # words of `Buffers.turns` from layer to layer, for each a cache line of its own


class Buffers(NamedTuple):
    """State of L lanes and scratch of R rows; allocated once."""

    h: NDArray[np.int64]  # N L E
    before: NDArray[np.int8]  # N L D
    turns: NDArray[np.int64]  # N 16, the first: how many feeds have gone through the layer's state
    x: NDArray[np.int64]  # R D
    y: NDArray[np.int8]  # R D
    u: NDArray[np.int8]  # R D
    gates: NDArray[np.int32]  # R 3E
    out: NDArray[np.int8]  # R E
    delta: NDArray[np.int32]  # R D
    wide: NDArray[np.int32]  # R F
    z: NDArray[np.int8]  # R F
    group_wide: NDArray[np.int32]  # R H
    group_z: NDArray[np.int8]  # R H
    group_acc: NDArray[np.int32]  # R G
    groups: NDArray[np.int64]  # R G, frequencies
    token_acc: NDArray[np.int32]  # 1 S
    tokens: NDArray[np.int64]  # S, frequencies
    hidden: NDArray[np.int8]  # R D
    sums: NDArray[np.int32]  # R, scratch of the products
    flags: NDArray[np.int8]  # F or a little more, which outputs of the squared ReLU are not zero
    active: NDArray[np.int64]  # 4, F / 8 + 1, the places of those
    scratch: NDArray[np.int64]  # 3E
    code: NDArray[np.int64]  # D, what a code adds to the input of each step
    rows: NDArray[np.int64]  # R, 0 to R - 1
    met: NDArray[np.int64]  # 2 16, the first: how many sums each half has shown; 0 16 for a network that is whole
    shown: NDArray[np.int32]  # 2 2 D or G or more: the last two sums of each half
    half: int  # 0 or 1


def new_buffers(model: Model, lanes: int, digits_C: NDArray[np.int64] | None = None, rows: int = 0) -> Buffers:
    """Return the first state, and scratch, for `lanes` lanes: zeros, or what a code of these levels makes of it.

    So many rows can be fed at once, or one a lane.
    """
    buffers = buffers_of(model.sizes, model.group_size, lanes, rows or lanes)
    if digits_C is not None and len(digits_C):
        assert model.code is not None
        buffers.h[:] = code_state(model.code, digits_C)[:, None]
        buffers.code[:] = code_input(model.code, digits_C)
    return buffers


def buffers_of(s: dict[str, int], size: int, lanes: int, rows: int) -> Buffers:
    """Return the same, all zeros, for a network of these sizes with so many tokens a group."""
    n, d, e, f = s["layer_count"], s["width"], s["state_width"], s["mlp_width"]
    g, h = s["group_count"], s["group_mlp_width"]
    i8, i32, i64 = np.int8, np.int32, np.int64
    return Buffers(
        h=np.zeros((n, lanes, e), i64),
        before=np.zeros((n, lanes, d), i8),
        turns=np.zeros((n, _APART), i64),
        x=np.zeros((rows, d), i64),
        y=np.zeros((rows, d), i8),
        u=np.zeros((rows, d), i8),
        gates=np.zeros((rows, 3 * e), i32),
        out=np.zeros((rows, e), i8),
        delta=np.zeros((rows, d), i32),
        wide=np.zeros((rows, f), i32),
        z=np.zeros((rows, f), i8),
        group_wide=np.zeros((rows, h), i32),
        group_z=np.zeros((rows, h), i8),
        group_acc=np.zeros((rows, g), i32),
        groups=np.zeros((rows, g), i64),
        token_acc=np.zeros((1, size), i32),
        tokens=np.zeros(size, i64),
        hidden=np.zeros((rows, d), i8),
        sums=np.zeros(rows, i32),
        flags=np.zeros(-(-f // 8) * 8, i8),
        active=np.zeros((_TOGETHER, f // 8 + 1), i64),
        scratch=np.zeros(3 * e, i64),
        code=np.zeros(d, i64),
        rows=np.arange(rows),
        met=np.zeros((0, _APART), i64),
        shown=np.zeros((0, 0, 0), i32),
        half=0,
    )


@inlined
def _integer_sqrt(value: int) -> int:
    """Return floor(sqrt(value)) for 0 <= value < 2**53: the IEEE root, corrected."""
    root = np.int64(np.sqrt(np.float64(value)))
    while root * root > value:
        root -= 1
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root


@compiled
def _normalise(x: Any, y: Any) -> None:
    lanes, width = x.shape
    for i in range(lanes):
        total = np.int64(0)
        for j in range(width):
            total += x[i, j] * x[i, j]  # <= 4096 * 2**46
        factor = np.int64(16 << NORM_SHIFT) // max(_integer_sqrt(total // width), MIN_NORM)
        for j in range(width):
            v = (x[i, j] * factor + (1 << (NORM_SHIFT - 1))) >> NORM_SHIFT  # |x * factor| <= 2**49
            y[i, j] = np.int8(min(max(v, -127), 127))


@compiled
def _token_shift(y: Any, lanes: Any, before: Any, shift: Any, u: Any) -> None:
    rows, width = y.shape
    for i in range(rows):
        last = before[lanes[i]]
        for j in range(width):
            s = np.int32(shift[j])
            u[i, j] = np.int8((np.int32(y[i, j]) * (128 - s) + np.int32(last[j]) * s + 64) >> 7)
            last[j] = y[i, j]


@inlined
def _table_index(gates: Any, scale: Any, bias: Any, out: Any) -> None:
    for j in range(out.size):
        z = (np.int64(gates[j]) * np.int64(scale[j]) + bias[j]) >> SCALE_SHIFT
        out[j] = min(max(z, -TABLE_HALF), TABLE_HALF - 1) + TABLE_HALF


@inlined
def _look_up(table: Any, out: Any) -> None:
    for j in range(out.size):
        out[j] = np.int64(table[np.uint64(out[j])])


@inlined
def _candidate(gates: Any, scale: Any, bias: Any, out: Any) -> None:
    for j in range(out.size):
        c = (np.int64(gates[j]) * np.int64(scale[j]) + bias[j]) >> STATE_SHIFT
        out[j] = min(max(c, -STATE_MAX), STATE_MAX)


@inlined
def _recur_lane(rate: Any, c: Any, gate: Any, state_scale: int, h: Any, out: Any) -> None:
    for j in range(h.size):
        h[j] += ((c[j] - h[j]) * rate[j] + (1 << (STATE_BITS - 1))) >> STATE_BITS
    for j in range(h.size):
        v = (((h[j] * gate[j]) >> 16) * state_scale + (1 << (OUTPUT_SHIFT - 1))) >> OUTPUT_SHIFT
        out[j] = np.int8(min(max(v, -127), 127))


@compiled
def _recur(
    gates: Any, lanes: Any, scale: Any, bias: Any, sigmoid: Any, silu: Any, state_scale: int, h: Any, out: Any, scratch: Any
) -> None:
    """Short loops over slices that begin at 0: with an offset in the index the compiler leaves them scalar, 3 times slower."""
    rows, e = out.shape
    rate, c, gate = scratch[:e], scratch[e : 2 * e], scratch[2 * e :]
    for i in range(rows):
        _table_index(gates[i, :e], scale[:e], bias[:e], rate)
        _look_up(sigmoid, rate)
        _candidate(gates[i, e : 2 * e], scale[e : 2 * e], bias[e : 2 * e], c)
        _table_index(gates[i, 2 * e :], scale[2 * e :], bias[2 * e :], gate)
        _look_up(silu, gate)
        _recur_lane(rate, c, gate, state_scale, h[lanes[i]], out[i])


@inlined
def _square(acc: Any, scale: Any) -> Any:
    t = min((max(np.int64(acc), 0) * scale + _HALF) >> SCALE_SHIFT, 4095)
    return np.int8(min((t * t + (1 << 15)) >> 16, 127))


@compiled
def _squared_relu(acc: Any, scale: Any, z: Any) -> None:
    lanes, width = acc.shape
    for i in range(lanes):
        for j in range(width):
            z[i, j] = _square(acc[i, j], scale[j])


def first_sums(scale: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the least sum of each output whose squared ReLU is not zero: acc * scale + half >= 182 * 2**20."""
    least = (_FIRST_ROOT << SCALE_SHIFT) - _HALF
    return np.where(scale > 0, -(-least // np.maximum(scale.astype(np.int64), 1)), _NEVER).astype(np.int32)


@inlined
def _find_active(acc: Any, threshold: Any, flags: Any, active: Any) -> int:
    """Write the places where the sums reach their thresholds into `active`; return how many there are, which may be more."""
    for j in range(acc.size):
        flags[j] = acc[j] >= threshold[j]
    count, last, words = 0, active.size - 1, flags.view(np.int64)  # eight at a time
    for x in range(words.size):
        if words[x] != 0:
            for j in range(8 * x, 8 * x + 8):
                active[min(count, last)] = j
                count += np.int64(flags[j])
    return count


@inlined
def _add_column(value: Any, weight: Any, out: Any) -> None:
    for j in range(out.size):
        out[j] += value * np.int32(weight[j])


@inlined
def _add_active(wide: Any, scale: Any, threshold: Any, turned: Any, flags: Any, active: Any, counts: Any, out: Any) -> bool:
    """Set `out` to the product of the squared ReLU of `wide`, column by column, and return True; or False if they are many."""
    for i in range(wide.shape[0]):
        counts[i] = _find_active(wide[i], threshold, flags, active[i])
        if counts[i] >= active.shape[1]:
            return False
    for i in range(wide.shape[0]):
        row = out[i]
        for j in range(row.size):
            row[j] = 0
        for x in range(counts[i]):
            j = active[i, x]
            _add_column(np.int32(_square(wide[i, j], scale[j])), turned[j], row)
    return True


@compiled
def _mlp_out(
    product: Any, packed: Any, weight: Any, turned: Any, scale: Any, threshold: Any, wide: Any, z: Any, flags: Any, active: Any,
    sums: Any, out: Any,
) -> None:  # fmt: skip
    """Set `out` to the product of the squared ReLU of `wide`. In int8 one in a hundred of its outputs is not zero
    (docs/log/network.md): the columns of those are added, the same sums in another order. Where they are more than an eighth, the
    product is made as a whole. (Arrays one by one: to hand over all of `b` would take as long as the columns.)"""
    if not _add_active(wide, scale, threshold, turned, flags, active, sums, out):
        _squared_relu(wide, scale, z)
        multiply(product, packed, weight, z, sums, out)


@compiled
def _add(x: Any, acc: Any, scale: Any) -> None:
    lanes, width = x.shape
    for i in range(lanes):
        for j in range(width):
            v = x[i, j] + ((np.int64(acc[i, j]) * scale[j] + _HALF) >> SCALE_SHIFT)
            x[i, j] = min(max(v, -RESIDUAL_MAX), RESIDUAL_MAX)


@compiled
def _frequencies(acc: Any, scale: Any, bias: Any, exp2: Any, out: Any) -> None:
    largest = np.int64(-LOGIT_MAX)
    for j in range(acc.size):
        logit = (np.int64(acc[j]) * scale[j] + bias[j]) >> SCALE_SHIFT
        logit = min(max(logit, -LOGIT_MAX), LOGIT_MAX)
        out[j] = logit
        largest = max(largest, logit)
    for j in range(acc.size):
        below = largest - out[j]
        shift = min(below >> LOGIT_BITS, 31)
        out[j] = max(np.int64(exp2[np.uint64(below & (EXP2_STEPS - 1))]) >> shift, 1)


@compiled
def _add_other_half(met: Any, shown: Any, half: int, acc: Any, give_core_away: Any) -> None:
    """Add to `acc` (one row) the sums that the thread of the other half has in its place, when it has.

    The place alternates: who shows its next sums has taken those before the last ones, or the other would not have shown those.
    """
    row, number = acc[0], met[half, 0] + 1
    mine, others = shown[number & 1, half], shown[number & 1, 1 - half]
    for j in range(row.size):
        mine[j] = row[j]
    pass_on(met[half], number)
    wait_for(met[1 - half], number, give_core_away)
    for j in range(row.size):
        row[j] += others[j]


@compiled
def feed(product: Any, packed: Any, a: Any, b: Any, tokens: Any, lanes: Any, number: int, give_core_away: Any) -> None:
    """Feed token after token (R int32) to their lanes (R int64), of which one may come any number of times; afterwards row i of
    b.groups holds the frequencies of the next token's groups after tokens[i].

    Of the network only the shift and the recurrence go from token to token; all else is done for all rows at once, so that a
    weight is read once. This is feed `number` of these states: a thread that has the one before may be in a later layer.

    If `packed`, `a` and `b` are half a network (`nncomp.network.halves`), the sums that need both halves are added to those of
    the thread that feeds the other one the same.
    """
    rows, layers = tokens.size, b.h.shape[0]
    x, y, u, gates, out, delta = b.x[:rows], b.y[:rows], b.u[:rows], b.gates[:rows], b.out[:rows], b.delta[:rows]
    wide, hidden, group_wide, group_z = b.wide[:rows], b.hidden[:rows], b.group_wide[:rows], b.group_z[:rows]
    is_half = b.met.size > 0
    for i in range(rows):
        token = tokens[i]
        row = np.int64(a.embedding_scale[token])
        for j in range(x.shape[1]):
            v = (np.int64(a.embedding[token, j]) * row + 128) >> 8
            v = min(max(v, -RESIDUAL_MAX), RESIDUAL_MAX) + b.code[j]
            x[i, j] = min(max(v, -RESIDUAL_MAX), RESIDUAL_MAX)
    for n in range(layers):
        p = n * _PER_LAYER
        _normalise(x, y)
        wait_for(b.turns[n], number, give_core_away)
        _token_shift(y, lanes, b.before[n], a.shift[n], u)
        multiply(product, packed[p + _GATES], a.gates_weight[n], u, b.sums, gates)
        _recur(
            gates, lanes, a.gates_scale[n], a.gates_bias[n], a.sigmoid, a.silu, np.int64(a.state_scale[n]), b.h[n], out, b.scratch
        )
        pass_on(b.turns[n], number + 1)
        multiply(product, packed[p + _STATE_OUT], a.state_out_weight[n], out, b.sums, delta)
        if is_half:
            _add_other_half(b.met, b.shown, b.half, delta, give_core_away)
        _add(x, delta, a.state_out_scale[n])
        _normalise(x, y)
        multiply(product, packed[p + _MLP_IN], a.mlp_in_weight[n], y, b.sums, wide)
        for i in range(0, rows, _TOGETHER):
            end = min(i + _TOGETHER, rows)
            _mlp_out(
                product, packed[p + _MLP_OUT], a.mlp_out_weight[n], a.mlp_out_KN[n], a.mlp_in_scale[n], a.mlp_threshold[n],
                wide[i:end], b.z[i:end], b.flags, b.active, b.sums, delta[i:end],
            )  # fmt: skip
        if is_half:
            _add_other_half(b.met, b.shown, b.half, delta, give_core_away)
        _add(x, delta, a.mlp_out_scale[n])
    _normalise(x, hidden)
    p = layers * _PER_LAYER
    multiply(product, packed[p], a.group_in_weight, hidden, b.sums, group_wide)
    _squared_relu(group_wide, a.group_in_scale, group_z)
    multiply(product, packed[p + 1], a.group_out_weight, group_z, b.sums, b.group_acc[:rows])
    if is_half:
        _add_other_half(b.met, b.shown, b.half, b.group_acc, give_core_away)
    for i in range(rows):
        _frequencies(b.group_acc[i], a.group_out_scale, a.group_out_bias, a.exp2, b.groups[i])


@compiled
def step(product: Any, packed: Any, a: Any, b: Any, tokens: Any) -> None:
    """Feed one token (int32) to each lane; afterwards b.groups holds the frequencies of the next token's groups."""
    feed(product, packed, a, b, tokens, b.rows, b.turns[0, 0], np.uint64(0))


@compiled
def token_frequencies(product: Any, packed: Any, a: Any, b: Any, row: int, group: int) -> None:
    """Set b.tokens to the frequencies of the tokens of one group after the token of one row; after a step, of one lane."""
    size = b.tokens.size
    low, high = group * size, (group + 1) * size
    at = b.h.shape[0] * _PER_LAYER + 2 + group
    multiply(product, packed[at], a.token_weight[low:high], b.hidden[row : row + 1], b.sums, b.token_acc)
    _frequencies(b.token_acc[0], a.token_scale[low:high], a.token_bias[low:high], a.exp2, b.tokens)


def layer_weights(a: Any) -> list[NDArray[np.int8]]:
    """Return the weights of the layers and of the groups in the order of `packed`."""
    layers = zip(a.gates_weight, a.state_out_weight, a.mlp_in_weight, a.mlp_out_weight, strict=True)
    return [weight for layer in layers for weight in layer] + [a.group_in_weight, a.group_out_weight]


class Network:
    """A model ready for the compiled functions: its arrays, and its weights as the product wants them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        turned = np.ascontiguousarray(model.arrays.mlp_out_weight.swapaxes(1, 2))
        self.arrays: Any = Operands._make([*model.arrays, turned, first_sums(model.arrays.mlp_in_scale)])
        a, size = model.arrays, model.group_size
        weights = layer_weights(a)
        weights += [a.token_weight[i : i + size] for i in range(0, len(a.token_weight), size)]
        product = choose_product([weight.shape for weight in weights])
        self.product = np.uint64(product)
        pairs = [pack(product, weight) for weight in weights]
        self.packed = np.array([address for address, _ in pairs], dtype=np.uint64)
        self._buffers = [buffer for _, buffer in pairs]  # `packed` points into them


class FastEngine:
    """L lanes of the network; the interface of ReferenceEngine."""

    def __init__(self, model: Network, lanes: int, digits_C: NDArray[np.int64] | None = None) -> None:
        self.packed = model
        self.buffers = new_buffers(model.model, lanes, digits_C)

    def step(self, tokens_L: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Feed one token to each lane; return the frequencies of the groups of the next, shape (L, G), int64."""
        p = self.packed
        step(p.product, p.packed, p.arrays, self.buffers, np.ascontiguousarray(tokens_L, dtype=np.int32))
        return self.buffers.groups.copy()

    def token_frequencies(self, lane: int, group: int) -> NDArray[np.int64]:
        """Return the frequencies of the tokens of one group after the last step, shape (S,), int64."""
        p = self.packed
        token_frequencies(p.product, p.packed, p.arrays, self.buffers, lane, group)
        return self.buffers.tokens.copy()
