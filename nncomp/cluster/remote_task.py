"""What runs on a worker: one block at a time, with models that were sent ahead and are known by their hash.

The scheduler imports this module too, so it imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import pickle
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from nncomp.errors import ModelError, NncompError, WorkerError
from nncomp.network.registry import ModelFile, model_file
from nncomp.stream.pipeline import DecodeTask, EncodeTask
from nncomp.version import VERSION, source_digest

_models: dict[str, ModelFile] = {}  # of this process, by the name of what was sent
_turn = threading.Lock()  # a process has one codec, and one block in work


@dataclass(frozen=True)
class Order:
    """A task as it travels: without its model, which the worker has; `is_checked_only` asks for the size of the result."""

    task: EncodeTask | DecodeTask = field(repr=False)
    model_name: str | None  # see SentModel
    sources: str  # see `source_digest`
    is_checked_only: bool = False

    @property
    def held_bytes(self) -> int:
        """The most bytes that are held for it, before it is done and after."""
        return self.task.input_bytes if self.is_checked_only else max(self.task.input_bytes, self.task.raw_bytes)


@dataclass(frozen=True)
class Done:
    """What came of an order: the task's result, or why there is none; and the seconds of work."""

    result: Any = field(repr=False)
    error: NncompError | None
    worker_s: float


def run_order(packed: bytes) -> Done:
    """Run an order (pickled); a fault comes back as an error in `Done`, for a task that fails once always fails."""
    with _turn:
        start_s = time.perf_counter()
        result, error = None, None
        try:
            result = _run(pickle.loads(packed))
        except NncompError as found:
            error = found
        except MemoryError:
            error = WorkerError("A worker has not enough memory for a block; give its process more.")
        except Exception as found:
            error = WorkerError(f"A worker failed ({type(found).__name__}: {found}); this is a fault of nncomp.")
        return Done(result, error, time.perf_counter() - start_s)


def _run(order: Order) -> Any:
    if order.sources != source_digest():
        raise WorkerError(
            f"A worker has another nncomp (its version is {VERSION}), whose files could differ; "
            "install the same one on client, scheduler and workers."
        )
    model = None
    if order.model_name is not None:
        model = _models.get(order.model_name)
        if model is None:
            raise WorkerError("A worker did not get the model; start the worker again.")
    result = replace(order.task, model=model).run()
    return len(result) if order.is_checked_only else result


class SentModel(WorkerPlugin):
    """A model, and its encoder if it has one, on its way to each worker, once, also to those that come later.

    Its hash is checked there, and again whenever it is loaded. `name` tells hashes of both.
    """

    idempotent = True  # a model that the cluster has is not sent again

    def __init__(self, model: ModelFile) -> None:
        from nncomp.network.encoder import encoder_path

        self.model_id, self.content_hash, self.data = model.model_id, model.content_hash, model.read()
        encoder = encoder_path(model.path)
        self.encoder = encoder.read_bytes() if encoder.is_file() else None
        both = hashlib.sha256(self.content_hash + (self.encoder or b"")).hexdigest()
        self.name = f"nncomp-model-{both[:32]}"

    def setup(self, worker: Any) -> None:
        """Write the model into the worker's own folder; raises ModelError when it is not what was sent."""
        self.install(Path(worker.local_directory))

    def install(self, folder: Path) -> None:
        from nncomp.network.encoder import encoder_path

        if hashlib.sha256(self.data).digest() != self.content_hash:
            raise ModelError("A model came to a worker altered: its hash is not that of the one that was sent.")
        path = folder / f"{self.name}.safetensors"
        path.write_bytes(self.data)
        if self.encoder is not None:
            encoder_path(path).write_bytes(self.encoder)
        _models[self.name] = model_file(path, self.model_id, self.content_hash)


def dask_setup(_worker: Any) -> None:
    """Let a worker process that belongs to a command ignore Ctrl-C: the command answers it (Dask calls this at its start)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def model_count() -> int:
    """Return how many models this process was sent."""
    return len(_models)
