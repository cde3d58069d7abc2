"""A corpus of mixed files on one worker and on two, and the cluster's own overhead: `python -m benchmarks.cluster TEXT...`.

Files of 1 KB to 20 MB, small ones more often, are cut from the given texts. They are compressed on `--workers` processes of this
machine, compared with the output of one process, decompressed and compared again. Wall time needs quiet cores, so processor time
is counted too: of this process, which is client and scheduler, and of the workers. Then stored blocks, which take no work, give
the cluster's own overhead.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import random
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nncomp.bench import measure
from nncomp.blocks.levels import level
from nncomp.blocks.memory import Memory
from nncomp.cluster.connection import Cluster, connect
from nncomp.cluster.many_files import Compressing, Decompressing, Kind, Work, run
from nncomp.format.frames import Block, FrameWriter, checksum
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile, find, open_model
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding


class Kept(io.BytesIO):
    """A buffer that keeps its content when it is closed."""

    made = b""

    def close(self) -> None:
        self.made = self.made or self.getvalue()
        super().close()


def mixed(texts: list[bytes], count: int, total_bytes: int, largest: int) -> dict[str, bytes]:
    """Return `count` files with sizes from 1,000 bytes to `largest`, about `total_bytes` in all."""
    random.seed(1)
    drawn = [(i + 0.5) / count for i in range(count)]
    random.shuffle(drawn)
    low, high = 0.0, 50.0  # of a power that makes more of them small
    for _ in range(60):
        power = (low + high) / 2
        sizes = [int(1_000 * math.exp(math.log(largest / 1_000) * each**power)) for each in drawn]
        low, high = (power, high) if sum(sizes) > total_bytes else (low, power)
    whole = b"".join(texts)
    files = {}
    for i, size in enumerate(sizes):
        start = random.randrange(len(whole))
        files[f"{i:03}"] = (whole[start:] + whole * (size // len(whole) + 1))[:size]
    return files


def through(cluster: Cluster, kind: Kind, files: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, float]]:
    """Return the results of files, and seconds: wall time, in tasks, and processor time here and on the workers."""
    kept = {name: Kept() for name in files}

    def work(name: str) -> Work:
        return Work(name, lambda: nullcontext(io.BytesIO(files[name])), lambda: kept[name])

    works = [work(name) for name in sorted(files, key=lambda name: -len(files[name]))]  # as the command does
    before = sum(cluster.client.run(time.process_time).values())
    start_s, here_s = time.perf_counter(), time.process_time()
    run(works, kind, cluster, lambda done: None)
    spent = {"wall_s": time.perf_counter() - start_s, "client_cpu_s": time.process_time() - here_s}
    spent["worker_cpu_s"] = sum(cluster.client.run(time.process_time).values()) - before
    spent["task_s"] = sum(each.worker_s for each in works)
    assert not [each.error for each in works if each.error]
    return {name: each.made for name, each in kept.items()}, {name: round(value, 3) for name, value in spent.items()}


def empty_tasks(cluster: Cluster, count: int, block_bytes: int) -> dict[str, float]:
    """Return what so many blocks cost that are only sent, hashed and sent back."""
    data = os.urandom(block_bytes)
    sink = io.BytesIO()
    FrameWriter(sink).write(Block(BlockKind.STORED, len(data), data, checksum(data), True))
    packed = sink.getvalue()
    start_s = time.process_time()
    for _ in range(20):
        checksum(data)
    hash_s = (time.process_time() - start_s) / 20
    _, spent = through(cluster, Decompressing(cluster, _find, Memory()), {str(i): packed for i in range(count)})
    each = {name.replace("_s", "_ms"): round(1000 * value / count, 3) for name, value in spent.items()}
    return {"blocks": count, "block_bytes": block_bytes, "hash_ms": round(1000 * hash_s, 3), **each}


def _find(reference: Any) -> ModelFile:
    return find(reference.model_id, reference.content_hash)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--model", help="none, or a model; the level's otherwise")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=100_000_000)
    parser.add_argument("--largest", type=int, default=20_000_000)
    parser.add_argument("--empty", type=int, default=100, help="blocks of 1 MB and of 1 KB that take no work")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    model = None if asked.model == "none" else open_model(asked.model or level(asked.level).model)
    files = mixed([path.read_bytes() for path in asked.texts], asked.count, asked.bytes, asked.largest)
    raw_bytes = sum(map(len, files.values()))
    print(
        f"{len(files)} files, {min(map(len, files.values())):,} to {max(map(len, files.values())):,} bytes, {raw_bytes:,} in all"
    )
    found: dict[str, Any] = measure.surroundings({}) | {
        "load": os.getloadavg(),
        "files": len(files),
        "raw_bytes": raw_bytes,
        "runs": [],
    }
    digests = set()
    for workers in asked.workers:
        with connect("local", workers) as cluster:
            cluster.client.wait_for_workers(workers)
            through(cluster, Compressing(cluster, model, level(asked.level).effort, Memory()), {"first": b"some words " * 99})
            packed, into = through(cluster, Compressing(cluster, model, level(asked.level).effort, Memory()), files)
            back, out = through(cluster, Decompressing(cluster, _find, Memory()), packed)
            assert back == files, "not lossless: nothing is reported"
            digests.add(hashlib.sha256(b"".join(packed.values())).hexdigest())
            empty = [empty_tasks(cluster, asked.empty, size) for size in (1_000_000, 1_000)] if asked.empty else []
        row = {
            "workers": workers,
            "packed_bytes": sum(map(len, packed.values())),
            "compress": into,
            "decompress": out,
            "empty": empty,
        }
        found["runs"].append(row)
        print(json.dumps(row))
    assert len(digests) == 1, "the bytes depend on the number of workers"
    name = next(iter(files))
    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(files[name]), sink, Coding(model, level(asked.level).effort), 0)
    assert sink.getvalue() == packed[name]
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
