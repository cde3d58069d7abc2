"""Whether a file of nncomp is ever larger than the best of other compressors: `python -m checks.never_larger --mb 8 --level 5`.

Texts in which much comes again far away: backups, versions of a source tree, mail, logs. They are made of the source files of
this Python, the same on every run. Each result is decompressed and compared. Which compressors there are is up to the machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from nncomp.bench import peers
from nncomp.bench.measure import Compressor, measure_file, nncomp_compressor
from nncomp.blocks.levels import level
from nncomp.network.registry import installed_model

LONG_ZSTD = {"zstd -19 --long=27": ("zstd", '-q -19 --long=27 -o "$2" "$1"', '-q -d --long=27 -o "$2" "$1"')}
_CHANGE_EVERY, _PIECE = 5000, 100_000


@cache
def sources() -> list[tuple[str, bytes]]:
    """Return the names and bytes of the source files of the standard library, in order."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in folder.rglob("*.py") if "site-packages" not in path.parts and "test" not in path.parts)
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]


def text(size: int, chance: random.Random) -> bytes:
    """Return so many bytes of source text."""
    start = chance.randrange(len(sources()) // 2)
    return b"".join(data for _, data in sources()[start:])[:size]


def twice(chance: random.Random, size: int) -> bytes:
    return 2 * text(size // 2, chance)


def moved(chance: random.Random, size: int) -> bytes:
    half = text(size // 2, chance)
    return half + chance.randbytes(4321) + half


def changed(chance: random.Random, size: int) -> bytes:
    """Return a text twice, with one byte in 5,000 of the second changed."""
    half = bytearray(text(size // 2, chance))
    first = bytes(half)
    for at in range(0, len(half), _CHANGE_EVERY):
        half[min(at + chance.randrange(_CHANGE_EVERY), len(half) - 1)] = chance.randrange(256)
    return first + bytes(half)


def in_other_order(chance: random.Random, size: int) -> bytes:
    half = text(size // 2, chance)
    pieces = [half[at : at + _PIECE] for at in range(0, len(half), _PIECE)]
    return half + b"".join(reversed(pieces))


def three_far_apart(chance: random.Random, size: int) -> bytes:
    """Return a text three times, with five times as many bytes of other things between."""
    part = text(size // 13, chance)
    return part + chance.randbytes(5 * len(part)) + part + chance.randbytes(5 * len(part)) + part


def folder_twice(chance: random.Random, size: int) -> bytes:
    return _tar([(f"{name}/{path}", data) for name in ("work", "work.backup") for path, data in _files(chance, size // 2)])


def two_versions(chance: random.Random, size: int) -> bytes:
    """Return an archive of a source tree and of its next version: lines changed, added and removed in every third file."""
    old = _files(chance, size // 2)
    new = [(path, _edited(data, chance) if chance.random() < 1 / 3 else data) for path, data in old]
    return _tar([(f"tree-1.0/{path}", data) for path, data in old] + [(f"tree-1.1/{path}", data) for path, data in new])


def mail(chance: random.Random, size: int) -> bytes:
    """Return a folder of mail: quoted texts, and attachments that are sent on."""
    attachments = [base64.encodebytes(chance.randbytes(size // 40)) for _ in range(5)]
    lines = text(size, chance).splitlines(keepends=True)
    letters, at, last = list[bytes](), 0, b""
    while sum(map(len, letters)) < size and at < len(lines):
        count = chance.randrange(10, 60)
        body = b"".join(lines[at : at + count])
        quoted = b"".join(b"> " + line for line in last.splitlines(keepends=True))
        head = b"From a@example.org Mon Jan  5 09:%02d:11 2026\nSubject: %d\n\n" % (at % 60, at)
        letters.append(head + quoted + body + (chance.choice(attachments) if chance.random() < 1 / 4 else b"") + b"\n")
        at, last = at + count, body
    return b"".join(letters)[:size]


def rotated_logs(chance: random.Random, size: int) -> bytes:
    """Return four logs, each beginning with the last third of the one before."""
    words = [b"accepted", b"refused", b"timeout", b"GET /index.html", b"POST /api/items", b"retry", b"closed"]
    log, logs, second = b"", list[bytes](), 0
    for _ in range(4):
        lines = [log[-(size // 12) :]]
        length = len(lines[0])
        while length < size // 4:
            second += chance.randrange(5)
            host = chance.randrange(256), chance.randrange(256)
            line = b"2026-01-05 %02d:%02d:%02d host-%d-%d %s %d\n" % (
                *(second // 3600 % 24, second // 60 % 60, second % 60, *host),
                *(chance.choice(words), chance.randrange(100_000)),
            )
            lines.append(line)
            length += len(line)
        log = b"".join(lines)
        logs.append(log)
    return b"".join(logs)


KINDS: list[Callable[[random.Random, int], bytes]] = [
    *(twice, moved, changed, in_other_order, three_far_apart),
    *(folder_twice, two_versions, mail, rotated_logs),
]


def _files(chance: random.Random, size: int) -> list[tuple[str, bytes]]:
    found, start = list[tuple[str, bytes]](), chance.randrange(len(sources()) // 2)
    for path, data in sources()[start:]:
        if sum(len(each) for _, each in found) + len(data) > size:
            break
        found.append((path, data))
    return found


def _edited(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    for _ in range(max(1, len(lines) // 50)):
        at = chance.randrange(len(lines) + 1)
        lines[at : at + chance.randrange(2)] = [b"    value = %d\n" % chance.randrange(10_000)] * chance.randrange(2)
    return b"".join(lines)


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def others() -> list[Compressor]:
    """Return the other compressors of this machine."""
    peers.FILTERS.update(LONG_ZSTD)
    return peers.peers()


def compare(kind: Callable[[random.Random, int], bytes], size: int, compressors: list[Compressor]) -> dict[str, int]:
    """Return the bytes of each compressor for a text of a kind; raises an NncompError when one does not come back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / kind.__name__
        path.write_bytes(kind(random.Random(kind.__name__), size))
        return {result.compressor: result.packed_bytes for result in measure_file(path, compressors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=8, help="megabytes of each text")
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    model = installed_model(level(asked.level).model)
    ours = nncomp_compressor(level(asked.level).model, model.size_bytes if model else 0, asked.threads, asked.level)
    is_larger = False
    for kind in KINDS:
        sizes = compare(kind, asked.mb * 1_000_000, [ours, *others()])
        best = min((name for name in sizes if name != ours.name), key=sizes.__getitem__)
        print(
            f"{kind.__name__}: nncomp {sizes[ours.name]:,}, {best} {sizes[best]:,}, {sizes[ours.name] / sizes[best]:.3f}",
            flush=True,
        )
        is_larger |= sizes[ours.name] > sizes[best]
    sys.exit(is_larger)


if __name__ == "__main__":
    main()
