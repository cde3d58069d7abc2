"""Counts which token follows which in many texts, and picks what is worth an entry of an n-gram table.

An entry is worth what it saves beside the network: it stands where the network is less sure of the token than the texts are.
Each document counts once for a sequence of tokens. One document in 16 is not counted, and tells how sure an entry is; start
values of mixing are learned on these, too (`held_out.left_out`).

    python -m nncomp.training.count_ngrams default ngrams.safetensors TEXT... --lines 196608
"""

# N tokens of all documents, D documents, C contexts of one order

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.format.numbers import MAX_NGRAM_LINES, NGRAM_SLOTS
from nncomp.machine.limits import usable_cores
from nncomp.mixing.arithmetic import combine
from nncomp.mixing.ngram_table import CLASS_BITS, ORDERS, class_of
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.ngram_file import save_ngrams
from nncomp.network.registry import open_model
from nncomp.network.surprisal import token_bits
from nncomp.network.vocabulary import Vocabulary
from nncomp.training import command
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.held_out import counted, left_out
from nncomp.training.text_files import Report

Ids = NDArray[np.uint16]
Hashes = NDArray[np.uint64]

_LANES = 32  # of the network that reads a piece
_PIECE_TOKENS = 1 << 20
_EIGHTHS = 8  # a surprisal is kept in eighths of a bit, at most 255 of them
_LEAST_COUNT = 2  # documents that have a sequence, at least
_LEAST_GAIN = 1.0  # bits that an entry saves in all texts, at least
_NOT_SEEN = 0.8  # of the documents that have a sequence, so many fewer are expected in texts of the same size
_TOTALS, _SHARES = (3, 5, 9, 17, 65, 300), (0.1, 0.25, 0.5, 0.75, 0.95)  # bounds of the cells that chances are measured in
_SURE = 0.9999


class Text(NamedTuple):
    """Documents one after another."""

    ids: Ids  # (N,)
    begins: NDArray[np.int64]  # (D + 1,)
    bits: NDArray[np.uint8]  # (N,), the surprisal of each token in eighths of a bit


class Entries(NamedTuple):
    """What may come into a table, all of the same length."""

    hashes: Hashes  # 32 bits, of the context: what `ngram_table` looks up
    tokens: Ids
    chances: NDArray[np.float64]  # that the token comes
    gains: NDArray[np.float64]  # bits


class _Counts(NamedTuple):
    """The contexts of one order that two documents have, with the token that follows in most of them."""

    keys: Hashes  # (C,), upwards: the hash and 8 bits of another one
    tokens: Ids
    best: NDArray[np.int64]  # documents in which the token follows
    total: NDArray[np.int64]  # of all tokens that follow, added up
    bits: NDArray[np.float64]  # the mean surprisal of the token

    def part(self, chosen: NDArray[np.bool_]) -> _Counts:
        """Return some of the contexts."""
        return _Counts(self.keys[chosen], self.tokens[chosen], self.best[chosen], self.total[chosen], self.bits[chosen])


def tokens_of(corpora: Sequence[Corpus], vocabulary: Vocabulary) -> Text:
    """Return the tokens of all documents, with no surprisal yet."""
    found = [vocabulary.encode(document.text).astype(np.uint16) for corpus in corpora for document in corpus.documents()]
    ids = np.concatenate([np.zeros(0, np.uint16), *found])
    return Text(ids, np.cumsum([0, *map(len, found)]), np.zeros(len(ids), np.uint8))


def measured(text: Text, network: Network) -> Text:
    """Return the text with the surprisal of its tokens under the network, which reads pieces of a million tokens."""

    def read(begin: int) -> NDArray[np.uint8]:
        ids = text.ids[begin : begin + _PIECE_TOKENS]
        bits = np.full(len(ids), 255, np.uint8)
        found = token_bits(network, ids, _LANES)
        bits[: len(found)] = np.minimum(found * _EIGHTHS + 0.5, 255)
        return bits

    network.constants(_LANES)  # before threads ask for them
    with ThreadPoolExecutor(usable_cores()) as threads:
        pieces = list(threads.map(read, range(0, len(text.ids), _PIECE_TOKENS)))
    return text._replace(bits=np.concatenate([np.zeros(0, np.uint8), *pieces]))


