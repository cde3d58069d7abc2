"""The part that runs on a worker: one block at a time, with models that the client sent before.

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
from nncomp.network.registry import NGRAMS, ModelFile, model_file, models_folder, shipped_path
from nncomp.stream.tasks import DecodeTask, EncodeTask
from nncomp.version import VERSION, source_digest

_models: dict[str, ModelFile] = {}  # of this process, by `SentModel.name`
_turn = threading.Lock()  # a process has one codec, and one block in work


@dataclass(frozen=True)
class Order:
    """A task for a worker, without the model, which the worker has."""

    task: EncodeTask | DecodeTask = field(repr=False)
    model_name: str | None  # see SentModel
    sources: str  # see `source_digest`

    @property
    def held_bytes(self) -> int:
        """The largest number of bytes that the order or its result takes."""
        return max(self.task.input_bytes, self.task.raw_bytes)


@dataclass(frozen=True)
class Done:
    """The outcome of an order: the task's result or an error, and the seconds of work."""

    result: Any = field(repr=False)
    error: NncompError | None
    worker_s: float


def run_order(packed: bytes) -> Done:
    """Run a pickled order. Errors are returned in `Done`, not raised, so that Dask does not repeat the order."""
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
            f"A worker has another nncomp (version {VERSION}), whose files could differ; "
            "install the same nncomp on client, scheduler and workers."
        )
    model = None
    if order.model_name is not None:
        model = _models.get(order.model_name)
        if model is None:
            raise WorkerError("A worker did not get the model; start the worker again.")
    return replace(order.task, model=model).run()


class SentModel(WorkerPlugin):
    """A model that Dask sends once to each worker, also to workers that join later; with its n-gram table if that does not come
    with nncomp.

    The worker checks the model's hash, and again whenever it loads the model. `name` comes from the hash.
    """

    idempotent = True  # Dask does not send the same model again

    def __init__(self, model: ModelFile) -> None:
        self.model_id, self.content_hash, self.data = model.model_id, model.content_hash, bytes(model.read())
        self.name = f"nncomp-model-{self.content_hash.hex()[:32]}"
        is_own = model.ngrams is not None and model.ngrams.path.parent != models_folder()
        self.ngrams = bytes(model.ngrams.read()) if model.ngrams and is_own else None

    def setup(self, worker: Any) -> None:
        """Write the model into the worker's own folder. Raises ModelError when its data were altered."""
        self.install(Path(worker.local_directory))

    def install(self, folder: Path) -> None:
        if hashlib.sha256(self.data).digest() != self.content_hash:
            raise ModelError("A model arrived altered at a worker: its hash is not that of the model that was sent.")
        place = folder / self.name
        place.mkdir(exist_ok=True)
        path = place / "model.safetensors"
        path.write_bytes(self.data)
        if self.ngrams is not None:
            (place / shipped_path(NGRAMS).name).write_bytes(self.ngrams)  # where it is looked for, by its hash
        _models[self.name] = model_file(path, self.model_id, self.content_hash)


def dask_setup(_worker: Any) -> None:
    """Make a local worker process ignore Ctrl-C, which the command handles. Dask calls this function at the start of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
