"""What the codes of a model are worth, by size and kind of text: with the code that is sent, none, one for all, another text's.

    python -m benchmarks.codes MODEL.safetensors FOLDER

Texts of each size are cut from each file of the folder at random lines, the same each time. Every payload is decoded and
compared. Sizes are those of the payloads. A payload with a code has no byte more: its head has the byte in any case.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nncomp.blocks import token_payload
from nncomp.blocks.levels import Effort
from nncomp.network.choice import likely_codes
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network
from nncomp.network.model import load_model

COUNTS = {100: 8, 300: 8, 1_000: 6, 4_000: 3, 16_000: 1, 65_536: 1}  # texts of each size from each file
WAYS = "none", "sent", "one for all", "another text's"


def cuts(text: bytes, size: int, count: int) -> Iterator[bytes]:
    """Give pieces of a text of `size` bytes that begin at random lines; fewer where the text is short."""
    random = np.random.default_rng(size)
    for _ in range(count if len(text) >= size else 0):
        at = int(random.integers(0, len(text) - size + 1))
        line = text.rfind(b"\n", 0, at) + 1
        yield text[line : line + size]


def payload_bits(network: Network, data: bytes, code: int) -> tuple[int, float]:
    """Return the bytes of the payload with this code (0: none), decoded and compared, and its surprisal in bits."""
    found = token_payload.encode_and_learn(network, data, token_payload.model_start(network), code=code)
    assert token_payload.decode_tokens(network, found.payload, len(data)) == data
    return len(found.payload), found.cost_bits


def sent_code(network: Network, data: bytes) -> int:
    """Return the code that the compressor sends at -6 to -9."""
    return token_payload.encode_tokens(network, data, effort=Effort(tried_codes=2)).payload[2]


def measure(network: Network, texts: list[bytes]) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Return bytes and surprisal of each text in each of the WAYS, shape (texts, 4, 2)."""
    sent = [sent_code(network, text) for text in texts]
    used = [code for code in sent if code != NO_CODE] or [NO_CODE]
    one = max(set(used), key=used.count)
    likeliest = [choices[0].code if (choices := likely_codes(network, text)) else NO_CODE for text in texts]
    others = likeliest[len(likeliest) // 2 :] + likeliest[: len(likeliest) // 2]
    rows = zip(texts, sent, others, strict=True)
    return np.array([[payload_bits(network, text, code) for code in (NO_CODE, own, one, other)] for text, own, other in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the codes of a model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(COUNTS))
    asked = parser.parse_args()
    network = Network(load_model(asked.model))
    for size in asked.sizes:
        names, texts = list[str](), list[bytes]()
        for path in sorted(asked.folder.glob("*.txt")):
            found = list(cuts(path.read_bytes(), size, COUNTS[size]))
            texts += found
            names += [path.stem] * len(found)
        figures = measure(network, texts)
        none_bytes, none_bits = figures[:, 0].sum(0)
        print(f"{size:,} bytes, {len(texts)} texts, {none_bytes:,.0f} bytes without a code")
        for way, (size_bytes, bits) in zip(WAYS[1:], figures[:, 1:].sum(0), strict=True):
            shares = [100 * (part / whole - 1) for part, whole in ((size_bytes, none_bytes), (bits, none_bits))]
            print(f"  {way}: {shares[0]:+.2f} % of bytes, {shares[1]:+.2f} % of surprisal")
        kinds = np.array(names)
        by_kind = [(name, figures[kinds == name].sum(0)) for name in sorted(set(names))]
        print("  sent, surprisal:", ", ".join(f"{name} {100 * (f[1, 1] / f[0, 1] - 1):+.1f}" for name, f in by_kind), flush=True)


if __name__ == "__main__":
    main()
