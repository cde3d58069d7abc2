"""A terabyte on N workers, by formula and by simulation: `python -m benchmarks.scale`.

The simulation uses measured task times (benchmarks/results/2026-11-25-front.json: the texts of 100 KB and more, at -1 and -5) and
the cluster's measured overhead (docs/SCALE.md gives the source of each figure). It draws blocks at random. Client with scheduler,
network and workers do one thing at a time each, with as many blocks in work as nncomp/cluster/window.py allows.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import BINARY
from nncomp.cluster.window import limit_bytes
from nncomp.format.numbers import BLOCK_BYTES, SPLIT_BYTES

RESULTS = Path(__file__).parent / "results" / "2026-11-25-front.json"
TEXT_BYTES = 100_000  # shorter files measure the start of the command


@dataclass(frozen=True)
class Costs:
    """Seconds of one core: of client and scheduler for each block and each byte, and of a worker for each block."""

    fixed_s: float = 0.0040
    byte_s: float = 3.0e-9  # in each direction
    worker_s: float = 0.063
    network_bytes_per_s: float = 1.25e9  # of the client's and the scheduler's machine: 10 Gbit/s
    start_s: float = 25.0  # of a worker on a new machine: kernels


def speeds(compressor: str, key: str) -> list[tuple[int, float, float]]:
    """Return for each text its size, the measured bytes a second and the measured ratio."""
    rows = []
    for file in json.loads(RESULTS.read_text())["files"]:
        name = file["file"].rsplit("/")[-1]
        for row in file["results"]:
            if row["compressor"] == compressor and row["raw_bytes"] >= TEXT_BYTES and name not in BINARY:
                rows.append((row["raw_bytes"], row["raw_bytes"] / row[key], row["raw_bytes"] / row["packed_bytes"]))
    return rows


def simulate(
    workers: int, blocks: int, mean_bytes_per_s: float, kinds: list[tuple[int, float, float]], costs: Costs
) -> dict[str, float]:
    """Return the time of `blocks` blocks at a mean speed of one core, and how busy each part was."""
    random.seed(1)
    total = sum(size for size, _, _ in kinds)
    mean_s = sum(size / speed for size, speed, _ in kinds) / total  # of a byte, as measured: with two threads, start included
    scale = 1 / mean_bytes_per_s / mean_s
    drawn = random.choices(kinds, [size for size, _, _ in kinds], k=blocks)
    times = [BLOCK_BYTES / speed * scale + costs.worker_s for _, speed, _ in drawn]
    packed = [BLOCK_BYTES / ratio for _, _, ratio in drawn]
    limit = limit_bytes(workers)
    hub_s = network_s = clock_s = busy_s = 0.0  # when the client and scheduler, and their network, are free again
    idle = [costs.start_s] * workers
    heapq.heapify(idle)
    flying: list[tuple[float, int]] = []
    done, sent, given, waiting_bytes = [False] * blocks, 0, 0, 0.0
    hub_busy_s = 0.0
    while given < blocks:
        while (
            sent < blocks
            and (len(flying) + 1) * BLOCK_BYTES + (SPLIT_BYTES - BLOCK_BYTES) <= limit
            and len(flying) * BLOCK_BYTES + waiting_bytes <= 2 * limit
        ):
            spent_s = costs.fixed_s / 2 + BLOCK_BYTES * costs.byte_s
            hub_busy_s += spent_s
            hub_s = max(hub_s, clock_s) + spent_s
            network_s = max(network_s, clock_s) + BLOCK_BYTES / costs.network_bytes_per_s
            start_s = max(heapq.heappop(idle), hub_s, network_s)
            end_s = start_s + times[sent]
            busy_s += times[sent]
            heapq.heappush(idle, end_s)
            heapq.heappush(flying, (end_s, sent))
            sent += 1
        if flying:
            end_s, number = heapq.heappop(flying)
            clock_s = max(clock_s, end_s)
            spent_s = costs.fixed_s / 2 + packed[number] * costs.byte_s
            hub_busy_s += spent_s
            hub_s = max(hub_s, clock_s) + spent_s
            done[number] = True
            waiting_bytes += packed[number]
        while given < blocks and done[given]:
            waiting_bytes -= packed[given]
            given += 1
    end_s = max(hub_s, clock_s)
    return {"time_s": end_s, "workers_busy": busy_s / (end_s * workers), "hub_busy": hub_busy_s / end_s}


def formula(workers: int, blocks: int, mean_bytes_per_s: float, ratio: float, costs: Costs) -> float:
    """Return the time by the formula of docs/SCALE.md: the start, and the slowest of workers, hub and network."""
    work_s = blocks * (BLOCK_BYTES / mean_bytes_per_s + costs.worker_s) / workers
    hub_s = blocks * (costs.fixed_s + BLOCK_BYTES * (1 + 1 / ratio) * costs.byte_s)
    network_s = blocks * BLOCK_BYTES / costs.network_bytes_per_s
    return costs.start_s + max(work_s, hub_s, network_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=10**12)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000, 10000])
    parser.add_argument("--speeds", nargs="+", default=["-1:169", "-5:68"], help="level:KB/s of one core, compressing")
    asked = parser.parse_args()
    print("| level | KB/s a core | workers | formula, days | simulated, days | workers busy | client and scheduler busy |")
    print("|---|---|---|---|---|---|---|")
    for each in asked.speeds:
        number, speed = each.split(":")
        kinds = speeds(f"nncomp {number}", "compress_s")
        ratio = sum(size for size, _, _ in kinds) / sum(size / ratio for size, _, ratio in kinds)
        for workers in asked.workers:
            costs = Costs()
            share = min(asked.bytes // BLOCK_BYTES, 60 * workers)  # the blocks that are simulated; the rest is like them
            blocks = asked.bytes / BLOCK_BYTES
            found = simulate(workers, share, 1000 * float(speed), kinds, costs)
            simulated_s = costs.start_s + (found["time_s"] - costs.start_s) * blocks / share
            by_formula_s = formula(workers, int(blocks), 1000 * float(speed), ratio, costs)
            days = f"{by_formula_s / 86400:,.2f} | {simulated_s / 86400:,.2f}"
            print(f"| {number} | {speed} | {workers:,} | {days} | {found['workers_busy']:.0%} | {found['hub_busy']:.1%} |")


if __name__ == "__main__":
    main()
