"""The mixer and the APMs: from the predictions of all contexts to one probability.

The mixer adds its inputs, weighed, in the logistic domain. It does so with several *weight sets* at once: each *selector* picks
one weight set of its own by what is known of the decision (PAQ8's mixer contexts). One or two *final mixers* weigh the sums, and
their mean is the mixed prediction. Then *APMs* (adaptive probability maps, PAQ's word; also SSE) refine it: curves over the
logistic domain, one a context. An APM can also refine an input.

Knows nothing of where inputs and selectors come from. The definition is `byte_predictor_reference.Mixer` and `.Apm`.
"""

# I inputs, R selectors, F final mixers, W weights of a set: I or R, up to a multiple of 8

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.aligned import LINE_BYTES, aligned_empty
from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import tables, vectors
from nncomp.mixing.arithmetic import COUNT_BITS, LOGIT_LIMIT, adapt_point, limited, packed_probability, squash

WEIGHT_ONE = 65536  # the weight 1
WEIGHT_LIMIT = 1 << 19  # the weight 8
_SUM_SHIFT = 16 - vectors.DOT_SHIFT
USES_LIMIT = (1 << 16) - 1  # of the uses of a weight set

APM_POINTS = 16  # of a context, one nat apart: 64 bytes, one line of a cache
_APM_STEP_BITS = 8
_APM_STEP = 1 << _APM_STEP_BITS
_APM_FIRST = -(APM_POINTS - 1) * _APM_STEP // 2  # the first point's place in the logistic domain; the last one's is its negative
_REFINED_SHIFT = 6 + _APM_STEP_BITS  # from a product of 22 bits and a distance between points to 16 bits


class WeightSets(NamedTuple):
    """The weight sets of all selectors, or the final ones of all final mixers, one selector or mixer after another.

    A set has the weights of the first set that it begins as when it is used first: until then nothing is written there.
    """

    weights: Any  # (sets, W) int32: those of a first set, and zeros
    uses: Any  # (sets,) uint16: how many decisions each has learned, up to USES_LIMIT
    begun_as: Any  # (sets,) int32: the first set that each began as
    first: Any  # (first sets, I or R) int32


class Mixer(NamedTuple):
    """What is learned: the weights."""

    sets: WeightSets  # of the selectors
    finals: WeightSets  # of the final mixers


class MixerScratch(NamedTuple):
    """Scratch: what the decision at hand is mixed from."""

    inputs: Any  # (W,) int32, logistic domain: I, and zeros
    chosen: Any  # (R,) int64: the weight set that each selector picks
    begun_as: Any  # (R,) int64: the first set that it begins as
    outputs: Any  # (R and zeros,) int32, logistic domain: the sum of each
    final_chosen: Any  # (F,) int64, F 1 or 2: the final weight set that each final mixer picks, and begins as
    final_outputs: Any  # (F,) int32, logistic domain: the sum of each
    last: Any  # (1 + APMs,) int64: what the last prediction used and gave, for its update


# Fields of `MixerScratch.last`: the mixed prediction (logistic domain); then a context for each APM.
MIXED, APM_CONTEXT = range(2)


