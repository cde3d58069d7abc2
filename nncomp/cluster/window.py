"""The orders in work on a cluster, so few at a time that memory stays bounded for any number of orders."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from typing import Any

from nncomp.cluster.connection import Cluster, failure
from nncomp.cluster.remote_task import Done, Order
from nncomp.errors import WorkerError
from nncomp.format.numbers import SPLIT_BYTES
from nncomp.stream.tasks import Decoded, Encoded

_LOOK_S = 2.0  # between two counts of the workers
_ALONE_S = 300.0  # without any worker, then the command fails
_COUNT = 8  # orders in work for each worker, so that workers with small orders do not wait


@dataclass(eq=False)
class Flight:
    """An order in work, the bytes that it or its result takes, and its outcome."""

    future: Any
    input_bytes: int
    held_bytes: int
    done: Done | None = field(default=None, repr=False)


def limit_bytes(workers: int) -> int:
    """Return the bytes that orders in work may take."""
    return (workers + 1) * SPLIT_BYTES


class Window:
    """The orders in work, and the results that wait for their turn.

    Orders in work take at most one block for each worker and one more; with the waiting results, twice as many bytes. Client and
    scheduler hold both.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._working: dict[str, Flight] = {}  # by the future's key
        self._working_bytes = self._waiting_bytes = self._waiting = 0
        self.workers = max(1, cluster.workers())
        self._looked_s = self._seen_s = time.monotonic()

    @property
    def limit_bytes(self) -> int:
        return limit_bytes(self.workers)

    def has_room(self) -> bool:
        """Return whether another order may be sent."""
        is_short = len(self._working) + self._waiting < _COUNT * (self.workers + 1)
        working_bytes = self._working_bytes + SPLIT_BYTES
        return is_short and working_bytes <= self.limit_bytes and working_bytes + self._waiting_bytes <= 2 * self.limit_bytes

    def send(self, order: Order) -> Flight:
        flight = Flight(self._cluster.submit(order), order.task.input_bytes, order.held_bytes)
        self._working[flight.future.key] = flight
        self._working_bytes += flight.held_bytes
        flight.future.add_done_callback(self._finished.put)
        return flight

    def wait(self, timeout_s: float) -> None:
        """Wait for results and fetch them. Raises WorkerError after five minutes without workers."""
        ready = []
        try:
            ready.append(self._finished.get(timeout=timeout_s))
            while True:
                ready.append(self._finished.get_nowait())
        except queue.Empty:
            pass
        self._look()
        self._fetch([future for future in ready if future.key in self._working])

    def take(self, flight: Flight) -> Done:
        """Return the outcome of a finished flight, and forget the flight."""
        assert flight.done is not None
        self._waiting_bytes -= flight.held_bytes
        self._waiting -= 1
        return flight.done

    def drop(self, flight: Flight) -> None:
        """Forget a flight, finished or not."""
        if flight.done is not None:
            self.take(flight)
        elif self._working.pop(flight.future.key, None):
            self._working_bytes -= flight.held_bytes
            flight.future.cancel()

    def _fetch(self, futures: list[Any]) -> None:
        while futures:
            part = futures[: self.workers + 1]  # few enough for the memory of the client
            del futures[: self.workers + 1]
            good = [future for future in part if future.status == "finished"]
            results = dict(zip([future.key for future in good], self._gather(good), strict=True))
            for future in part:
                self._settle(future, results.get(future.key) or Done(None, failure(future), 0.0))

    def _gather(self, futures: list[Any]) -> list[Any]:
        try:
            return list(self._cluster.client.gather(futures))
        except Exception:  # `_settle` asks each future for its error
            return [None] * len(futures)

    def _settle(self, future: Any, done: Done) -> None:
        flight = self._working.pop(future.key)
        self._working_bytes -= flight.held_bytes
        flight.done, flight.held_bytes = done, _size(done.result)
        self._waiting_bytes += flight.held_bytes
        self._waiting += 1
        flight.future = None  # releases the result that the scheduler holds

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s, count = now_s, self._cluster.workers()
        if count:
            self.workers, self._seen_s = count, now_s
        elif now_s - self._seen_s > _ALONE_S:
            raise WorkerError("The cluster has had no workers for five minutes; start some, and go on with --resume.")


def _size(result: Any) -> int:
    """Return the bytes that a result takes: of a coded block, or of literals."""
    if isinstance(result, Decoded):
        return len(result.literals)
    return len(result.block.payload) if isinstance(result, Encoded) else 0
