"""Orders in work on a cluster, few enough that memory stays bounded however many there are."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from typing import Any

from nncomp.cluster.connection import Cluster, failure
from nncomp.cluster.remote_task import Done, Order
from nncomp.errors import WorkerError
from nncomp.format.frames import Block
from nncomp.format.numbers import SPLIT_BYTES

_LOOK_S = 2.0  # between looks at how many workers there are
_ALONE_S = 300.0  # so long without any worker, and the work is given up
_COUNT = 8  # orders in work for each worker: small ones are done before the next could come


@dataclass(eq=False)
class Flight:
    """An order on its way, the bytes that are held for it, and what came of it."""

    future: Any
    input_bytes: int
    held_bytes: int
    done: Done | None = field(default=None, repr=False)


class Window:
    """Orders that are in work, or done and not yet taken.

    In work are at most the bytes of one block more than there are workers; with the results that wait for their turn, twice as
    many. Both are held by the client or the scheduler.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._working: dict[str, Flight] = {}  # by the future's key
        self._working_bytes = self._waiting_bytes = self._waiting = 0
        self.workers = max(1, cluster.workers())
        self._looked_s = self._seen_s = time.monotonic()
        self.most_bytes = 0  # that were held at any time

    @property
    def limit_bytes(self) -> int:
        return (self.workers + 1) * SPLIT_BYTES

    def has_room(self) -> bool:
        """Return whether one more order may be made."""
        is_short = len(self._working) + self._waiting < _COUNT * (self.workers + 1)
        working_bytes = self._working_bytes + SPLIT_BYTES
        return is_short and working_bytes <= self.limit_bytes and working_bytes + self._waiting_bytes <= 2 * self.limit_bytes

    def send(self, order: Order) -> Flight:
        flight = Flight(self._cluster.submit(order), order.task.input_bytes, order.held_bytes)
        self._working[flight.future.key] = flight
        self._working_bytes += flight.held_bytes
        self._note()
        flight.future.add_done_callback(self._finished.put)
        return flight

    def wait(self, timeout_s: float) -> None:
        """Fetch what is done, once there is something; raises WorkerError when there are no workers for long."""
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
        """Return what came of a flight that is done, and forget it."""
        assert flight.done is not None
        self._waiting_bytes -= flight.held_bytes
        self._waiting -= 1
        return flight.done

    def drop(self, flight: Flight) -> None:
        """Forget a flight whatever came of it."""
        if flight.done is not None:
            self.take(flight)
        elif self._working.pop(flight.future.key, None):
            self._working_bytes -= flight.held_bytes
            flight.future.cancel()

    def _fetch(self, futures: list[Any]) -> None:
        while futures:
            part = futures[: self.workers + 1]  # few enough to be held at once
            del futures[: self.workers + 1]
            good = [future for future in part if future.status == "finished"]
            results = dict(zip([future.key for future in good], self._gather(good), strict=True))
            for future in part:
                self._settle(future, results.get(future.key) or Done(None, failure(future), 0.0))

    def _gather(self, futures: list[Any]) -> list[Any]:
        try:
            return list(self._cluster.client.gather(futures))
        except Exception:  # which of them it was is asked of each
            return [None] * len(futures)

    def _settle(self, future: Any, done: Done) -> None:
        flight = self._working.pop(future.key)
        self._working_bytes -= flight.held_bytes
        flight.done, flight.held_bytes = done, _size(done.result)
        self._waiting_bytes += flight.held_bytes
        self._waiting += 1
        self._note()
        flight.future = None  # releases it, and what the scheduler holds for it

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s, count = now_s, self._cluster.workers()
        if count:
            self.workers, self._seen_s = count, now_s
        elif now_s - self._seen_s > _ALONE_S:
            raise WorkerError("The cluster has had no workers for five minutes; start some, and go on with --resume.")

    def _note(self) -> None:
        self.most_bytes = max(self.most_bytes, self._working_bytes + self._waiting_bytes)


def _size(result: Any) -> int:
    """Return the bytes of a result: a coded block and its cost, raw bytes, or only how many they are."""
    if isinstance(result, bytes):
        return len(result)
    if isinstance(result, tuple) and isinstance(result[0], Block):
        return len(result[0].payload)
    return 0
