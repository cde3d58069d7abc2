"""The connection to a Dask cluster: a running one, or a temporary one of worker processes on this machine."""

from __future__ import annotations

import importlib.util
import logging
import pickle
import re
import socket
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import distributed

from nncomp.cluster.remote_task import Order, SentModel, run_order
from nncomp.errors import NncompError, WorkerError
from nncomp.network.registry import ModelFile
from nncomp.stream.worker_process import THREAD_LIMITS, TOKENIZER_THREADS
from nncomp.stream.workers import safe_path, signals_held

LOCAL = "local"
_engine: Any = distributed  # whose functions have no types
_CONNECT_S = 20.0
_FIRST_WORKER_S = 60.0
_LOOPBACK = "127.0.0.1"
_ONE_THREAD = dict.fromkeys((*THREAD_LIMITS, TOKENIZER_THREADS), "1")


@dataclass
class Cluster:
    """A connected scheduler at `address`. `dashboard` is the address of its web pages, or None."""

    client: Any
    address: str
    dashboard: str | None
    _sent: dict[ModelFile, str] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _count: int = 0

    def workers(self) -> int:
        """Return the number of worker processes."""
        return len(self.client.nthreads())

    def has_idle_threads(self) -> bool:
        """Return whether a worker has several threads. Only one of them works, as a worker gets one block at a time."""
        return any(threads > 1 for threads in self.client.nthreads().values())

    def send_model(self, model: ModelFile) -> str:
        """Send a model to each worker, also to workers that join later. Return the model's name on the workers.

        Raises ModelError when a worker gets altered data.
        """
        if model not in self._sent:
            sent = SentModel(model)
            try:
                self.client.register_plugin(sent)
            except NncompError:
                raise
            except Exception as error:
                raise _failed(error) from error
            self._sent[model] = sent.name
        return self._sent[model]

    def submit(self, order: Order) -> Any:
        """Let a worker run an order, and return its future. If the worker ends before, Dask gives the order to another worker."""
        self._count += 1
        key = f"nncomp-{self._run}-{self._count}"
        try:
            return self.client.submit(run_order, pickle.dumps(order), key=key, pure=False)
        except Exception as error:
            raise _failed(error) from error


@contextmanager
def connect(address: str, local_workers: int) -> Iterator[Cluster]:
    """Connect to the cluster at an address; for "local", start one with `local_workers` processes. Raises WorkerError."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # nncomp prints its own messages
    with _local(local_workers) if address == LOCAL else _remote(address) as client:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
        except TimeoutError as error:
            raise WorkerError(f"The cluster at {address} has no workers; start some: dask worker ADDRESS.") from error
        has_pages = address != LOCAL or importlib.util.find_spec("bokeh") is not None
        yield Cluster(client, client.scheduler.address, client.dashboard_link if has_pages else None)


@contextmanager
def _remote(address: str) -> Iterator[Any]:
    try:
        _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other library versions; only nncomp's own sources must agree, see Order
            client = _engine.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, OverflowError) as error:
        raise WorkerError(f"There is no scheduler at {address}; give local, or an address like tcp://host:8786.") from error
    try:
        yield client
    finally:
        _close(client)


def _knock(address: str) -> None:
    """Raise OSError at once when nobody listens at an address; Dask would repeat the attempt for a long time.

    Raises ValueError for a word that is no address at all.
    """
    found = re.fullmatch(r"(?:(?:tcp|tls)://)?([^/]+):([0-9]+)/?", address)
    if not found and "://" not in address:
        raise ValueError(address)
    if found:
        socket.create_connection((found[1].strip("[]"), int(found[2])), _CONNECT_S).close()


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            with safe_path(), signals_held(["SIGINT"]):  # Ctrl-C while processes start would make Dask print its own errors
                cluster = _engine.LocalCluster(
                    n_workers=max(1, workers),
                    threads_per_worker=1,
                    host=_LOOPBACK,
                    dashboard_address=f"{_LOOPBACK}:0",
                    memory_limit=0,  # nncomp has its own limit
                    silence_logs=logging.CRITICAL,
                    env=_ONE_THREAD,
                    preload="nncomp.cluster.remote_task",
                )
                stack.callback(_close, cluster)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkerError(f"The worker processes cannot be started: {error}.") from error
        client = _engine.Client(cluster, set_as_default=False)
        stack.callback(_close, client)
        yield client


def _close(client_or_cluster: Any) -> None:
    with suppress(Exception):
        client_or_cluster.close(timeout=5)


def _failed(error: BaseException) -> WorkerError:
    """Return an error with a sentence for an exception of Dask."""
    name, said = type(error).__name__, " ".join(str(error).split())
    if name == "KilledWorker":
        return WorkerError("A block ended every worker that had it (killed, or out of memory); give the workers more memory.")
    if isinstance(error, ImportError) or "deserializ" in said or "No module named" in said:
        return WorkerError("The cluster cannot load nncomp; install the same nncomp on client, scheduler and workers.")
    if "Cancel" in name or isinstance(error, OSError):
        return WorkerError("The connection to the scheduler was lost; go on with the same command and --resume.")
    return WorkerError(f"The cluster failed ({name}: {said[:200]}).")


def failure(future: Any) -> WorkerError:
    """Return an error that says why a future has no result."""
    try:
        error = future.exception(timeout=_CONNECT_S)
    except BaseException as found:
        if isinstance(found, KeyboardInterrupt):
            raise
        error = found
    return _failed(error or RuntimeError("no reason is given"))
