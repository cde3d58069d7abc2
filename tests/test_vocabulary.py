"""Tokens: any bytes in, the same bytes out; ids in byte order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncomp.errors import ModelError
from nncomp.network import vocabulary as vocabulary_module
from nncomp.network.vocabulary import Vocabulary, byte_vocabulary
from tests.models import TEXT, small_vocabulary


@given(st.binary(max_size=2000))
def test_any_bytes_round_trip(data: bytes) -> None:
    vocabulary = small_vocabulary()
    assert vocabulary.decode(vocabulary.encode(data)) == data


def test_pieces_join() -> None:
    data = TEXT * 10
    vocabulary = small_vocabulary()
    assert len(data) > 3 << 16
    assert vocabulary.decode(vocabulary.encode(data)) == data


def test_ids_are_in_byte_order_and_tokens_are_learned() -> None:
    vocabulary = small_vocabulary()
    assert list(vocabulary.tokens) == sorted(set(vocabulary.tokens))
    assert len(vocabulary.tokens) == 512 and vocabulary.bits == 9
    assert len(vocabulary.encode(TEXT)) < len(TEXT) / 4
    assert any(b" " in token.strip() for token in vocabulary.tokens), "merges may cross spaces"
    assert not any(b"\n" in token.rstrip(b"\n") for token in vocabulary.tokens), "but not the end of a line"


def test_bad_vocabularies_are_named() -> None:
    tokens = byte_vocabulary().tokens
    with pytest.raises(ModelError, match="power of two"):
        Vocabulary(tokens[:200])
    with pytest.raises(ModelError, match="byte order"):
        Vocabulary(tokens[::-1])
    with pytest.raises(ModelError, match="byte order"):
        Vocabulary(tokens[:-1] + tokens[-2:-1])
    with pytest.raises(ModelError, match="single bytes"):
        Vocabulary(tuple(sorted([*tokens[:-1], b"ab"])))
    with pytest.raises(ModelError, match="does not exist"):
        Vocabulary(tokens, ((0, 256),))


def test_a_vocabulary_with_an_empty_token_is_refused() -> None:
    """A block of such tokens would never end."""
    tokens = sorted([b"", *(bytes([i]) for i in range(256)), *(bytes([97, i]) for i in range(255))])
    assert len(tokens) == 512
    with pytest.raises(ModelError, match="tokens of 1 to 24 bytes"):
        Vocabulary(tuple(tokens))


def test_how_many_pieces_are_taken_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known, found = small_vocabulary(), []
    monkeypatch.setattr(vocabulary_module, "_PIECE_BYTES", 10)
    for batch in (1, 3, 1000):
        monkeypatch.setattr(vocabulary_module, "_BATCH", batch)
        found.append(known.encode(TEXT[:333]).tolist())
    assert found[0] == found[1] == found[2] and len(found[0]) > 10
