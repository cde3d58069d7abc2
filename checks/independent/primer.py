"""*Primed blocks*: a primer to the tokens that it is read as."""

from __future__ import annotations

from itertools import pairwise

from checks.independent.model_file import Model

PIECE_BYTES = 65_536


def cut_into_tokens(primer: bytes, model: Model) -> list[int]:
    """Return the tokens of a primer."""
    ids = {token: i for i, token in enumerate(model.tokens)}
    ranks = {}
    for row, (a, b) in enumerate(model.merges):
        if model.tokens[a] + model.tokens[b] in ids:
            ranks[a, b] = row
    found = []
    for start in range(0, len(primer), PIECE_BYTES):
        for line in _lines(primer[start : start + PIECE_BYTES]):
            found += _tokens(line, model, ids, ranks)
    return found


def _lines(piece: bytes) -> list[bytes]:
    lines, start = [], 0
    for i, c in enumerate(piece):
        if c == 10 and piece[i + 1 : i + 2] != b"\n":
            lines.append(piece[start : i + 1])
            start = i + 1
    return [*lines, *([piece[start:]] if start < len(piece) else [])]


def _tokens(line: bytes, model: Model, ids: dict[bytes, int], ranks: dict[tuple[int, int], int]) -> list[int]:
    tokens = [ids[bytes([c])] for c in line]
    while True:
        of_use = [(ranks[pair], i) for i, pair in enumerate(pairwise(tokens)) if pair in ranks]
        if not of_use:
            return tokens
        _, i = min(of_use)
        tokens[i : i + 2] = [ids[model.tokens[tokens[i]] + model.tokens[tokens[i + 1]]]]
