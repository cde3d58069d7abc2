"""Mixing alone on bytes: each file is coded, decoded and compared; the sizes are those of the coded words.

    python -m benchmarks.mixing_bytes FOLDER_OR_FILE... [--table-bits 26]

Prints a row for each file: bytes in, bytes out, bits per byte, KB/s of CPU time in each direction; then the totals.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from nncomp import range_coder
from nncomp.format.numbers import MAX_TABLE_BITS, MIN_TABLE_BITS
from nncomp.mixing import byte_predictor


def files_under(paths: list[Path]) -> list[Path]:
    """Return the given files and the files in the given folders, sorted."""
    return sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def measure(data: np.ndarray[tuple[int], np.dtype[np.uint8]], table_bits: int) -> tuple[int, float, float]:
    """Return (bytes of the words, seconds of CPU to code, to decode); exits when the decoded bytes differ."""
    start = time.process_time()
    words = range_coder.encode(np.unpackbits(data), byte_predictor.probabilities(data, table_bits))
    middle = time.process_time()
    if not np.array_equal(byte_predictor.decode_bytes(words, len(data), table_bits), data):
        sys.exit("The decoded bytes differ from the file: nothing is reported.")
    return 4 * len(words), middle - start, time.process_time() - middle


def main() -> None:
    """Measure the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--table-bits", type=int, default=MAX_TABLE_BITS)
    arguments = parser.parse_args()
    measure(np.zeros(1, np.uint8), MIN_TABLE_BITS)  # compiles
    total_in = total_out = 0
    print(f"{'file':24} {'bytes':>10} {'coded':>10} {'bpb':>7} {'KB/s in':>8} {'out':>6}")
    for file in files_under(arguments.paths):
        data = np.fromfile(file, np.uint8)
        coded, encode_s, decode_s = measure(data, arguments.table_bits)
        total_in, total_out = total_in + len(data), total_out + coded
        speeds = [len(data) / 1000 / max(seconds, 1e-9) for seconds in (encode_s, decode_s)]
        row = f"{file.name:24} {len(data):10} {coded:10} {8 * coded / max(len(data), 1):7.4f} {speeds[0]:8.0f} {speeds[1]:6.0f}"
        print(row, flush=True)
    print(f"{'total':24} {total_in:10} {total_out:10} {8 * total_out / max(total_in, 1):7.4f}")


if __name__ == "__main__":
    main()
