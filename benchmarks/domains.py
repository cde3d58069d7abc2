"""What mixing adds to the network, and the network to mixing, for each file of a folder.

    python -m benchmarks.domains FOLDER_OR_FILE... [--model FILE] [--first 4000000] [--threads 1]

Columns: bits per byte of the network alone (surprisal, as many lanes as the block has); of the block as tokens (network
and mixing) and as bytes (mixing alone), payloads that were decoded and compared; and how much smaller the tokens are than
the network alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.mixing_bytes import files_under
from nncomp.blocks.codec import Codec
from nncomp.blocks.token_payload import lanes_log2
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import open_model
from nncomp.network.surprisal import surprisal_bits


def measure(codec: Codec, name: str, data: bytes, threads: int) -> tuple[float, int, int]:
    """Return the bits of the network alone and the bytes of both kinds of block; exits when one does not come back."""
    ids = codec._network.model.vocabulary.encode(data)
    alone_bits = surprisal_bits(codec._network, ids, 1 << lanes_log2(len(data)))
    sizes = []
    for kind in (BlockKind.TOKENS, BlockKind.BYTES):
        payload = codec._encode(kind, data, threads).payload
        if codec.decode_block(kind, payload, len(data), threads) != data:
            raise SystemExit(f"{name} does not come back as {kind.name.lower()}.")
        sizes.append(len(payload))
    return alone_bits, sizes[0], sizes[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--first", type=int, default=4_000_000, help="bytes of each file")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    codec = Codec(open_model(arguments.model))
    total = [0, 0.0, 0, 0, 0]  # bytes, bits of the network alone, bytes as tokens, as bytes, of the smaller
    print("| file | bytes | network alone | tokens | bytes | mixing saves |")
    print("|---|---|---|---|---|---|")
    for path in files_under(arguments.paths):
        data = path.read_bytes()[: arguments.first]
        if not data:
            continue
        alone_bits, *sizes = measure(codec, str(path), data, arguments.threads)
        print_row(path.stem, len(data), alone_bits, *sizes)
        for i, value in enumerate((len(data), alone_bits, *sizes, min(sizes))):
            total[i] += value
    print_row("**all**", int(total[0]), total[1], int(total[2]), int(total[3]))
    print(f"\nThe smaller of tokens and bytes for each file: {8 * total[4] / total[0]:.4f} bits per byte.")


def print_row(name: str, raw_bytes: int, alone_bits: float, tokens: int, in_bytes: int) -> None:
    """Print a row of the table; sizes in bytes."""
    saved = 1 - 8 * tokens / alone_bits
    row = [alone_bits / raw_bytes, 8 * tokens / raw_bytes, 8 * in_bytes / raw_bytes]
    print(f"| {name} | {raw_bytes:,} | " + " | ".join(f"{value:.3f}" for value in row) + f" | {saved:.1%} |", flush=True)


if __name__ == "__main__":
    main()
