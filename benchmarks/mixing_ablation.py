"""What each part of mixing is worth: total surprisal with one part off at a time, for the token tree and for bytes.

    python -m benchmarks.mixing_ablation FOLDER_OR_FILE... [--model FILE] [--plain-start] [--first 60000]

Figures are surprisal / 8, not files: the coder adds a few bytes a block. One lane, tables as for a block of that size. A
context is off when its slots are emptied after each decision, so that its inputs are 0; a match when it expects nothing;
the network when it always says one half; the correction maps when the mixed prediction is taken as it is; a set of
weight rows when its weight in the final mixer is held at 0. The hashes still made of what is off (a match, in the context of
the expected symbol) stay. Compiled once: what is off is told at run time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixing_bytes import files_under
from nncomp.blocks import token_payload
from nncomp.machine.kernels import compiled
from nncomp.mixing import byte_predictor, components, token_predictor
from nncomp.mixing.start_values import ROW_SETS, chosen_parts, start_values
from nncomp.network.engine import PackedModel, new_buffers, step, token_frequencies
from nncomp.network.known_tokens import node_probability
from nncomp.network.model import load_model

SOURCES = [
    "order 0", "1 token", "2 tokens", "3 tokens", "key, word", "5 tokens", "1 byte", "2 bytes", "3 bytes", "4 bytes",
    "indent, first byte, word", "word", "2 words", "field above (byte)", "expected token", "column, byte above",
    "field above (hash)", "format", "format, word", "tag, word", "followers of 1 token",
    "followers of 2 tokens", "both followers",
]  # fmt: skip
REACHES = ["", ", this lane", *(f", {1 << k} KiB" for k in range(6))]
BYTE_CONTEXTS = [
    "order 0", "1 byte", "2 bytes", "3 bytes", "4 bytes", "5 bytes", "6 bytes", "8 bytes", "word", "2 words",
    "word, older word", "3 words", "bytes 2-3", "bytes 1, 3", "bytes 2-4", "column, byte above", "2 bytes above",
    "field above (hash)", "field, word", "field above (byte)", "format", "format, word", "tag, word", "expected byte",
    "key, word", "indent, first byte, word",
]  # fmt: skip
OTHERS = ["long match", "short match", "network", "correction maps"]
TOKEN_SETS = [f"weight rows by {name}" for name in ("match", "node", "last byte", "kinds of bytes")]
BYTE_SETS = [f"weight rows by {name}" for name in ("match", "node", "last byte", "kinds of bytes", "contexts seen", "field")]
_MATCH, _NETWORK, _MAPS, _SETS = 0, 2, 3, 4  # places in `off`, after the contexts


@compiled
def _cost(p: int, bit: int) -> float:
    cost: float = -np.log2((p if bit else 65536 - p) / 65536)
    return cost


@compiled
def _silence(slots: Any, final_row: Any, off: Any) -> None:
    """After an update: empty the slots of contexts that are off, hold the weights of row sets that are off at 0."""
    contexts = slots.base.size
    for i in range(contexts):
        if off[i]:
            slots.table[slots.at[i]] = 0
    for r in range(final_row.size):
        if off[contexts + _SETS + r]:
            final_row[r] = 0


@compiled
def _byte_bits(model: Any, data: Any, off: Any) -> float:
    slots, mixer, text, matches, maps, last = model
    contexts = slots.base.size
    total = 0.0
    for t in range(data.size):
        byte_predictor.start_byte(text, matches, data, t)
        for k in range(2):
            if off[contexts + _MATCH + k]:
                matches.state[k, byte_predictor._EXPECTED] = 0
        b1 = np.int64(data[t - 1]) if t > 0 else np.int64(0)
        b2 = np.int64(data[t - 2]) if t > 1 else np.int64(0)
        symbol = np.int64(data[t])
        node = np.int64(1)
        for depth in range(8):
            p = byte_predictor.predict(slots, mixer, text, matches, maps, last, node, depth, b1, b2)
            if off[contexts + _MAPS]:
                p = min(max(components.squash(last[byte_predictor._MIXED]), 1), 65535)
            bit = (symbol >> (7 - depth)) & 1
            total += _cost(p, bit)
            byte_predictor.update(slots, mixer, matches, maps, last, node, bit, t)
            _silence(slots, mixer.final_weights[node], off)
            node = node << 1 | bit
    return total


@compiled
def _network_p1(product: Any, packed: Any, a: Any, b: Any, ids: Any, start_token: int, bits: int, out: Any) -> None:
    """Fill `out` (N, bits) with the network's p1 of each decision on the way to each token."""
    before = np.full(1, start_token, np.int32)
    groups, size = b.groups.shape[1], b.tokens.size
    group_bits = 0
    while 1 << group_bits < groups:
        group_bits += 1
    for n in range(ids.size):
        step(product, packed, a, b, before)
        token = np.int64(ids[n])
        token_frequencies(product, packed, a, b, 0, token // size)
        for depth in range(bits):
            frequencies = b.groups[0] if depth < group_bits else b.tokens
            width = group_bits if depth < group_bits else bits - group_bits
            within = token // size if depth < group_bits else token % size
            d = depth if depth < group_bits else depth - group_bits
            half = 1 << (width - 1 - d)
            low = (within >> (width - d)) << (width - d)
            zeros, ones = frequencies[low : low + half].sum(), frequencies[low + half : low + 2 * half].sum()
            out[n, depth] = node_probability(zeros, ones)
        before[0] = token


@compiled
def _token_bits(m: Any, data: Any, ids: Any, offsets: Any, network_p1: Any, off: Any) -> float:
    contexts, bits = m.slots.base.size, network_p1.shape[1]
    kept = np.zeros(2, np.int64)
    at = 0
    total = 0.0
    for n in range(ids.size):
        token = np.int64(ids[n])
        b1 = np.int64(data[at - 1]) if at > 0 else np.int64(0)
        token_predictor.begin_token(m, 0, data, at)
        for k in range(2):
            kept[k] = m.match[0, k, token_predictor._EXPECTED]
            if off[contexts + _MATCH + k]:
                m.match[0, k, token_predictor._EXPECTED] = -1
        node = np.int64(1)
        for depth in range(bits):
            network = np.int64(32768) if off[contexts + _NETWORK] else np.int64(network_p1[n, depth])
            p = token_predictor.predict(m, 0, bits, depth, node, network, b1)
            if off[contexts + _MAPS]:
                p = min(max(components.squash(m.last[token_predictor._MIXED]), 1), 65535)
            bit = token >> (bits - 1 - depth) & 1
            total += _cost(p, bit)
            token_predictor.update(m, 0, bit)
            _silence(m.slots, m.mixer.final_weights[m.last[token_predictor._FINAL]], off)
            node = node << 1 | bit
        for k in range(2):
            m.match[0, k, token_predictor._EXPECTED] = kept[k]
        width = offsets[token + 1] - offsets[token]
        token_predictor.end_token(m, 0, token, data, at, width)
        at += width
    return total


def _close_row_sets(final_weights: Any, off: Any) -> None:
    """Give the weight of the row sets that are off to the others, evenly."""
    closed = off != 0
    if closed.any():
        final_weights[:, ~closed] += (final_weights[:, closed].sum(axis=1) // (~closed).sum()).astype(np.int32)[:, None]
        final_weights[:, closed] = 0


def byte_cost(data: Any, off: Any) -> float:
    """Return the surprisal of bytes in bytes, with parts off."""
    model = byte_predictor.new_model(len(data), byte_predictor.DEFAULT_TABLE_BITS)
    _close_row_sets(model.mixer.final_weights, off[-byte_predictor.ROWS :])
    return float(_byte_bits(model, data, off)) / 8


class TokenCost:
    """The surprisal of texts on the token tree, with parts off; the network runs once a text."""

    def __init__(self, model: PackedModel, plain: bool) -> None:
        learned = token_payload.model_start(model)
        parts = chosen_parts(learned)
        self.model, self.start = model, start_values(*parts) if plain else learned
        self.names = [SOURCES[number % 32] + REACHES[number // 32] for number in parts[0]]
        self._network: dict[int, tuple[Any, Any]] = {}

    def _of_network(self, data: Any) -> tuple[Any, Any]:
        if id(data) not in self._network:
            p, model = self.model, self.model.model
            ids = np.asarray(model.vocabulary.encode(data.tobytes()))
            p1 = np.zeros((len(ids), model.vocabulary.bits), np.uint16)
            _network_p1(p.product, p.packed, p.arrays, new_buffers(model, 1), ids, model.sizes["start_token"], p1.shape[1], p1)
            self._network[id(data)] = ids, p1
        return self._network[id(data)]

    def __call__(self, data: Any, off: Any) -> float:
        ids, p1 = self._of_network(data)
        lines = 1 << token_payload.lines_log2(len(data))
        m = token_predictor.new_mixing(len(data), np.array([0, len(data)]), lines, self.start)
        _close_row_sets(m.mixer.final_weights, off[-len(ROW_SETS) :])
        return float(_token_bits(m, data, ids, self.model.model.vocabulary.offsets, p1, off)) / 8


def print_table(title: str, names: list[str], texts: list[Any], cost: Callable[[Any, Any], float]) -> None:
    """Print a Markdown table of all parts, each off in turn; the parts that are not there are left out."""
    base = [cost(data, np.zeros(len(names), np.uint8)) for data in texts]
    print(f"\n| {title}: off | bytes | change | texts that gain without it |\n|---|---|---|---|")
    print(f"| nothing | {sum(base):,.0f} | | |", flush=True)
    pair = [names.index("long match"), names.index("short match")]
    for which in [[i] for i, name in enumerate(names) if name] + [pair]:
        off = np.zeros(len(names), np.uint8)
        off[which] = 1
        sizes = [cost(data, off) for data in texts]
        change = sum(sizes) / sum(base) - 1
        gain = sum(size < before for size, before in zip(sizes, base, strict=True))
        name = " and ".join(names[i] for i in which)
        print(f"| {name} | {sum(sizes):,.0f} | {change:+.2%} | {gain} of {len(texts)} |", flush=True)


def main() -> None:
    """Run over the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, help="also the token tree, with this model")
    parser.add_argument("--plain-start", action="store_true", help="mixing starts from plain values, not the model's")
    parser.add_argument("--first", type=int, default=60_000, help="bytes taken of each file")
    arguments = parser.parse_args()
    texts = [np.fromfile(file, np.uint8, count=arguments.first) for file in files_under(arguments.paths)]
    texts = [data for data in texts if len(data)]
    if not texts:
        sys.exit("There is no text in these paths.")
    print(f"{len(texts)} texts, {sum(map(len, texts)):,} bytes; surprisal / 8.")
    if arguments.model:
        cost = TokenCost(PackedModel(load_model(arguments.model)), arguments.plain_start)
        print_table("token tree", [*cost.names, *OTHERS, *TOKEN_SETS], texts, cost)
        if not arguments.plain_start:
            plain = TokenCost(cost.model, plain=True)
            off = np.zeros(len(cost.names) + len(OTHERS) + len(TOKEN_SETS), np.uint8)
            print(f"| start values (plain ones instead) | {sum(plain(data, off) for data in texts):,.0f} | | |", flush=True)
    others = [name if name != "network" else "" for name in OTHERS]
    print_table("bytes", [*BYTE_CONTEXTS, *others, *BYTE_SETS], texts, byte_cost)


if __name__ == "__main__":
    main()
