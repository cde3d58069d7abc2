"""Many small files beside their bytes as one file: `python -m benchmarks.many_files TEXT...`.

Pieces of the texts in turn become files of a folder. The folder is compressed and decompressed by one command each, and so is one
file of all their bytes. All is compared. For each level there is a row of a table: seconds of both, and how many times as long
the files take.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.large import mixed
from nncomp.bench import measure


def _seconds(folder: Path, *arguments: str) -> float:
    """Run nncomp in a folder; return the seconds that it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nncomp", *arguments, "-q"], cwd=folder, check=True)
    return time.perf_counter() - start


def both_ways(folder: Path, level: int, threads: int) -> dict[str, float]:
    """Return the seconds that the files in `src` and the file `whole` take, in and out, and the packed bytes of both."""
    for name in ("out", "back"):
        shutil.rmtree(folder / name, ignore_errors=True)
    how = ["-T", str(threads)]
    found = {
        "many_in_s": _seconds(folder, "compress", f"-{level}", *how, "-r", "src", "--output-dir", "out"),
        "many_out_s": _seconds(folder, "decompress", *how, "-r", "out", "--output-dir", "back"),
        "whole_in_s": _seconds(folder, "compress", f"-{level}", *how, "-f", "whole"),
        "whole_out_s": _seconds(folder, "decompress", *how, "-f", "whole.nnc", "-o", "whole.back"),
        "many_bytes": sum(path.stat().st_size for path in (folder / "out").iterdir()),
        "whole_bytes": (folder / "whole.nnc").stat().st_size,
    }
    assert (folder / "whole.back").read_bytes() == (folder / "whole").read_bytes()
    assert {path.name: path.read_bytes() for path in (folder / "back").iterdir()} == {
        path.name: path.read_bytes() for path in (folder / "src").iterdir()
    }
    return found


def table_row(row: dict[str, float]) -> str:
    """Return the row of a level, as in docs/BENCHMARKS.md."""
    cells = [f"-{row['level']}"]
    for way in ("in", "out"):
        many, whole = row[f"many_{way}_s"], row[f"whole_{way}_s"]
        cells += [f"{many:.2f}", f"{whole:.2f}", f"{many / whole:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--threads", "-T", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="measure so often, and take the least of each time")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    data = mixed([path.read_bytes() for path in measure.expand(asked.texts)], asked.files * asked.bytes, asked.bytes)
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="nncomp-many-") as name:
        folder = Path(name)
        (folder / "src").mkdir()
        (folder / "whole").write_bytes(data)
        for i in range(asked.files):
            (folder / f"src/{i:06}").write_bytes(data[i * asked.bytes :][: asked.bytes])
        for level in asked.levels:
            _seconds(folder, "compress", f"-{level}", "-k", "src/000000", "-o", "first", "-f")  # all kernels are compiled
            found = [both_ways(folder, level, asked.threads) for _ in range(asked.repeats)]
            row = {key: min(each[key] for each in found) for key in found[0]}
            rows.append({"level": level, "threads": asked.threads, "files": asked.files, "bytes": asked.bytes} | row)
            print(table_row(rows[-1]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(measure.surroundings({}) | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
