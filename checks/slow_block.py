"""A slow decoder and encoder of token blocks: the reference engine, the slow twin of mixing, and constriction itself.

Written beside docs/FORMAT.md, "Token blocks"; shares no compiled loop with the product. One decision at a time.
"""

# N networks, L lanes, G groups, S tokens a group

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import constriction
import numpy as np

from nncomp.mixing.token_predictor_reference import TokenReference
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.model import Model

HEADER_BYTES = 3
Decide = Callable[[int, int], int]  # (p1, the decision if it is known) -> the decision


def bernoulli(p1: int) -> constriction.stream.model.Bernoulli:
    """Return constriction's model of a decision with probability p1 / 65536; the quotient is exact."""
    return constriction.stream.model.Bernoulli(p1 / 65536, perfect=False)


def _network_p1(frequencies: list[int]) -> int:
    """Return p1 of the decision between the two halves of some frequencies."""
    half = len(frequencies) // 2
    zeros, ones = sum(frequencies[:half]), sum(frequencies[half:])
    return min(max((ones * 65536 + (zeros + ones) // 2) // (zeros + ones), 1), 65535)


def run_block(model: Model, raw_bytes: int, header: bytes, decide: Decide, ids: Sequence[Sequence[int]] = ()) -> bytes:
    """Code all tokens of a block; `ids` are each lane's tokens, if they are known. Return the raw bytes."""
    lanes, bits = 1 << header[0], model.vocabulary.bits
    groups = model.sizes["group_count"]
    starts = [lane * raw_bytes // lanes for lane in range(lanes + 1)]
    given = {name.removeprefix("mixing."): a for name, a in model.extra.items() if name.startswith("mixing.")}
    engines = [ReferenceEngine(model, lanes, header[2]), *([ReferenceEngine(model.second, lanes)] if model.second else [])]
    ngrams = [] if model.ngrams is None else [model.ngrams.entries.reshape(-1).tolist()]
    mixing = TokenReference(bits, starts, 1 << header[1], given, len(engines), *ngrams)
    before = np.full(lanes, model.sizes["start_token"])
    widths = [high - low for low, high in pairwise(starts)]
    while any(len(data) < width for data, width in zip(mixing.data, widths, strict=True)):
        groups_NLG = [engine.step(before).tolist() for engine in engines]
        for lane, width in enumerate(widths):
            if len(mixing.data[lane]) == width:
                continue
            known = ids[lane][mixing.history.counts[lane]] if ids else 0
            parts, node = [groups_LG[lane] for groups_LG in groups_NLG], 1
            mixing.begin_token(lane)
            for depth in range(bits):
                if groups <= node < 2 * groups:
                    parts = [engine.token_frequencies(lane, node - groups).tolist() for engine in engines]
                half = len(parts[0]) // 2
                p1 = mixing.predict(lane, depth, node, *(_network_p1(part) for part in parts))
                bit = decide(p1, known >> (bits - 1 - depth) & 1)
                mixing.update(bit)
                parts, node = [part[half:] if bit else part[:half] for part in parts], 2 * node + bit
            token = node - (1 << bits)
            mixing.end_token(lane, token, model.vocabulary.tokens[token])
            assert len(mixing.data[lane]) <= width
            before[lane] = token
    return b"".join(mixing.data)


def encode_slowly(model: Model, data: bytes, header: bytes) -> tuple[bytes, list[int]]:
    """Return the payload of a block with this header, and p1 of each decision."""
    encoder = constriction.stream.queue.RangeEncoder()
    probabilities = []

    def decide(p1: int, known: int) -> int:
        probabilities.append(p1)
        encoder.encode(known, bernoulli(p1))
        return known

    lanes = 1 << header[0]
    bounds = [lane * len(data) // lanes for lane in range(lanes + 1)]
    ids = [model.vocabulary.encode(data[low:high]).tolist() for low, high in pairwise(bounds)]
    assert run_block(model, len(data), header, decide, ids) == data
    return header + encoder.get_compressed().astype("<u4").tobytes(), probabilities


def decode_slowly(model: Model, payload: bytes, raw_bytes: int) -> bytes:
    """Return the raw bytes of a payload."""
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(payload[HEADER_BYTES:], "<u4").astype(np.uint32))

    def decide(p1: int, known: int) -> int:
        return int(decoder.decode(bernoulli(p1)))

    data = run_block(model, raw_bytes, payload[:HEADER_BYTES], decide)
    assert decoder.maybe_exhausted()
    return data
