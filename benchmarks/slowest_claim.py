"""How long a byte that a file claims can take to decode at most: `python -m benchmarks.slowest_claim TEXT`.

One lane, the model max, one thread, and a token for each byte: a writer may choose that, so may a file that lies about 6 MiB.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nncomp import coding, token_block
from nncomp.container import SPLIT_BYTES
from nncomp.exact.engine import PackedModel
from nncomp.exact.weights import parse_model
from nncomp.registry import open_model

_BYTES = 60_000


def payload_of(model: PackedModel, data: bytes, ids: NDArray[np.int32]) -> bytes:
    """Return the payload of a block of one lane that takes these tokens."""
    sizes = 0, token_block.lines_log2(len(data))
    p = token_block.predict_tokens(model, data, token_block.model_start(model), *sizes, lane_ids=[ids])
    return bytes([*sizes, 0]) + coding.words_to_bytes(coding.encode(p.decisions, p.p1))


def main() -> None:
    data = Path(sys.argv[1]).read_bytes()[:_BYTES]
    file = open_model("max")
    model = PackedModel(parse_model(file.read(), "max", file.read_base()))
    number = {token: i for i, token in enumerate(model.model.vocabulary.tokens)}
    ids = np.array([number[data[i : i + 1]] for i in range(len(data))], np.int32)
    payload = payload_of(model, data, ids)
    begin = time.perf_counter()
    assert token_block.decode_tokens(model, payload, len(data)) == data, "not lossless"
    byte_s = (time.perf_counter() - begin) / len(data)
    print(f"{byte_s * 1e6:.1f} microseconds a byte, {byte_s * (SPLIT_BYTES - 1):.0f} s for a block of 6 MiB")


if __name__ == "__main__":
    main()