def first_final_weights(final_sets: int, selectors: int) -> Any:
    """Return final weights that take the mean: shape (final_sets, R), int32."""
    return np.full((final_sets, selectors), WEIGHT_ONE // selectors, np.int32)


def new_sets(sets: int, first: Any) -> WeightSets:
    """Return so many weight sets, none of them used, that begin as those in `first`, int32, a row each."""
    width = vectors.padded(first.shape[1])
    begun_as = np.empty(sets, np.int32)  # it and the weights are written before they are read
    weights = aligned_empty(sets * width, np.int32).reshape(sets, width)
    return WeightSets(weights, np.zeros(sets, np.uint16), begun_as, first)


def learned_first(sets: WeightSets) -> Any:
    """Return the first sets as the mean of the sets that began as each, by their uses; one that none began as stays."""
    used, width = np.flatnonzero(sets.uses), sets.first.shape[1]
    total, uses = np.zeros(sets.first.shape, np.int64), np.zeros(len(sets.first), np.int64)
    np.add.at(total, sets.begun_as[used], sets.weights[used, :width] * sets.uses[used, None].astype(np.int64))
    np.add.at(uses, sets.begun_as[used], sets.uses[used])
    is_used = uses > 0
    result = sets.first.copy()
    result[is_used] = total[is_used] // uses[is_used, None]
    return result


def new_mixer_scratch(inputs: int, selectors: int, finals: int, apms: int) -> MixerScratch:
    """Return scratch for I inputs, R selectors, F final mixers and so many APMs."""
    return MixerScratch(
        inputs=np.zeros(vectors.padded(inputs), np.int32),
        chosen=np.zeros(selectors, np.int64),
        begun_as=np.zeros(selectors, np.int64),
        outputs=np.zeros(vectors.padded(selectors), np.int32),
        final_chosen=np.zeros(finals, np.int64),
        final_outputs=np.zeros(finals, np.int32),
        last=np.zeros(APM_CONTEXT + apms, np.int64),
    )


@inlined
def ask_for_set(sets: WeightSets, chosen: int) -> None:
    """Ask for the cache lines of a weight set, some time before `dot` needs them."""
    size = 4 * sets.weights.shape[1]
    for at in range(0, size, LINE_BYTES):
        prefetch(sets.weights, chosen * size + at)


@inlined
def _sum(sets: WeightSets, chosen: int, first: int, inputs: Any) -> int:
    """Return the sum of the inputs, weighed by a set that begins as the first set `first`, in the logistic domain.

    Bound: |w| <= 2**19 and |x| <= 3071, so a product is below 2**31, and below 2**22 when it is shifted; at most 2**9 inputs.
    """
    if sets.uses[chosen] == 0:
        sets.begun_as[chosen] = first
        for i in range(inputs.size):
            sets.weights[chosen, i] = sets.first[first, i] if i < sets.first.shape[1] else np.int32(0)
    return limited(vectors.dot(sets.weights, chosen, inputs) >> _SUM_SHIFT)


@inlined
def mix(mixer: Mixer, scratch: MixerScratch) -> None:
    """Set the mixed prediction (logistic domain) of `scratch.inputs` by the weight sets that were picked."""
    for r in range(scratch.chosen.size):
        scratch.outputs[r] = _sum(mixer.sets, scratch.chosen[r], scratch.begun_as[r], scratch.inputs)
    total = np.int64(0)
    for f in range(scratch.final_chosen.size):
        chosen = scratch.final_chosen[f]
        x = _sum(mixer.finals, chosen, chosen, scratch.outputs)
        scratch.final_outputs[f] = x
        total += x
    scratch.last[MIXED] = total >> (scratch.final_chosen.size - 1)  # the mean of one or two


@inlined
def learn(sets: WeightSets, chosen: int, inputs: Any, error: int, rates: Any) -> None:
    """Move one weight set along its inputs by the error (16 bits) times its rate (2**-18 of the weight 1).

    `rates` are three numbers, least, extra and shift: the rate is least + extra // (64 + (uses >> shift)), so it falls.

    Bound: |error| <= 2**16, rate <= 2**13, so |step| <= 2**19; |step * x| < 2**31.
    """
    uses = np.int64(sets.uses[chosen])
    sets.uses[chosen] = uses + (uses < USES_LIMIT)
    step = (error * (rates[0] + rates[1] // (64 + (uses >> rates[2])))) >> 10
    if -11 < step < 11:  # |step * x| <= 10 * 3071 < 2**15: no weight would change
        return
    vectors.move_along(sets.weights, chosen, inputs, step, WEIGHT_LIMIT)


@inlined
def update_mixer(mixer: Mixer, scratch: MixerScratch, bit: int, rates: Any) -> None:
    """Teach the decision `bit` to the weight sets that were picked: the final ones first, then the others.

    `rates` (1 + R, 3) are those of the final mixers and of each selector, see `learn`.
    """
    target = bit << 16
    for f in range(scratch.final_chosen.size):
        error = target - squash(np.int64(scratch.final_outputs[f]))
        learn(mixer.finals, scratch.final_chosen[f], scratch.outputs, error, rates[0])
    for r in range(scratch.chosen.size):
        error = target - squash(np.int64(scratch.outputs[r]))
        learn(mixer.sets, scratch.chosen[r], scratch.inputs, error, rates[1 + r])


def new_apm(contexts: int) -> Any:
    """Return an APM that changes nothing yet: shape (contexts * APM_POINTS,), uint32, adaptive probabilities."""
    squashed = tables.squash_table()
    points = [packed_probability(int(squashed[_APM_FIRST + j * _APM_STEP + LOGIT_LIMIT])) for j in range(APM_POINTS)]
    apm = aligned_empty(contexts * APM_POINTS, np.uint32)
    apm.reshape(contexts, APM_POINTS)[:] = points
    return apm


@inlined
def _from_first(x: int) -> int:
    """Return how far a logistic value, limited to the points, is from the first one; less than the last one is."""
    return min(max(x, _APM_FIRST), -_APM_FIRST - 1) - _APM_FIRST


@inlined
def refine_by(points: Any, context: int, x: int) -> int:
    """Return what an APM makes of the logistic value x (16 bits): the value between the two nearest points of the context."""
    x = _from_first(x)
    at = context * APM_POINTS + (x >> _APM_STEP_BITS)
    weight = x & (_APM_STEP - 1)
    low, high = np.int64(points[at]) >> COUNT_BITS, np.int64(points[at + 1]) >> COUNT_BITS
    return (low * (_APM_STEP - weight) + high * weight) >> _REFINED_SHIFT


@inlined
def ask_for_apm(points: Any, context: int) -> None:
    """Ask for the cache line of a context of an APM, some time before `refine` needs it."""
    prefetch(points, 4 * context * APM_POINTS)


@inlined
def update_apm(points: Any, context: int, x: int, bit: int) -> None:
    """Move the nearer of the two points towards `bit`."""
    adapt_point(points, context * APM_POINTS + ((_from_first(x) + _APM_STEP // 2) >> _APM_STEP_BITS), bit)


@inlined
def refine(apms: Any, scratch: MixerScratch, shares: Any) -> int:
    """Return p1 (1..65535): the mean of the mixed prediction and of what the APMs make of it.

    `shares` are the weights of these, in eighths. The caller has set the contexts of the APMs in `scratch.last`.
    """
    last = scratch.last
    total = shares[0] * squash(last[MIXED])
    for k in range(len(apms)):
        total += shares[k + 1] * refine_by(apms[k], last[APM_CONTEXT + k], last[MIXED])
    return min(max((total + 4) >> 3, 1), 65535)


@inlined
def update_apms(apms: Any, scratch: MixerScratch, bit: int) -> None:
    """Teach the decision `bit` to the APMs."""
    last = scratch.last
    for k in range(len(apms)):
        update_apm(apms[k], last[APM_CONTEXT + k], last[MIXED], bit)
