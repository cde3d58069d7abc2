"""Tokens: bytes to token ids and back.

A vocabulary is a list of distinct byte strings in lexicographic order. The binary digits of a token's id are its path in the
token tree. All 256 single bytes are tokens, so any input has a tokenisation. Decoding joins the tokens. The format does not say
which tokenisation a sender takes. Knows nothing of models.
"""

# V tokens

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKEN_BYTES = 24
_PIECE_BYTES = 1 << 16  # the tokenizer gets pieces of this size, so that its time grows linearly
# A token may cross spaces, but not the end of a line: 8 to 12 % more bytes a token than word-bound merges.
_LINE = "[^\n]*\n+|[^\n]+"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens, in byte order, and the merges (pairs of ids, in order of priority) that the sender's BPE applies."""

    tokens: tuple[bytes, ...]
    merges: tuple[tuple[int, int], ...] = field(repr=False, default=())

    def __post_init__(self) -> None:
        size = len(self.tokens)
        if size < 256 or size & (size - 1) or size > 1 << 16:
            raise ModelError(f"A vocabulary has a power of two from 256 to 65536 tokens; this one has {size}.")
        if any(a >= b for a, b in zip(self.tokens, self.tokens[1:], strict=False)):
            raise ModelError("The tokens of this model are not distinct and in byte order; the model file is damaged.")
        lengths = [len(token) for token in self.tokens]
        # A block of empty tokens would have no end.
        if lengths.count(1) != 256 or not 1 <= min(lengths) <= max(lengths) <= MAX_TOKEN_BYTES:
            raise ModelError(
                f"A vocabulary holds all 256 single bytes, and tokens of 1 to {MAX_TOKEN_BYTES} bytes; the model file is damaged."
            )
        if any(not 0 <= i < size for pair in self.merges for i in pair):
            raise ModelError("A merge of this model names a token that does not exist; the model file is damaged.")

    @property
    def bits(self) -> int:
        """Decisions a token: the depth of the token tree."""
        return len(self.tokens).bit_length() - 1

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each token starts in `text`, shape (V + 1,), int64."""
        return np.cumsum([0, *map(len, self.tokens)], dtype=np.int64)

    @cached_property
    def text(self) -> NDArray[np.uint8]:
        """All tokens one after another, uint8."""
        return np.frombuffer(b"".join(self.tokens), dtype=np.uint8)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer, models

        names = [token.decode("latin-1") for token in self.tokens]
        merges = [(names[a], names[b]) for a, b in self.merges]
        known = set(names)
        merges = [(a, b) for a, b in merges if a + b in known]
        tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges))
        tokenizer.pre_tokenizer = _line_splitter()
        return tokenizer

    def encode(self, data: bytes) -> NDArray[np.int32]:
        """Return the token ids of `data`, shape (N,), int32.

        >>> byte_vocabulary().encode(b"hi").tolist()
        [104, 105]
        """
        pieces = [data[i : i + _PIECE_BYTES].decode("latin-1") for i in range(0, len(data), _PIECE_BYTES)]
        encodings = self._tokenizer.encode_batch(pieces, add_special_tokens=False)
        parts = [np.array(e.ids, dtype=np.int32) for e in encodings]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def decode(self, ids: NDArray[np.integer[Any]] | Sequence[int]) -> bytes:
        """Return the concatenated bytes of the tokens `ids`."""
        tokens = self.tokens
        return b"".join([tokens[i] for i in ids])


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
