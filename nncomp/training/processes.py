"""The processes that train one network together. Each works on some lanes of the same batch; usually there is one process.

`torchrun` starts and numbers them. They communicate through torch.distributed, by NCCL between GPUs, else by Gloo. Only the
first one writes files. Knows nothing of networks.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from datetime import timedelta
from types import FrameType
from typing import Any

import numba
import torch
import torch.distributed as dist
from torch import Tensor

from nncomp.errors import DataError

_PATIENCE = timedelta(days=1)  # of a process that waits for another: the others wait while the first one reads the corpus
_LET_GO_S = 0.2


class StoppedError(Exception):
    """A signal has ended a training between two steps; its checkpoint is written."""


def use_threads(count: int) -> None:
    """Let torch and Numba's loops take so many threads; 0: as many as torch takes.

    Numba comes first: where both use one library of threads, Numba's first parallel loop gives torch all cores.
    """
    count = count or torch.get_num_threads()
    numba.set_num_threads(min(count, int(numba.config.NUMBA_NUM_THREADS)))
    torch.set_num_threads(count)


def choose_device() -> torch.device:
    """Return the GPU of this process if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", dist.get_node_local_rank(0) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def autocast(device: torch.device) -> torch.autocast:
    """Return the context in which products are in bfloat16 if the device has it, else in float32."""
    if device.type == "cuda":
        enabled = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        enabled = any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


class Processes:
    """The processes that train together, as one of them knows them: its own number, and the count of all."""

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count
        self.is_stopped = False  # after Ctrl-C: the step is finished first, and all processes stop after the same one
        self._handlers: dict[int, Any] = {}

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def lanes(self, total: int) -> slice:
        """Return this process's lanes of a batch. Raises DataError when the lanes cannot be shared evenly."""
        if total % self.count:
            raise DataError(f"{total} lanes cannot be shared evenly by {self.count} processes; choose another --lanes.")
        each = total // self.count
        return slice(each * self.number, each * (self.number + 1))

    def total(self, values: list[float], device: torch.device) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise DataError(f"Another process of this training has ended: {error}. The last checkpoint is kept.") from error
        return [float(value) for value in tensor.tolist()]

    def joined(self, tensor: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their numbers."""
        if self.count == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def wait(self) -> None:
        """Wait until all processes have come to this call."""
        if self.count > 1:
            self.total([0.0], choose_device())

    def hold_signals(self) -> None:
        """From now on note the first signal that would end this process by an error, and go on.

        If one process stopped within a step, the others would wait for it, and the step would be half done. A second signal
        ends a process that is alone at once. Signals come to the main thread alone, so any other one has nothing to hold.
        """
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
            if callable(signal.getsignal(number)):
                self._handlers[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal if the usual handler takes it for the wish to end."""
        try:
            self._handlers[number](number, frame)
        except KeyboardInterrupt:
            if self.is_stopped and self.count == 1:
                raise
            self.is_stopped = True

    def release_signals(self) -> None:
        """Give signals to their usual handlers again."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def leave(self) -> None:
        """Leave the group of processes after the training."""
        if self.count > 1:
            dist.destroy_process_group()
            gc.collect()  # takes the group away with its threads: one that let go of a tensor while Python ends would abort it
            time.sleep(_LET_GO_S)  # a thread that waits for Python's lock to let go of one has it now
        self.release_signals()


def join_processes() -> Processes:
    """Return the processes that torchrun started; without torchrun, this process alone."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return Processes()
    device = choose_device()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    processes = Processes(dist.get_rank(), dist.get_world_size())
    if processes.count > 1:
        processes.hold_signals()
    return processes
