"""The fast engine: the network of `nncomp.network.engine_reference` as compiled loops around exact int8 products.

`feed`, `step` and `token_frequencies` are compiled functions that other compiled loops call. They hand out the integers of the
reference; tests compare them with `==`.
"""

# R rows fed at once, L lanes, D width, E state width, F mlp width, G groups, S tokens a group, N layers

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled, inlined
from nncomp.machine.turns import pass_on, wait_for
from nncomp.network.code import FADE_SHIFT, INPUT_SHIFT
from nncomp.network.model import (
    EXP2_STEPS,
    LOGIT_BITS,
    LOGIT_MAX,
    MIN_NORM,
    NORM_SHIFT,
    OUTPUT_SHIFT,
    RESIDUAL_MAX,
    SCALE_HALF,
    SCALE_SHIFT,
    STATE_BITS,
    STATE_MAX,
    STATE_SHIFT,
    TABLE_HALF,
    Arrays,
    Model,
)
from nncomp.network.products import choose_product, multiply, pack
from nncomp.network.squared_relu import first_sums, mlp_out, squared_relu
from nncomp.network.state import TOGETHER, stage_count

_GATES, _STATE_OUT, _MLP_IN, _MLP_OUT, _PER_LAYER = range(5)  # places in `Constants.packed`, layer by layer; then the groups' two


