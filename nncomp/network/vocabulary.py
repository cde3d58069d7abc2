"""Tokens: bytes to token ids and back.

A vocabulary is a list of distinct byte strings in lexicographic order. The binary digits of a token's id are its path in the
token tree. All 256 single bytes are tokens, so any input has a tokenisation. Decoding joins the tokens. The format does not say
which tokenisation a sender takes. Knows nothing of models.
"""

# V tokens

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError, ModelError
from nncomp.machine.forks import once

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKEN_BYTES = 24
_PIECE_BYTES = 1 << 16  # the tokenizer gets pieces of this size, so that its time grows linearly
_BATCH = 4  # pieces at a time: the tokenizer takes over 200 bytes for each token
# A token may cross spaces, but not the end of a line: 8 to 12 % more bytes a token than word-bound merges.
_LINE = "[^\n]*\n+|[^\n]+"


class Vocabulary:
    """The tokens, in byte order, and the merges (pairs of ids, in order of priority) that the sender's BPE applies."""

    def __init__(self, tokens: Iterable[bytes], merges: Iterable[tuple[int, int]] = ()) -> None:
        listed = tuple(tokens)
        text = np.frombuffer(b"".join(listed), np.uint8)
        lengths = np.array([min(len(token), MAX_TOKEN_BYTES + 1) for token in listed], np.uint8)
        self._set(text, lengths, np.array(list(merges), np.int64).reshape(-1, 2))

    @classmethod
    def of_arrays(cls, text: NDArray[np.uint8], lengths: NDArray[np.uint8], merges: NDArray[np.integer[Any]]) -> Vocabulary:
        """Return the vocabulary of all tokens one after another, of their lengths (V) and of the merges (M, 2), as a model file
        has them. What nobody asks for is not made. Raises ModelError."""
        self = cls.__new__(cls)
        self._set(text, lengths, merges)
        return self

    def _set(self, text: NDArray[np.uint8], lengths: NDArray[np.uint8], merges: NDArray[np.integer[Any]]) -> None:
        """Check and keep the arrays."""
        size, wrong = len(lengths), "the model file is damaged."
        if size < 256 or size & (size - 1) or size > 1 << 16:
            raise ModelError(f"A vocabulary has a power of two from 256 to 65536 tokens; this one has {size}.")
        # A block of empty tokens would have no end.
        if int((lengths == 1).sum()) != 256 or not 1 <= lengths.min() <= lengths.max() <= MAX_TOKEN_BYTES:
            raise ModelError(f"A vocabulary holds all 256 single bytes, and tokens of 1 to {MAX_TOKEN_BYTES} bytes; {wrong}")
        self.text = text  # all tokens one after another, uint8
        self.offsets = np.zeros(size + 1, np.int64)  # where each token starts in `text`, shape (V + 1,), int64
        np.cumsum(lengths, out=self.offsets[1:])
        if self.offsets[-1] != len(text):
            raise ModelError(f"The model's token lengths do not add up to its token text; {wrong}")
        if not _are_ascending(text, self.offsets):
            raise ModelError(f"The tokens of this model are not distinct and in byte order; {wrong}")
        if merges.size and not 0 <= merges.min() <= merges.max() < size:
            raise ModelError(f"A merge of this model names a token that does not exist; {wrong}")
        self._merges = merges

    def __repr__(self) -> str:
        return f"Vocabulary of {self.size} tokens"

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.offsets) - 1

    @property
    def bits(self) -> int:
        """Decisions a token: the depth of the token tree."""
        return self.size.bit_length() - 1

    @once
    def tokens(self) -> tuple[bytes, ...]:
        """The tokens, in byte order."""
        blob = self.text.tobytes()
        return tuple(blob[start:end] for start, end in pairwise(self.offsets.tolist()))

    @once
    def merges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of ids, in order of priority."""
        return tuple((a, b) for a, b in self._merges.tolist())

    @once
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer, models

        whole = self.text.tobytes().decode("latin-1")
        names = [whole[start:end] for start, end in pairwise(self.offsets.tolist())]
        vocab = {name: i for i, name in enumerate(names)}
        merges = [(a, b) for i, j in self._merges.tolist() if (a := names[i]) + (b := names[j]) in vocab]
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        tokenizer.pre_tokenizer = _line_splitter()
        return tokenizer

    def encode(self, data: bytes) -> NDArray[np.int32]:
        """Return the token ids of `data`, shape (N,), int32.

        >>> byte_vocabulary().encode(b"hi").tolist()
        [104, 105]
        """
        pieces = [data[i : i + _PIECE_BYTES].decode("latin-1") for i in range(0, len(data), _PIECE_BYTES)]
        parts = list[NDArray[np.int32]]()
        for first in range(0, len(pieces), _BATCH):
            encodings = self._tokenizer.encode_batch_fast(pieces[first : first + _BATCH], add_special_tokens=False)
            parts += [np.array(each.ids, dtype=np.int32) for each in encodings]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def decode(self, ids: NDArray[np.integer[Any]] | Sequence[int]) -> bytes:
        """Return the concatenated bytes of the tokens `ids`."""
        tokens = self.tokens
        return b"".join([tokens[i] for i in ids])


def _are_ascending(text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> bool:
    """Return whether tokens of at most 24 bytes are distinct and in byte order.

    Each becomes four numbers: its bytes, with zeros behind them, and its length. Their order is that of the bytes.
    """
    words, lengths = MAX_TOKEN_BYTES // 8, np.diff(offsets)
    places = offsets[:-1, None] + np.arange(MAX_TOKEN_BYTES)
    padded = np.concatenate([text, np.zeros(MAX_TOKEN_BYTES, np.uint8)])[places]
    padded[np.arange(MAX_TOKEN_BYTES) >= lengths[:, None]] = 0
    keys = np.empty((len(lengths), words + 1), np.uint64)
    keys[:, :words], keys[:, words] = padded.view(">u8"), lengths
    is_less, is_equal = np.zeros(len(keys) - 1, bool), np.ones(len(keys) - 1, bool)
    for word in keys.T:
        is_less |= is_equal & (word[:-1] < word[1:])
        is_equal &= word[:-1] == word[1:]
    return bool(is_less.all())


def byte_vocabulary() -> Vocabulary:
    """Return the 256 single bytes: the smallest vocabulary."""
    return Vocabulary(tuple(bytes([i]) for i in range(256)))


def train_vocabulary(samples: Iterable[bytes], size: int) -> Vocabulary:
    """Return a byte-level BPE vocabulary of `size` tokens (Sennrich et al. 2016, arXiv:1508.07909).

    Raises DataError when the samples have too few distinct strings for so many tokens.
    """
    import json

    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _line_splitter()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=[chr(i) for i in range(256)],
        max_token_length=MAX_TOKEN_BYTES,
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator((sample.decode("latin-1") for sample in samples), trainer)
    if tokenizer.get_vocab_size() != size:
        raise DataError(f"The text is too small to learn {size:,} tokens from: it has {tokenizer.get_vocab_size():,}. Add text.")
    return from_tokenizer_json(json.loads(tokenizer.to_str()))


def from_tokenizer_json(document: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary of a `tokenizers` BPE document over latin-1 characters."""
    names = sorted(document["model"]["vocab"], key=lambda name: name.encode("latin-1"))
    rank = {name: i for i, name in enumerate(names)}
    merges = tuple((rank[a], rank[b]) for a, b in document["model"]["merges"])
    return Vocabulary(tuple(name.encode("latin-1") for name in names), merges)


def _line_splitter() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(_LINE), "isolated")
