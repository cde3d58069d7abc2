"""nncomp on a cluster as one of the compressors that `nncomp bench` measures."""

from __future__ import annotations

import filecmp
import time
from functools import partial
from pathlib import Path

from nncomp.bench.measure import Compressor, Result
from nncomp.blocks.levels import level
from nncomp.blocks.memory import Memory
from nncomp.cli.sinks import open_sink
from nncomp.cli.sources import open_source
from nncomp.cluster.connection import Cluster
from nncomp.cluster.many_files import Compressing, Decompressing, Kind, Work, run
from nncomp.errors import NncompError
from nncomp.network.registry import ModelFile
from nncomp.stream.tasks import finder


def cluster_compressor(cluster: Cluster, model: ModelFile | None, number: int) -> Compressor:
    """Return nncomp at a level on a cluster. Times are wall times of this process, without the start of the cluster."""
    name = f"nncomp -{number}, cluster"
    compressing = Compressing(cluster, model, level(number).effort, Memory())
    decompressing = Decompressing(cluster, finder([model] if model else []), Memory())

    def measure(raw: Path, folder: Path) -> Result:
        packed, back = folder / "packed", folder / "back"
        compress_s = _timed(compressing, cluster, raw, packed)
        decompress_s = _timed(decompressing, cluster, packed, back)
        if not filecmp.cmp(raw, back, shallow=False):
            raise NncompError(f"{name} did not bring {raw} back byte for byte; nothing is reported for it.")
        sizes = raw.stat().st_size, packed.stat().st_size, model.size_bytes if model else 0
        return Result(name, *sizes, compress_s, decompress_s, None)

    return Compressor(name, measure)


def _timed(kind: Kind, cluster: Cluster, source: Path, target: Path) -> float:
    start_s = time.perf_counter()
    work = Work(str(source), partial(open_source, str(source)), partial(open_sink, str(target), True, None))
    run([work], kind, cluster, lambda _: None)
    if work.error:
        raise work.error
    return time.perf_counter() - start_s
