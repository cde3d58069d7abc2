"""What each part of mixing is worth: total surprisal with one part off at a time, for the token tree and for bytes.

    python -m benchmarks.mixing_ablation FOLDER_OR_FILE... [--model MODEL] [--plain-start] [--first 60000]

Figures are surprisal / 8, not files: the coder adds a few bytes a block. One lane, tables as for a block of that size.
The product's own loops run here. Most parts are off because the loop gets other inputs:

- a context or a selector of mixing on tokens is cut out of the start values, as if the model did not use it; the final weight
  of a selector goes to the others evenly;
- a match is long from the start and points nowhere, so that it never looks for a place to follow;
- the n-gram table is one without entries;
- the network, which runs once a text, always says one half.

For the rest a loop is compiled once more with another `predict` or `update` (`with_other`), which calls the product's and then:

- without APMs, takes the mixed prediction as it is;
- empties the slots of a byte context that is off after each decision, so that its inputs are 0;
- holds the final weights of a selector for bytes at 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.mixing_bytes import files_under
from nncomp import range_coder
from nncomp.blocks import levels, token_loop, token_payload, token_threads
from nncomp.format.numbers import MAX_TABLE_BITS
from nncomp.machine.kernels import inlined
from nncomp.mixing import byte_predictor, match_model, mixer, start_values, token_predictor, token_start
from nncomp.mixing.arithmetic import squash
from nncomp.mixing.byte_contexts import CONTEXT_NAMES, CONTEXTS
from nncomp.mixing.copies_of import copied
from nncomp.mixing.token_contexts import context_name
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.registry import open_model
from nncomp.training.mixing_start import plain_values

LONG_MATCH, SHORT_MATCH, NGRAMS, NETWORK, MAPS = "long match", "short match", "n-gram table", "network", "APMs"
TOKEN_SELECTORS = tuple(f"weight sets by {name}" for name in start_values.SELECTOR_NAMES)
BYTE_SELECTORS = tuple(f"weight sets by {name}" for name in byte_predictor.SELECTOR_NAMES)

_APMS_OFF = mixer.APM_CONTEXT + byte_predictor.APMS  # what a loop with parts off has behind `MixerScratch.last`
_CONTEXTS_OFF = _APMS_OFF + 1
_SELECTORS_OFF = _CONTEXTS_OFF + CONTEXTS

Coded = tuple[NDArray[np.uint8], NDArray[np.uint16]]  # decisions, and p1 of each


def with_other(function: Any, **others: Any) -> Any:
    """Return a compiled function of the product, compiled once more from its own source with other functions for some that it
    calls. It is not kept on disk: there it would take the place of the product's."""
    plain = getattr(function, "py_func", function)  # itself where nothing is compiled (NUMBA_DISABLE_JIT=1)
    return njit(nogil=True, error_model="numpy")(FunctionType(plain.__code__, plain.__globals__ | others, plain.__name__))


