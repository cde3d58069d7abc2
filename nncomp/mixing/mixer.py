"""The mixer and the APMs: from the predictions of all contexts to one probability.

The mixer adds its inputs, weighed, in the logistic domain. It does so with several *weight sets* at once: each *selector* picks
one weight set of its own by what is known of the decision (PAQ8's mixer contexts). One or two *final mixers* weigh the sums, and
their mean is the mixed prediction. Then *APMs* (adaptive probability maps, PAQ's word; also SSE) refine it: curves over the
logistic domain, one a context. An APM can also refine an input.

Knows nothing of where inputs and selectors come from. The definition is `byte_predictor_reference.Mixer` and `.Apm`.
"""

# I inputs, R selectors, F final mixers

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import tables
from nncomp.mixing.arithmetic import LOGIT_LIMIT, PROBABILITY_BITS, limited, squash

WEIGHT_ONE = 65536  # the weight 1
WEIGHT_LIMIT = 1 << 20  # the weight 16

APM_STEP_BITS = 8  # points are 2**8 apart in the logistic domain: one nat
_APM_LIMIT = 12 << APM_STEP_BITS  # the last point's place
APM_POINTS = 2 * (_APM_LIMIT >> APM_STEP_BITS) + 1
APM_TOP = (1 << PROBABILITY_BITS) - 1  # the greatest value of a point
_APM_SHIFT = 6  # a point moves by 2**-6 of its error
_APM_STEP = 1 << APM_STEP_BITS


class Mixer(NamedTuple):
    """What is learned: the weights."""

    weights: Any  # (weight sets, I) int32: those of all selectors, one selector after another
    final_weights: Any  # (final weight sets, R) int32: of all final mixers, one after another


class MixerScratch(NamedTuple):
    """Scratch: what the decision at hand is mixed from."""

    inputs: Any  # (I,) int32, logistic domain
    chosen: Any  # (R,) int64: the weight set that each selector picks
    outputs: Any  # (R,) int32, logistic domain: the sum of each
    final_chosen: Any  # (F,) int64, F 1 or 2: the final weight set that each final mixer picks
    final_outputs: Any  # (F,) int32, logistic domain: the sum of each
    last: Any  # (1 + APMs,) int64: what the last prediction used and gave, for its update


# Fields of `MixerScratch.last`: the mixed prediction (logistic domain); then a context for each APM.
MIXED, APM_CONTEXT = range(2)


