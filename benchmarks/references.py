"""What a reference gives small files of one kind, and a new version of a file, beside zstd with a dictionary and --patch-from.

    python -m benchmarks.references kind FOLDER...
    python -m benchmarks.references version OLD NEW...

A FOLDER of a kind has the folders `samples` and `files`. The reference is picked from the samples (`nncomp reference`), and zstd
trains its dictionary on them, both of 64 KiB at most. Every file is written, decoded and compared. zstd must be installed.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import nncomp
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


def measure_kind(folder: Path, level: int) -> str:
    """Return a line of the table: the kind, files, bytes, and the sizes that each way gives."""
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
    return f"{folder.name}: {len(files)} files, {sum(map(len, files)):,} bytes; reference {len(reference):,}; sizes {sizes}"


def measure_version(old: bytes, new: bytes, level: int) -> str:
    with tempfile.TemporaryDirectory() as held:
        place = Path(held)
        (place / "old").write_bytes(old)
        sizes = [
            _zstd(new, place),
            _zstd(new, place, f"--patch-from={place / 'old'}"),
            _nncomp(new, level, None),
            _nncomp(new, level, old),
        ]
    return f"{len(old):,} -> {len(new):,} bytes; sizes {sizes}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kind", "version"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--level", type=int, default=5)
    asked = parser.parse_args()
    print("sizes: zstd -19, with its dictionary or --patch-from, nncomp, nncomp --reference")
    if asked.what == "kind":
        for folder in asked.paths:
            print(measure_kind(folder, asked.level), flush=True)
        return
    for old, new in zip(asked.paths[::2], asked.paths[1::2], strict=True):
        print(f"{new.name}: {measure_version(old.read_bytes(), new.read_bytes(), asked.level)}", flush=True)


if __name__ == "__main__":
    main()
