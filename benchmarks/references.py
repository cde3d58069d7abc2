"""What a reference gives small files of one kind, and a new version of a file, beside zstd with a dictionary and --patch-from.

    python -m benchmarks.references kind FOLDER...
    python -m benchmarks.references version OLD NEW...

A FOLDER of a kind has the folders `samples` and `files`. The reference is picked from the samples (`nncomp reference`), and zstd
trains its dictionary on them, both of 64 KiB at most. Every file is written, decoded and compared. zstd must be installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import nncomp
from nncomp.bench import measure
from nncomp.bench.peers import versions
from nncomp.stream.reference_choice import choose_reference

SIZE = 64 << 10


def _zstd(data: bytes, folder: Path, *options: str) -> int:
    """Return the size of what zstd makes of a text with these options, which decoding takes too."""
    source, packed = folder / "text", folder / "text.zst"
    source.write_bytes(data)
    common = ["zstd", "-q", "-f", *(option for option in options if not option.startswith("-19"))]
    subprocess.run([*common, "-19", str(source), "-o", str(packed)], check=True, stderr=subprocess.DEVNULL)
    back = subprocess.run([*common, "-d", "-c", str(packed)], check=True, capture_output=True).stdout
    assert back == data, "not lossless"
    return packed.stat().st_size


def _nncomp(data: bytes, level: int, reference: bytes | None) -> int:
    packed = nncomp.compress(data, level=level, reference=reference)
    assert nncomp.decompress(packed, reference=reference) == data, "not lossless"
    return len(packed)


Row = dict[str, int | str]  # a name, the bytes of the files, and what each way makes of them
WAYS = "zstd", "zstd_told", "nncomp", "nncomp_told"  # told: with a dictionary, --patch-from or a reference


def measure_kind(folder: Path, level: int) -> Row:
    """Return the sums of the files of a kind."""
    samples = sorted((folder / "samples").iterdir())
    reference = choose_reference((path.read_bytes() for path in samples), SIZE)
    files = [path.read_bytes() for path in sorted((folder / "files").iterdir())]
    with tempfile.TemporaryDirectory() as held:
        place = Path(held)
        dictionary = place / "dictionary"
        names = [str(path) for path in samples]
        subprocess.run(["zstd", "-q", "--train", *names, f"--maxdict={SIZE}", "-o", str(dictionary)], check=True)
        sizes = [
            sum(_zstd(data, place) for data in files),
            sum(_zstd(data, place, "-D", str(dictionary)) for data in files),
            sum(_nncomp(data, level, None) for data in files),
            sum(_nncomp(data, level, reference) for data in files),
        ]
    return {"name": folder.name, "files": len(files), "bytes": sum(map(len, files)), **dict(zip(WAYS, sizes, strict=True))}


def measure_version(old: Path, new: Path, level: int) -> Row:
    """Return the sizes of a file, told an older version of it."""
    data = new.read_bytes()
    with tempfile.TemporaryDirectory() as held:
        place = Path(held)
        sizes = [
            _zstd(data, place),
            _zstd(data, place, f"--patch-from={old}"),
            _nncomp(data, level, None),
            _nncomp(data, level, old.read_bytes()),
        ]
    return {"name": new.name, "files": 1, "bytes": len(data), **dict(zip(WAYS, sizes, strict=True))}


def cells(rows: list[Row]) -> str:
    """Return the end of a row of a table, as in docs/BENCHMARKS.md: the sums of bytes and of what each way makes of them."""
    return "".join(f" {sum(int(row[key]) for row in rows):,} |" for key in ("bytes", *WAYS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kind", "version"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked, rows = parser.parse_args(), list[Row]()
    print("files, bytes: zstd -19, with its dictionary or --patch-from, nncomp, nncomp --reference")
    of_kinds = asked.what == "kind"
    pairs = [(path, path) for path in asked.paths] if of_kinds else zip(asked.paths[::2], asked.paths[1::2], strict=True)
    for first, second in pairs:
        row = measure_kind(first, asked.level) if of_kinds else measure_version(first, second, asked.level)
        rows.append(row)
        print(f"| {row['files']} {row['name']} |{cells([row])}", flush=True)
    if asked.json:
        asked.json.write_text(
            json.dumps(measure.surroundings(versions()) | {"level": asked.level, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
