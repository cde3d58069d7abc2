"""docs/GLOSSARY.md has each word that code and pages use in a sense of their own, in order, in two sentences at most."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

WORDS = """adaptive probability, APM, bit history, bits per byte, block, bound, bucket, bytes, code, container, context,
copy, cross-entropy, decision, final mixer, frame, front, gap, golden file, hash table, index, kernel, lane, level, literal,
LZMA, match model, mixer, mixing, model, n-gram table, network, network map, order-N context, payload, primer, range coder,
ratio, record, reference, sample, second network, selector, slot, squash, stage, start values, StateMap, stored, stretch,
surprisal, token, tokens, vocabulary, weight set, window, worker"""
ENTRIES = dict(
    re.findall(r"^\| \*(.+?)\* \| (.+) \|$", (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8"), re.MULTILINE)
)


def test_every_word_has_its_entry_in_order() -> None:
    assert list(ENTRIES) == " ".join(WORDS.split()).split(", ")
    assert list(ENTRIES) == sorted(ENTRIES, key=lambda word: (word.lower(), word))


@pytest.mark.parametrize("word", ENTRIES)
def test_an_entry_is_one_sentence_or_two(word: str) -> None:
    meaning = ENTRIES[word]
    assert meaning.endswith(".")
    assert len(re.findall(r"[.?!](?= [A-Z]|$)", meaning)) <= 2, meaning
