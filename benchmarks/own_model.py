"""Sizes of files with a model of your own and with the shipped one: `python -m benchmarks.own_model FOLDER MODEL`.

Each file of the folder is compressed at the usual level with both models, decompressed and compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nncomp
from nncomp.bench import measure


def sizes(data: bytes, model: str) -> tuple[int, int]:
    """Return the size of the file with the shipped model and with your own. Raises AssertionError if one is not lossless."""
    shipped, own = nncomp.compress(data), nncomp.compress(data, model=model)
    assert nncomp.decompress(shipped) == data and nncomp.decompress(own, model=model) == data, "not lossless"
    return len(shipped), len(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    asked = parser.parse_args()
    found = [sizes(path.read_bytes(), asked.model) for path in measure.expand([asked.folder])]
    shipped, own = (sum(each) for each in zip(*found, strict=True))
    smaller = sum(b < a for a, b in found)
    print(f"{len(found)} files: {shipped:,} bytes with the shipped model, {own:,} with {asked.model} ({own / shipped - 1:+.2%}),")
    print(f"{smaller} of them smaller")


if __name__ == "__main__":
    main()
