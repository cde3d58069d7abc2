"""How long a byte that a file claims can take to decode at most: `python -m checks.slowest_claim TEXT`.

One lane, the model max, one thread, and a token for each byte: a writer may choose that. So may a file that lies
about 18 MiB.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.blocks import levels, token_payload
from nncomp.format.numbers import MAX_LITERAL_BYTES
from nncomp.format.payloads import TokensHead
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.registry import open_model

_BYTES = 60_000


def payload_of(model: Network, data: bytes, ids: NDArray[np.int32]) -> bytes:
    """Return the payload of a block of one lane that takes these tokens."""
    head = TokensHead(0, levels.lines_log2(len(data)))
    p = token_payload.predict_tokens(model, data, token_payload.model_start(model), head, lane_ids=[ids])
    return head.pack() + range_coder.words_to_bytes(range_coder.encode(p.decisions, p.p1))


def main() -> None:
    data = Path(sys.argv[1]).read_bytes()[:_BYTES]
    file = open_model("max")
    model = Network(read_model(file))
    number = {token: i for i, token in enumerate(model.model.vocabulary.tokens)}
    ids = np.array([number[data[i : i + 1]] for i in range(len(data))], np.int32)
    payload = payload_of(model, data, ids)
    begin = time.perf_counter()
    assert token_payload.decode_tokens(model, payload, len(data)) == data, "not lossless"
    byte_s = (time.perf_counter() - begin) / len(data)
    print(f"{byte_s * 1e6:.1f} microseconds a byte, {byte_s * MAX_LITERAL_BYTES:.0f} s for a block of 18 MiB")


if __name__ == "__main__":
    main()