def context_keys(ids: Ids, order: int) -> Hashes:
    """Return a key of 40 bits of the `order` tokens before each token from the one of this number on: 32 bits of the hash that
    `ngram_table` looks up, 8 of another one. Shape (N - order,)."""

    def back(steps: int) -> Hashes:
        return ids[order - steps : len(ids) - steps].astype(np.uint64)

    h = back(1) + (back(2) << np.uint64(16))
    other = h * np.uint64(0x9E3779B97F4A7C15)
    for k in range(3, order + 1):
        tokens = back(k)
        h = combine(h, tokens)
        other = (other ^ tokens) * np.uint64(0x9E3779B97F4A7C15)
    keys: Hashes = combine(h, np.full_like(h, order)) << np.uint64(8) | other >> np.uint64(56)
    return keys


def _rows(text: Text, order: int) -> Iterator[Hashes]:
    """Give, for each document, its different sequences of order + 1 tokens: key, token and surprisal in 40, 16 and 8 bits."""
    for begin, end in zip(text.begins[:-1].tolist(), text.begins[1:].tolist(), strict=True):
        if end - begin > order:
            following = slice(begin + order, end)
            rows = context_keys(text.ids[begin:end], order) << np.uint64(24)
            rows |= text.ids[following].astype(np.uint64) << np.uint64(8) | text.bits[following]
            rows.sort()
            yield rows[_firsts(rows >> np.uint64(8))]


def _firsts(ordered: Hashes) -> NDArray[np.int64]:
    """Return where each different number of an ordered array begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])


def count(text: Text, order: int) -> _Counts:
    """Return the contexts of `order` tokens that documents share."""
    rows = np.concatenate([np.zeros(0, np.uint64), *_rows(text, order)])
    rows.sort()
    at = _firsts(rows >> np.uint64(8))
    documents = np.diff(at, append=len(rows))
    bits = np.add.reduceat((rows & np.uint64(255)).astype(np.int64), at) if len(at) else np.zeros(0, np.int64)
    rows = rows[at] >> np.uint64(8)
    keys = rows >> np.uint64(16)
    first = _firsts(keys)
    if not len(first):
        return _Counts(keys, np.zeros(0, np.uint16), documents, documents, np.zeros(0))
    total, best = np.add.reduceat(documents, first), np.maximum.reduceat(documents, first)
    is_best = np.flatnonzero(documents == np.repeat(best, np.diff(first, append=len(keys))))
    chosen = is_best[_firsts(keys[is_best])]  # of equals the least token
    shared = total >= _LEAST_COUNT
    chosen = chosen[shared]
    tokens = (rows[chosen] & np.uint64(0xFFFF)).astype(np.uint16)
    return _Counts(keys[chosen], tokens, best[shared], total[shared], bits[chosen] / documents[chosen] / _EIGHTHS)


def _places(counts: _Counts, keys: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each of the keys is among the contexts, and whether it is there."""
    places = np.searchsorted(counts.keys, keys)
    places[places == len(counts.keys)] = 0
    return places, (counts.keys[places] == keys if len(counts.keys) else np.zeros(len(keys), bool))


def _within(text: Text, order: int) -> NDArray[np.bool_]:
    """Return for each token from the one of this number on whether the `order` tokens before it are of its document."""
    places = np.arange(len(text.ids)) - np.repeat(text.begins[:-1], np.diff(text.begins))
    return np.asarray(places[order:] >= order)


def chances(counts: _Counts, other: Text, order: int) -> NDArray[np.float64]:
    """Return for each context how often its token follows in other text: the mean of the contexts with about as many documents
    and as large a share of them. Shape (C,)."""
    cells = np.searchsorted(_TOTALS, counts.total, "right") * (len(_SHARES) + 1)
    cells += np.searchsorted(_SHARES, counts.best / np.maximum(counts.total, 1), "right")
    places, is_there = _places(counts, context_keys(other.ids, order))
    is_there &= _within(other, order)
    size = (len(_TOTALS) + 1) * (len(_SHARES) + 1)
    asked = cells[places[is_there]]
    hits = counts.tokens[places[is_there]] == other.ids[order:][is_there]
    return ((np.bincount(asked, hits, size) + 0.2) / (np.bincount(asked, minlength=size) + 1))[cells]