def first_final_weights(final_sets: int, selectors: int) -> Any:
    """Return final weights that take the mean: shape (final_sets, R), int32."""
    return np.full((final_sets, selectors), WEIGHT_ONE // selectors, np.int32)


def padded(inputs: int) -> int:
    """Return the length of a weight set for so many inputs: a multiple of 8. The inputs that are added stay 0.

    >>> padded(57)
    64
    """
    return -(-inputs // 8) * 8


@inlined
def falling_rate(least: int, extra: int, done: int) -> int:
    """Return a learning rate that falls from least + extra / 64 to `least`, the more is `done`."""
    return least + extra // (64 + done)


def new_mixer_scratch(inputs: int, selectors: int, finals: int, apms: int) -> MixerScratch:
    """Return scratch for I inputs, R selectors, F final mixers and so many APMs."""
    return MixerScratch(
        inputs=np.zeros(inputs, np.int32),
        chosen=np.zeros(selectors, np.int64),
        outputs=np.zeros(selectors, np.int32),
        final_chosen=np.zeros(finals, np.int64),
        final_outputs=np.zeros(finals, np.int32),
        last=np.zeros(APM_CONTEXT + apms, np.int64),
    )


@inlined
def mix(mixer: Mixer, scratch: MixerScratch) -> int:
    """Return the mixed prediction (logistic domain) of `scratch.inputs` by the weight sets that were picked.

    Bound: |w| <= 2**20, |x| < 2**12, at most 2**10 inputs: the sum is below 2**42.
    """
    for r in range(scratch.chosen.size):
        w = mixer.weights[scratch.chosen[r]]
        dot = np.int64(0)
        for i in range(scratch.inputs.size):
            dot += np.int64(w[i]) * np.int64(scratch.inputs[i])
        scratch.outputs[r] = limited(dot >> 16)
    total = np.int64(0)
    for f in range(scratch.final_chosen.size):
        w = mixer.final_weights[scratch.final_chosen[f]]
        dot = np.int64(0)
        for r in range(scratch.outputs.size):
            dot += np.int64(w[r]) * np.int64(scratch.outputs[r])
        x = limited(dot >> 16)
        scratch.final_outputs[f] = x
        total += x
    mixed = total >> (scratch.final_chosen.size - 1)  # the mean of one or two
    scratch.last[MIXED] = mixed
    return mixed


@inlined
def learn(weights: Any, inputs: Any, error: int, rate: int) -> None:
    """Move one weight set along its inputs by the error (16 bits) times the rate (2**-18 of the weight 1).

    Bound: |error| <= 2**16, rate <= 2**13, so |step| <= 2**19; |step * x| < 2**31.
    """
    step = np.int32((error * rate) >> 10)
    if -11 < step < 11:  # |step * x| <= 10 * 3071 < 2**15: no weight would change
        return
    for i in range(inputs.size):
        change = np.int32(np.int32(inputs[i] * step) + np.int32(32768)) >> np.int32(16)  # each of 32 bits: twice as many at once
        w = np.int32(weights[i] + np.int32(change))
        weights[i] = min(max(w, np.int32(-WEIGHT_LIMIT)), np.int32(WEIGHT_LIMIT))


@inlined
def update_mixer(mixer: Mixer, scratch: MixerScratch, bit: int, rate: int, final_rate: int) -> None:
    """Teach the decision `bit` to the weight sets that were picked: the final ones first, then the others."""
    target = bit << 16
    for f in range(scratch.final_chosen.size):
        error = target - squash(np.int64(scratch.final_outputs[f]))
        learn(mixer.final_weights[scratch.final_chosen[f]], scratch.outputs, error, final_rate)
    for r in range(scratch.chosen.size):
        learn(mixer.weights[scratch.chosen[r]], scratch.inputs, target - squash(np.int64(scratch.outputs[r])), rate)


def new_apm(contexts: int) -> Any:
    """Return an APM that changes nothing yet: shape (contexts * APM_POINTS,), int32, 22 bits a point."""
    squashed = tables.squash_table()
    places = [min(max(x, -LOGIT_LIMIT), LOGIT_LIMIT) for x in range(-_APM_LIMIT, _APM_LIMIT + 1, _APM_STEP)]
    points = [int(squashed[x + LOGIT_LIMIT]) << (PROBABILITY_BITS - 16) for x in places]
    return np.tile(np.array(points, np.int32), contexts)


@inlined
def refine_by(points: Any, context: int, x: int) -> int:
    """Return what an APM makes of the logistic value x (16 bits): the value between the two nearest points of the context."""
    x += _APM_LIMIT
    at = context * APM_POINTS + (x >> APM_STEP_BITS)
    weight = x & (_APM_STEP - 1)
    return (points[at] * (_APM_STEP - weight) + points[at + 1] * weight) >> (PROBABILITY_BITS - 16 + APM_STEP_BITS)


@inlined
def ask_for_apm(points: Any, context: int) -> None:
    """Ask for the cache lines of a context of an APM, some time before `refine` needs them."""
    at = 4 * context * APM_POINTS
    prefetch(points, at)
    prefetch(points, at + 64)


@inlined
def update_apm(points: Any, context: int, x: int, bit: int) -> None:
    """Move the nearer of the two points towards `bit`."""
    x += _APM_LIMIT + _APM_STEP // 2
    at = context * APM_POINTS + (x >> APM_STEP_BITS)
    points[at] += ((bit << PROBABILITY_BITS) - bit - points[at]) >> _APM_SHIFT


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