class Constants(NamedTuple):
    """What the compiled functions read of a network, or of half of one; made once for a model."""

    product: np.uint64  # how products are made (`nncomp.network.products`)
    packed: NDArray[np.uint64]  # addresses of the weights as the product wants them: 4 a layer, 2 of the groups, 1 a group
    arrays: Arrays  # the model's
    mlp_out_turned: NDArray[np.int8]  # N F D: the second weight of each MLP, so that the weights of an input are in one place
    mlp_threshold: NDArray[np.int32]  # N F: from which sum on an output of the squared ReLU is not zero


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
            total += np.int64(x[i, j]) * np.int64(x[i, j])  # <= 4096 * 2**46
        root = max(_integer_sqrt(total // width), MIN_NORM)
        factor = np.int32(np.int64(16 << NORM_SHIFT) // root)  # <= 2**26
        for j in range(width):
            product = np.int64(x[i, j]) * np.int64(factor)  # |product| <= 2**49
            v = np.int32((product + (1 << (NORM_SHIFT - 1))) >> NORM_SHIFT)
            y[i, j] = np.int8(min(max(v, np.int32(-127)), np.int32(127)))


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
        out[j] = np.int32(min(max(z, -TABLE_HALF), TABLE_HALF - 1) + TABLE_HALF)


@inlined
def _look_up(table: Any, out: Any) -> None:
    for j in range(out.size):
        out[j] = table[np.uint64(out[j])]


@inlined
def _candidate(gates: Any, scale: Any, bias: Any, out: Any) -> None:
    for j in range(out.size):
        c = (np.int64(gates[j]) * np.int64(scale[j]) + bias[j]) >> STATE_SHIFT
        out[j] = np.int32(min(max(c, -STATE_MAX), STATE_MAX))


@inlined
def _recur_lane(rate: Any, c: Any, gate: Any, state_scale: int, h: Any, out: Any) -> None:
    """Products are of 32 bits by 32, for processors without one of 64 by 64."""
    for j in range(h.size):
        product = np.int64(np.int32(c[j] - h[j])) * np.int64(rate[j])  # |c - h| <= 2**27, rate <= 2**20
        h[j] = np.int32(h[j] + np.int32((product + (1 << (STATE_BITS - 1))) >> STATE_BITS))
    for j in range(h.size):
        gated = np.int32((np.int64(h[j]) * np.int64(gate[j])) >> 16)  # |h| <= 2**26, |gate| <= 2**20
        v = np.int32((np.int64(gated) * np.int64(state_scale) + (1 << (OUTPUT_SHIFT - 1))) >> OUTPUT_SHIFT)
        out[j] = np.int8(min(max(v, np.int32(-127)), np.int32(127)))


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


@compiled
def _add(x: Any, acc: Any, scale: Any) -> None:
    lanes, width = x.shape
    for i in range(lanes):
        for j in range(width):
            v = np.int64(x[i, j]) + ((np.int64(acc[i, j]) * np.int64(scale[j]) + SCALE_HALF) >> SCALE_SHIFT)
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


@inlined
def _embed(embedding: Any, scale: int, code: Any, x: Any) -> None:
    for j in range(x.size):
        v = (np.int64(embedding[j]) * scale + 128) >> 8
        v = min(max(v, -RESIDUAL_MAX), RESIDUAL_MAX) + (code[j] >> INPUT_SHIFT)  # |code| < 2**31
        code[j] -= code[j] >> FADE_SHIFT
        x[j] = np.int32(min(max(v, -RESIDUAL_MAX), RESIDUAL_MAX))


@inlined
def copy_rows(rows: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = rows[i, j]


@compiled
def _add_other_half(exchange: Any, acc: Any, give_core_away: Any) -> None:
    """Add the sums of the thread that has the other half of the network to `acc`, row by row; wait until they are there.

    Two places take turns. A thread that shows its next sums has read the other's sums before the last, or the other could not
    have shown the last: so no sums are overwritten before they are read.
    """
    half, rows, size = exchange.half, acc.shape[0], acc.shape[1]
    number = exchange.met[half, 0] + 1
    mine, others = exchange.shown[number & 1, half], exchange.shown[number & 1, 1 - half]
    for i in range(rows):
        for j in range(size):
            mine[i, j] = acc[i, j]
    pass_on(exchange.met[half], number)
    wait_for(exchange.met[1 - half], number, give_core_away)
    for i in range(rows):
        for j in range(size):
            acc[i, j] += others[i, j]


@inlined
def feed_here(constants: Any, state: Any, scratch: Any, exchange: Any, tokens: Any, lanes: Any, give_core_away: Any) -> None:
    """Feed token after token (R int32) to their lanes (R int64); a lane may come any number of times. Afterwards row i of
    scratch.groups holds the frequencies of the groups after tokens[i].

    Only the token shift and the recurrence go from token to token. All else is done for all rows together, so that a weight is
    read once.

    With half of a network (`nncomp.network.halves`) the sums that need both halves come together in `exchange`: another thread
    must feed the same tokens to the other half. With the first stages of a network a feed ends when the residual stream is passed
    on; with the others it begins when that has come, or with what is in `scratch.x` if nothing is passed.
    """
    product, packed, a = constants.product, constants.packed, constants.arrays
    rows, layers, first, end = tokens.size, state.h.shape[0], exchange.first, exchange.end
    x, y, u, gates = scratch.x[:rows], scratch.y[:rows], scratch.u[:rows], scratch.gates[:rows]
    out, delta, wide, hidden = scratch.out[:rows], scratch.delta[:rows], scratch.wide[:rows], scratch.hidden[:rows]
    room, is_half = scratch.room, exchange.met.size > 0
    if first == 0:
        for i in range(rows):
            _embed(a.embedding[tokens[i]], np.int64(a.embedding_scale[tokens[i]]), state.code[lanes[i]], x[i])
    elif exchange.passed.shape[1] > 0:
        taken = exchange.fed[1, 0]
        wait_for(exchange.fed[0], taken + 1, give_core_away)
        copy_rows(exchange.passed[taken % exchange.passed.shape[0]], x)
        exchange.fed[1, 0] = taken + 1
    for n in range(layers):
        p = n * _PER_LAYER
        if first <= 2 * n < end:
            _normalise(x, y)
            _token_shift(y, lanes, state.before[n], a.shift[n], u)
            multiply(product, packed[p + _GATES], a.gates_weight[n], u, room, gates)
            scale, bias, state_scale = a.gates_scale[n], a.gates_bias[n], a.state_scale[n]
            _recur(gates, lanes, scale, bias, a.sigmoid, a.silu, state_scale, state.h[n], out, scratch.gates_row)
            multiply(product, packed[p + _STATE_OUT], a.state_out_weight[n], out, room, delta)
            if is_half:
                _add_other_half(exchange, delta, give_core_away)
            _add(x, delta, a.state_out_scale[n])
        if first <= 2 * n + 1 < end:
            _normalise(x, y)
            multiply(product, packed[p + _MLP_IN], a.mlp_in_weight[n], y, room, wide)
            for i in range(0, rows, TOGETHER):
                last = min(i + TOGETHER, rows)
                mlp_out(
                    product, packed[p + _MLP_OUT], a.mlp_out_weight[n], constants.mlp_out_turned[n], a.mlp_in_scale[n],
                    constants.mlp_threshold[n], wide[i:last], scratch.mlp, room, delta[i:last],
                )  # fmt: skip
            if is_half:
                _add_other_half(exchange, delta, give_core_away)
            _add(x, delta, a.mlp_out_scale[n])
    if end < stage_count(layers):
        passed = exchange.fed[0, 0]
        copy_rows(x, exchange.passed[passed % exchange.passed.shape[0], :rows])
        pass_on(exchange.fed[0], passed + 1)
        return
    _normalise(x, hidden)
    p = layers * _PER_LAYER
    group_wide, group_z, group_acc = scratch.group_wide[:rows], scratch.group_z[:rows], scratch.group_acc[:rows]
    multiply(product, packed[p], a.group_in_weight, hidden, room, group_wide)
    squared_relu(group_wide, a.group_in_scale, group_z)
    multiply(product, packed[p + 1], a.group_out_weight, group_z, room, group_acc)
    if is_half:
        _add_other_half(exchange, group_acc, give_core_away)
    for i in range(rows):
        _frequencies(group_acc[i], a.group_out_scale, a.group_out_bias, a.exp2, scratch.groups[i])


@compiled
def feed(constants: Any, state: Any, scratch: Any, exchange: Any, tokens: Any, lanes: Any, give_core_away: Any) -> None:
    """Do what `feed_here` does, as a kernel: a call takes a third of a microsecond for its hundreds of arguments."""
    feed_here(constants, state, scratch, exchange, tokens, lanes, give_core_away)


@compiled
def step(constants: Any, state: Any, scratch: Any, alone: Any, tokens: Any) -> None:
    """Feed one token (int32) to each lane; afterwards scratch.groups holds the frequencies of the groups of the next token.

    `alone` is `no_exchange()`.
    """
    feed(constants, state, scratch, alone, tokens, scratch.rows, np.uint64(0))


@compiled
def token_frequencies(constants: Any, scratch: Any, row: int, group: int) -> None:
    """Set scratch.tokens to the frequencies of the tokens of one group after the token of one row; after a step, of one lane."""
    a, size = constants.arrays, scratch.tokens.size
    low, high = group * size, (group + 1) * size
    address = constants.packed[a.shift.shape[0] * _PER_LAYER + 2 + group]
    multiply(constants.product, address, a.token_weight[low:high], scratch.hidden[row : row + 1], scratch.room, scratch.token_acc)
    _frequencies(scratch.token_acc[0], a.token_scale[low:high], a.token_bias[low:high], a.exp2, scratch.tokens)


def layer_weights(a: Arrays) -> list[NDArray[np.int8]]:
    """Return the weights of the layers and of the groups in the order of `Constants.packed`."""
    layers = zip(a.gates_weight, a.state_out_weight, a.mlp_in_weight, a.mlp_out_weight, strict=True)
    return [weight for layer in layers for weight in layer] + [a.group_in_weight, a.group_out_weight]


class Network:
    """A model ready to run: constants for the compiled functions, the weights packed for the products of this machine."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.second = Network(model.second) if model.second else None
        a, size = model.arrays, model.group_size
        self._weights = layer_weights(a) + [a.token_weight[i : i + size] for i in range(0, len(a.token_weight), size)]
        self._turned = np.ascontiguousarray(a.mlp_out_weight.swapaxes(1, 2))
        self._made: dict[int, Constants] = {}  # by product
        self._for_rows: dict[int, Constants] = {}
        self._buffers: list[NDArray[np.uint8]] = []  # `Constants.packed` points into them

    @property
    def all(self) -> list[Network]:
        """All networks of the model: this one, and the second one if there is one."""
        return [self] if self.second is None else [self, self.second]

    def constants(self, rows: int) -> Constants:
        """Return what the compiled functions read; the product is the quickest for so many rows. They live as long as this."""
        if rows not in self._for_rows:
            self._for_rows[rows] = self._constants(rows)
        return self._for_rows[rows]

    def _constants(self, rows: int) -> Constants:
        product = choose_product([weight.shape for weight in self._weights], rows)
        if product not in self._made:
            a, pairs = self.model.arrays, [pack(product, weight) for weight in self._weights]
            self._buffers += [buffer for _, buffer in pairs]
            packed = np.array([address for address, _ in pairs], dtype=np.uint64)
            self._made[product] = Constants(np.uint64(product), packed, a, self._turned, first_sums(a.mlp_in_scale))
        return self._made[product]
