"""Speed and memory of nncomp by size of the file and by cores: `python -m benchmarks.large TEXT...`.

Files of mixed text are made from the given texts, 64 KB of each in turn, so that a longer file has the same mixture. Only
speed is measured, not size, as models may have been trained on the texts. Each file is compressed, decompressed and compared. For
each number of cores there is a line for each file: KB/s in both directions, start included, and the largest memory of a process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from nncomp.bench import measure
from nncomp.bench.peers import peers, versions
from nncomp.blocks import levels
from nncomp.network.registry import open_model

PIECE_BYTES = 65_536


def mixed(texts: list[bytes], size: int, piece_bytes: int = PIECE_BYTES) -> bytes:
    """Return `size` bytes of the texts: a piece of each text in turn, then the next piece of each, and so on."""
    found = bytearray()
    for start in itertools.count(0, piece_bytes):
        for text in texts:
            first = start % max(1, len(text) - piece_bytes)
            found += text[first : first + piece_bytes]
        if len(found) >= size:
            break
    return bytes(found[:size])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", nargs="+", type=float, default=[1, 10, 100])
    parser.add_argument("--levels", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", "-T", nargs="+", type=int, default=[2])
    parser.add_argument("--zpaq", action="store_true", help="measure zpaq -m5 too")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    texts = [path.read_bytes() for path in measure.expand(asked.texts)]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="nncomp-large-") as folder:
        for megabytes, threads, level in itertools.product(asked.megabytes, asked.threads, asked.levels):
            path = Path(folder) / "mixed"
            path.write_bytes(mixed(texts, round(megabytes * 1e6)))
            ours = measure.nncomp_compressor(None, open_model(levels.level(level).model).size_bytes, threads, level)
            if not rows:
                measure.warm_up(ours)
            zpaq = [each for each in peers() if each.name == "zpaq -m5"] if asked.zpaq and threads == asked.threads[0] else []
            for result in measure.measure_file(path, [ours, *zpaq]):
                rows.append({"threads": threads} | asdict(result))
                speeds = f"{result.compress_kb_per_s:,.0f} and {result.decompress_kb_per_s:,.0f} KB/s"
                memory = f"{(result.peak_bytes or 0) / 1e6:,.0f} MB"
                print(
                    f"{result.compressor} -T {threads}, {megabytes:g} MB: {result.packed_bytes:,} bytes, {speeds}, {memory}",
                    flush=True,
                )
    if asked.json:
        asked.json.write_text(json.dumps(measure.surroundings(versions()) | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
