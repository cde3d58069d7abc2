"""nncomp beside 7z PPMd, zpaq and the rest: bytes of every file of a folder, all made in one run, nncomp's decoded and compared.

    python -m benchmarks.peers FOLDER... [--model PATH] [--json FILE]

A peer that is not installed is left out. A zpaq archive carries about 1 KB of its own. Sizes only; for speed and memory
of nncomp use `nncomp bench`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nncomp.bench import expand, surroundings

Sizes = dict[str, int]


def _piped(*command: str) -> Callable[[Path, Path], int]:
    def size(raw: Path, _folder: Path) -> int:
        with raw.open("rb") as file:
            return len(subprocess.run(command, stdin=file, capture_output=True, check=True).stdout)

    return size


def _archive(suffix: str, *command: str) -> Callable[[Path, Path], int]:
    def size(raw: Path, folder: Path) -> int:
        packed, local = folder / f"out{suffix}", folder / "in"
        packed.unlink(missing_ok=True)
        shutil.copyfile(raw, local)
        filled = [word.format(packed=packed, raw=local) for word in command]
        subprocess.run(filled, capture_output=True, check=True, cwd=folder)
        return packed.stat().st_size

    return size


PEERS: dict[str, tuple[str, Callable[[Path, Path], int]]] = {
    "gzip -9": ("gzip", _piped("gzip", "-9nc")),
    "bzip2 -9": ("bzip2", _piped("bzip2", "-9c")),
    "xz -9e": ("xz", _piped("xz", "-9ec")),
    "zstd -22": ("zstd", _piped("zstd", "--ultra", "-22", "-c", "-")),
    "brotli -q 11": ("brotli", _piped("brotli", "-q", "11", "-w", "24", "-c")),
    "7z PPMd": ("7z", _archive(".7z", "7z", "a", "-bd", "-m0=PPMd:o16:mem256m", "{packed}", "{raw}")),
    "zpaq -m5": ("zpaq", _archive(".zpaq", "zpaq", "a", "{packed}", "{raw}", "-method", "5", "-threads", "1")),
}


def nncomp_sizes(raw: Path, folder: Path, model: list[str]) -> tuple[int, float, float]:
    """Return the bytes of the file that nncomp made, after decoding and comparing it, and the seconds each way."""
    packed, back = folder / "out.nnc", folder / "back"
    command, began = [sys.executable, "-m", "nncomp"], time.perf_counter()
    subprocess.run([*command, "compress", "-qf", *model, str(raw), "-o", str(packed)], check=True)
    middle = time.perf_counter()
    subprocess.run([*command, "decompress", "-qf", *model, str(packed), "-o", str(back)], check=True)
    ended = time.perf_counter()
    if back.read_bytes() != raw.read_bytes():
        sys.exit(f"{raw} did not come back: nothing is reported.")
    return packed.stat().st_size, middle - began, ended - middle


def main() -> None:
    """Measure, then print a Markdown table with the smallest classical peer and the distance to zpaq."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", help="a model file of your own")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    model = ["--model", arguments.model] if arguments.model else []
    installed = {name: size for name, (command, size) in PEERS.items() if shutil.which(command)}
    rows = []
    print("| file | raw | nncomp | bpb | KB/s in / out | " + " | ".join(installed) + " | to the best but zpaq | to zpaq |")
    print("|---|---|---|---|---|" + "---|" * (len(installed) + 2))
    for raw in expand(arguments.folders):
        with tempfile.TemporaryDirectory() as name:
            folder, size = Path(name), raw.stat().st_size
            ours, in_s, out_s = nncomp_sizes(raw, folder, model)
            theirs = {peer: measure(raw, folder) for peer, measure in installed.items()}
        rows.append({"file": raw.name, "raw": size, "nncomp": ours, "in_s": in_s, "out_s": out_s, **theirs})
        _print_row(raw.name, size, ours, in_s, out_s, theirs)
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "file"}  # type: ignore[misc]
    _print_row("total", total["raw"], total["nncomp"], total["in_s"], total["out_s"], {p: total[p] for p in installed})
    if arguments.json:
        arguments.json.write_text(json.dumps({**surroundings(), "rows": rows}, indent=1))


def _print_row(name: str, raw: int, ours: int, in_s: float, out_s: float, theirs: Sizes) -> None:
    classical = [size for peer, size in theirs.items() if peer != "zpaq -m5"]
    to_best = f"{ours / min(classical) - 1:+.1%}" if classical else ""
    to_zpaq = f"{ours / theirs['zpaq -m5'] - 1:+.1%}" if "zpaq -m5" in theirs else ""
    speed = f"{raw / in_s / 1000:.0f} / {raw / out_s / 1000:.0f}"
    peers = " | ".join(f"{size:,}" for size in theirs.values())
    line = f"| {name} | {raw:,} | {ours:,} | {8 * ours / raw:.3f} | {speed} | {peers} | {to_best} | {to_zpaq} |"
    print(line, flush=True)


if __name__ == "__main__":
    main()