@inlined
def _say_network(m: Any, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    return network


@inlined
def _do_nothing(*_: Any) -> None:
    pass


@inlined
def _predict_without_maps(m: Any, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    token_predictor.predict(m, lane, bits, depth, node, network, b1)
    return squash(m.scratch.mixing.last[mixer.MIXED])  # type: ignore[no-any-return]


@inlined
def _predict_byte(m: Any, node: int, depth: int, b1: int, b2: int) -> int:
    """`last` has more fields, named ..._OFF: whether the APMs, each context and each selector are off."""
    p = byte_predictor.predict(m, node, depth, b1, b2)
    last = m.scratch.mixing.last
    return squash(last[mixer.MIXED]) if last[_APMS_OFF] else p  # type: ignore[no-any-return]


@inlined
def _update_byte(m: Any, bit: int) -> None:
    byte_predictor.update(m, bit)
    last = m.scratch.mixing.last
    for i in range(CONTEXTS):
        if last[_CONTEXTS_OFF + i]:
            m.memory.histories.table[m.scratch.places.slot[i]] = 0
    for r in range(byte_predictor.SELECTORS):
        if last[_SELECTORS_OFF + r]:
            m.memory.mixer.finals.weights[m.scratch.mixing.final_chosen[0], r] = 0


_nothing = dict.fromkeys(("prepare_token", "begin_token", "fetch", "foresee", "update", "end_token"), _do_nothing)
_network_loop = with_other(token_loop.run, predict=_say_network, **_nothing)
_token_loop_without_maps = with_other(token_loop.run, predict=_predict_without_maps)
_byte_loop = with_other(byte_predictor.run_model, predict=_predict_byte, update=_update_byte)


def _spread(final_weights: NDArray[np.int32], is_on: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the final weights with those of the selectors that are off given to the others, evenly."""
    shared = final_weights + final_weights[:, ~is_on].sum(axis=1, keepdims=True) // is_on.sum()
    return np.where(is_on, np.clip(shared, -mixer.WEIGHT_LIMIT, mixer.WEIGHT_LIMIT), 0).astype(np.int32)


def _close_matches(state: NDArray[np.int64], least: Sequence[int], off: frozenset[str]) -> None:
    """Let the matches that are off never look for a place: they are long enough, and point nowhere. `state` is by match."""
    for k, name in enumerate((LONG_MATCH, SHORT_MATCH)):
        if name in off:
            state[k, match_model.LENGTH] = least[k]


class Bytes:
    """Blocks of bytes, with parts off."""

    names = (*CONTEXT_NAMES, LONG_MATCH, SHORT_MATCH, MAPS, *BYTE_SELECTORS)
    contexts = CONTEXT_NAMES

    def __call__(self, data: bytes, off: frozenset[str]) -> Coded:
        raw = np.frombuffer(data, np.uint8).copy()
        model = byte_predictor.new_mixing(len(raw), MAX_TABLE_BITS)
        flags = np.array([name in off for name in (MAPS, *CONTEXT_NAMES, *BYTE_SELECTORS)])
        memory, scratch = model
        _close_matches(memory.matches.state[0], byte_predictor.MATCH_LEAST, off)
        finals = memory.mixer.finals
        finals.first[:] = _spread(finals.first, ~flags[1 + CONTEXTS :])
        last = np.concatenate([scratch.mixing.last, flags.astype(np.int64)])
        model = model._replace(
            scratch=scratch._replace(mixing=scratch.mixing._replace(last=last)),
        )
        p1 = np.zeros(8 * len(raw), np.uint16)
        _byte_loop(model, raw, np.array([0, len(raw)]), p1, np.zeros(0, np.uint32), np.zeros(5, np.uint64), False)
        return np.unpackbits(raw), p1


class _Told(OutsideNetwork):
    """A network that has said all it says before: `known_p1`."""

    known_p1: NDArray[np.uint16]

    def probabilities(self, ids_N: Any, first_ids: Any, code: Any) -> NDArray[np.uint16]:
        return self.known_p1


class TokenTree:
    """Blocks of tokens in one lane, with parts off; the network runs once a text."""

    def __init__(self, model: Network, start: dict[str, NDArray[Any]]) -> None:
        self.model, self.told, self.start = model, _Told(model.model), start_values.check_start(start)
        numbers, selectors = start_values.chosen_parts(start)
        self.numbers, self.selector_numbers = np.array(numbers, np.uint8), np.array(selectors, np.uint8)
        self.contexts = tuple(context_name(number) for number in numbers)
        self.selectors = tuple(TOKEN_SELECTORS[number] for number in selectors)
        ngrams = [NGRAMS] if model.model.ngrams else []
        self.names = (*self.contexts, LONG_MATCH, SHORT_MATCH, *ngrams, NETWORK, MAPS, *self.selectors)
        self.known_p1: dict[bytes, NDArray[np.uint16]] = {}

    def __call__(self, data: bytes, off: frozenset[str]) -> Coded:
        if data not in self.known_p1:
            self.known_p1[data] = self._run(_network_loop, self.model, data, frozenset())[1]
        known_p1 = self.known_p1[data]
        self.told.known_p1 = np.full_like(known_p1, 1 << 15) if NETWORK in off else known_p1
        return self._run(_token_loop_without_maps if MAPS in off else token_loop.run, self.told, data, off)

    def _run(self, loop: Any, model: Network, data: bytes, off: frozenset[str]) -> Coded:
        ids, starts = model.model.vocabulary.encode(data), token_payload.lane_starts(len(data), 1)
        lines, (networks, ngrams) = 1 << levels.lines_log2(len(data)), token_payload.knowledge(model)
        ngrams = None if NGRAMS in off else ngrams
        m = token_start.new_mixing(len(data), starts, lines, self._start_without(off), networks, ngrams)
        _close_matches(m.memory.matches.state[0], token_predictor.MATCH_LEAST, off)
        raw, first_ids = np.frombuffer(data, np.uint8).copy(), np.array([0, len(ids)], np.int64)
        with patch.object(token_threads, "run", SimpleNamespace(bound=partial(partial, loop))):
            coded = [copied(some) for some in token_threads.encode(model, m, raw, ids, first_ids, token_threads.Begin(), 1)]
        return np.concatenate([some.decisions for some in coded]), np.concatenate([some.p1 for some in coded])

    def _start_without(self, off: frozenset[str]) -> dict[str, NDArray[Any]]:
        """Return the start values of a model that does not use the contexts and selectors that are off."""
        is_on, selector_is_on = (np.array([name not in off for name in names]) for names in (self.contexts, self.selectors))
        chosen, count = np.flatnonzero(is_on), len(self.contexts)
        others = np.arange(2 * count, 2 * count + start_values.OTHER_INPUTS)
        columns = np.concatenate([np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel(), others])
        padding = (0, 0), (0, start_values.input_count(len(chosen)) - len(columns))
        return {
            **self.start,
            **{name: self.start[name].reshape(count, -1)[is_on].ravel() for name in token_start.CONTEXT_MAPS},
            "contexts": self.numbers[is_on],
            "row_sets": self.selector_numbers[selector_is_on],
            "weights": np.pad(self.start["weights"][:, columns], padding),
            "final_weights": np.ascontiguousarray(_spread(self.start["final_weights"], selector_is_on)[:, selector_is_on]),
        }


def cost_bytes(coded: Coded) -> float:
    """Return the surprisal of decisions in bytes."""
    return range_coder.cost_bits(*coded) / 8


def print_table(title: str, texts: list[bytes], code: Bytes | TokenTree) -> None:
    """Print a Markdown table of all parts, each off in turn, and the sum of the changes by contexts."""
    base = [cost_bytes(code(data, frozenset())) for data in texts]
    print(f"\n| {title}: off | bytes | change | texts that gain without it |\n|---|---|---|---|")
    print(f"| nothing | {sum(base):,.0f} | | |", flush=True)
    changes = {}
    for which in [*([name] for name in code.names), [LONG_MATCH, SHORT_MATCH]]:
        sizes = [cost_bytes(code(data, frozenset(which))) for data in texts]
        name, change = " and ".join(which), sum(sizes) - sum(base)
        gain = sum(size < before for size, before in zip(sizes, base, strict=True))
        changes[name] = change
        print(f"| {name} | {sum(sizes):,.0f} | {change / sum(base):+.2%} | {gain} of {len(texts)} |", flush=True)
    count, of_contexts = len(code.contexts), sum(changes[name] for name in code.contexts)
    print(f"| sum of the changes by the {count} contexts | {of_contexts:+,.0f} | {of_contexts / sum(base):+.2%} | |", flush=True)


def main() -> None:
    """Run over the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--model", help="also the token tree, with this model: a name or a file")
    parser.add_argument("--plain-start", action="store_true", help="mixing starts from plain values, not the model's")
    parser.add_argument("--first", type=int, default=60_000, help="bytes taken of each file")
    arguments = parser.parse_args()
    texts = [file.read_bytes()[: arguments.first] for file in files_under(arguments.paths)]
    texts = [data for data in texts if data]
    if not texts:
        sys.exit("There is no text in these paths.")
    print(f"{len(texts)} texts, {sum(map(len, texts)):,} bytes; surprisal / 8.")
    if arguments.model:
        model = Network(read_model(open_model(arguments.model)))
        if model.second:
            sys.exit("The ablation is of models of one network.")
        learned = token_payload.model_start(model)
        plain = plain_values(*start_values.chosen_parts(learned))
        print_table("token tree", texts, TokenTree(model, plain if arguments.plain_start else learned))
        if not arguments.plain_start:
            tree = TokenTree(model, plain)
            total = sum(cost_bytes(tree(data, frozenset())) for data in texts)
            print(f"| start values (plain ones instead) | {total:,.0f} | | |", flush=True)
    print_table("bytes", texts, Bytes())


if __name__ == "__main__":
    main()