def choose(counts: _Counts, chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each context would save as an entry, in bits, beside what is known without it; 0 where it is no more sure."""
    known = np.minimum(np.exp2(-counts.bits), _SURE)
    chance = np.clip(chance, 1 - _SURE, _SURE)
    saved = chance * np.log2(chance / known) + (1 - chance) * np.log2((1 - chance) / (1 - known))
    return np.where((chance > known) & (counts.best >= _LEAST_COUNT), (counts.total - _NOT_SEEN) * saved, 0)


def find_entries(text: Text, other: Text, report: Report) -> Entries:
    """Return what is worth an entry, the shortest contexts first: longer ones need not foretell what these do.

    `text.bits` falls to what an entry says, where that is less."""
    found = list[Entries]()
    for order in ORDERS:
        counts = count(text, order)
        chance = chances(counts, other, order)
        gains = choose(counts, chance)
        kept = gains > _LEAST_GAIN
        counts, chance, gains = counts.part(kept), chance[kept], gains[kept]
        found.append(Entries(counts.keys >> np.uint64(8), counts.tokens, chance, gains))
        keys = context_keys(text.ids, order)
        by_key = np.argsort(keys)  # neighbours are looked up one after another
        places, is_there = _places(counts, keys[by_key])
        at, places = by_key[is_there] + order, places[is_there]
        is_foretold = (counts.tokens[places] == text.ids[at]) & _within(text, order)[at - order]
        at, places = at[is_foretold], places[is_foretold]
        bits = np.minimum(-np.log2(np.maximum(chance[places], 1 - _SURE)) * _EIGHTHS + 0.5, 255).astype(np.uint8)
        text.bits[at] = np.minimum(text.bits[at], bits)
        report(f"{order} tokens: {len(gains):,} entries, {gains.sum() / 8e6:.2f} MB saved")
    return Entries(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def table(entries: Entries, lines: int, bits: int) -> NDArray[np.uint32]:
    """Return a table of so many lines for tokens of `bits` decisions, shape (lines, 16). A full line keeps those worth most."""
    check_bits = 32 - CLASS_BITS - bits
    line = (entries.hashes * np.uint64(lines) >> np.uint64(32)).astype(np.int64)
    checks = np.maximum(entries.hashes & np.uint64((1 << check_bits) - 1), np.uint64(1))
    packed = (
        entries.tokens.astype(np.uint64) << np.uint64(CLASS_BITS) | class_of(entries.chances).astype(np.uint64)
    ) << np.uint64(check_bits) | checks
    order = np.lexsort((-entries.gains, checks, line))  # of equal checks in a line the one worth most
    order = order[_firsts(line[order].astype(np.uint64) << np.uint64(32) | checks[order])]
    order = order[np.lexsort((-entries.gains[order], line[order]))]
    first = _firsts(line[order].astype(np.uint64))
    rank = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    order, rank = order[rank < NGRAM_SLOTS], rank[rank < NGRAM_SLOTS]
    made = np.zeros((lines, NGRAM_SLOTS), np.uint32)
    made[line[order], rank] = packed[order]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Count n-grams, for models of the same tokens.")
    parser.add_argument("model", help="a name or a file: whose tokens are counted, and whose network the entries stand beside")
    parser.add_argument("out", type=Path)
    parser.add_argument("text", nargs="+", help="a file, a folder or a glob pattern")
    parser.add_argument("--lines", type=int, default=196_608, help=f"of the table, 64 bytes each; at most {MAX_NGRAM_LINES}")
    asked = parser.parse_args()
    if not 1 <= asked.lines <= MAX_NGRAM_LINES:
        parser.error(f"--lines is 1 to {MAX_NGRAM_LINES}")
    if asked.out.exists() or not asked.out.parent.is_dir():
        parser.error(f"{asked.out} is there already, and models may name it" if asked.out.exists() else f"no {asked.out.parent}")

    def report(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    model, corpora = read_model(open_model(asked.model)), [find_corpus(location) for location in asked.text]
    text = tokens_of([counted(corpus) for corpus in corpora], model.vocabulary)
    other = tokens_of([left_out(corpus) for corpus in corpora], model.vocabulary)
    report(f"{len(text.ids):,} tokens of {len(text.begins) - 1:,} documents; {len(other.ids):,} left out")
    entries = find_entries(measured(text, Network(model)), other, report)
    lines = table(entries, asked.lines, model.vocabulary.bits)
    record = {
        "command": shlex.join(["python", "-m", "nncomp.training.count_ngrams", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "documents": len(text.begins) - 1,
        "bytes": sum(counted(corpus).total_bytes for corpus in corpora),
        "tokens": len(text.ids),
        "entries": int((lines != 0).sum()),
    }
    saved = save_ngrams(lines, model.vocabulary.size, record, asked.out)
    report(f"wrote {asked.out} (SHA-256 {saved.content_hash}): {record['entries']:,} entries")


if __name__ == "__main__":
    command.run(main)
