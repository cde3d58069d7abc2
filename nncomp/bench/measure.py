"""Measurement of compressors on files: size, speed and memory, reported only if the file came back byte for byte.

nncomp is measured as a user runs it: the real command in a process of its own, start-up included. Other compressors
(`nncomp.bench.peers`) are measured in the same way if they are commands. Knows nothing of how nncomp works, and prints nothing.
"""

from __future__ import annotations

import filecmp
import json
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nncomp.bench.machine import this_machine
from nncomp.errors import DataError, NncompError
from nncomp.stream.storage import is_url
from nncomp.version import VERSION, commit

_LIBRARIES = "constriction", "numba", "numkong", "numpy", "tokenizers"
_NNCOMP = sys.executable, "-P", "-m", "nncomp"  # -P: nothing is imported from the current folder


@dataclass(frozen=True)
class Result:
    """The figures of one compressor on one file, or on several together. `peak_bytes` is the memory of the largest process."""

    compressor: str
    raw_bytes: int
    packed_bytes: int
    model_bytes: int
    compress_s: float
    decompress_s: float
    peak_bytes: int | None

    @property
    def is_ours(self) -> bool:
        return self.compressor.startswith("nncomp")

    @property
    def ratio(self) -> float:
        return self.raw_bytes / self.packed_bytes

    @property
    def bits_per_byte(self) -> float:
        return 8 * self.packed_bytes / self.raw_bytes if self.raw_bytes else 0.0

    @property
    def bits_per_byte_with_model(self) -> float:
        return 8 * (self.packed_bytes + self.model_bytes) / self.raw_bytes if self.raw_bytes else 0.0

    @property
    def compress_kb_per_s(self) -> float:
        return self.raw_bytes / self.compress_s / 1000

    @property
    def decompress_kb_per_s(self) -> float:
        return self.raw_bytes / self.decompress_s / 1000


@dataclass(frozen=True)
class Spent:
    """Seconds of a process, and the largest memory of the process or one of its child processes; None if unknown."""

    wall_s: float
    peak_bytes: int | None


# Prints exit status, seconds, and the largest memory of its child processes, which Linux counts in KiB and macOS in bytes.
# Where it is terminated, it kills the command, also one that has just begun.
_LAUNCHER = """
import signal, subprocess, sys, time
process, is_ended = None, False
def end(*_):
    global is_ended
    is_ended = True
    if process:
        process.kill()
signal.signal(signal.SIGTERM, end)
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
if is_ended:
    process.kill()
code = process.wait()
wall = time.perf_counter() - start
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
except ImportError:
    peak = 0
print(code, wall, peak)
"""


@dataclass(frozen=True)
class Compressor:
    """A name, and a function that measures: from a raw file and a scratch folder to a result or an NncompError."""

    name: str
    measure: Callable[[Path, Path], Result]


def total(results: Iterable[Result]) -> Result:
    """Return one result for several files of one compressor: sums of bytes and seconds, and the largest memory."""
    all_results = list(results)
    assert len({each.compressor for each in all_results}) == 1
    peaks = [each.peak_bytes for each in all_results if each.peak_bytes is not None]
    return Result(
        all_results[0].compressor,
        sum(each.raw_bytes for each in all_results),
        sum(each.packed_bytes for each in all_results),
        max(each.model_bytes for each in all_results),
        sum(each.compress_s for each in all_results),
        sum(each.decompress_s for each in all_results),
        max(peaks, default=None),
    )


def front(results: Iterable[Result], speed: Callable[[Result], float]) -> list[Result]:
    """Return the results that no other result beats. A result beats another if it is as small and as fast, and not equal.

    >>> sizes_and_seconds = [("a", 1, 9), ("b", 2, 1), ("c", 3, 2)]
    >>> results = [Result(name, 9, size, 0, seconds, seconds, None) for name, size, seconds in sizes_and_seconds]
    >>> [each.compressor for each in front(results, lambda result: result.compress_kb_per_s)]
    ['a', 'b']
    """
    found = list(results)

    def is_beaten(each: Result) -> bool:
        no_worse = (other for other in found if other.packed_bytes <= each.packed_bytes and speed(other) >= speed(each))
        return any(other.packed_bytes < each.packed_bytes or speed(other) > speed(each) for other in no_worse)

    return [each for each in found if not is_beaten(each)]


def ranked(results: Iterable[Result]) -> list[Result]:
    """Return the results by size, the smallest first."""
    return sorted(results, key=lambda result: result.packed_bytes)


def bound_bits(path: Path, model: str | None, workers: int) -> float:
    """Return the bound of a text in bits, as `nncomp entropy` estimates it. Raises NncompError when the command fails."""
    chosen = ["--model", model] if model else []
    command = [*_NNCOMP, "entropy", "--json", "-q", "-T", str(workers), *chosen, "--", str(path.resolve())]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NncompError(f"The bound of {path} is not known: {result.stderr.strip()}")
    return float(json.loads(result.stdout)["bound_bits"])


def nncomp_compressor(model: str | None, model_bytes: int, workers: int, level: int) -> Compressor:
    """Return nncomp as a compressor, with a `--model`, `-T` and level."""
    options = ["-q", "-T", str(workers)]
    packing = [*_NNCOMP, "compress", f"-{level}", *options, *(["--model", model] if model else []), "-o"]
    own = ["--model", model] if model and (is_url(model) or Path(model).is_file()) else []
    unpacking = [*_NNCOMP, "decompress", *options, *own, "-o"]
    return command_compressor(f"nncomp -{level}", lambda a, b: [*packing, b, a], lambda b, c: [*unpacking, c, b], model_bytes)


def expand(paths: list[Path]) -> Iterator[Path]:
    """Yield the files at the paths, those of a folder by name; raises DataError for a path that is neither."""
    for path in paths:
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.is_file())
            if not files:
                raise DataError(f"The folder {path} has no files; give a folder with files to measure.")
            yield from files
        elif path.is_file():
            yield path
        else:
            what = f"{path} is neither a file nor a folder" if path.exists() else f"There is no file or folder {path}"
            raise DataError(f"{what}; give files, folders, or the name of a corpus.")


def measure_file(path: Path, compressors: list[Compressor]) -> list[Result]:
    """Return the result of each compressor on a file. Raises NncompError when one fails or does not give the file back."""
    with tempfile.TemporaryDirectory(prefix="nncomp-bench-") as folder:
        return [each.measure(path, Path(folder)) for each in compressors]


def warm_up(compressor: Compressor) -> None:
    """Run a compressor once on a small file, so that work of the first run on a machine (compiling) counts for no file."""
    with tempfile.TemporaryDirectory(prefix="nncomp-bench-") as folder:
        small = Path(folder) / "small"
        small.write_bytes(b"A few words, so that every kind of block is tried.\n")
        compressor.measure(small, Path(folder))


def surroundings(peers: dict[str, str]) -> dict[str, object]:
    """Return everything that the figures depend on: versions (`peers`: of other commands), machine, command."""
    return {
        "nncomp": VERSION,
        "commit": commit(),
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _installed(name))},
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zstd": peers.get("zstd"),
        "brotli": peers.get("brotli"),
        "peers": peers,
        "machine": this_machine(),
        "measured": "commands: own processes, start included; Python's modules, where peak_bytes is null: in-process, one thread",
    }


def command_compressor(
    name: str,
    pack: Callable[[str, str], list[str]],
    unpack: Callable[[str, str], list[str]],
    model_bytes: int = 0,
) -> Compressor:
    """Return a compressor of two commands, each from a file to another file, measured in processes of their own."""

    def measure(raw: Path, folder: Path) -> Result:
        packed, back = folder / "packed", folder / "back"
        for each in (packed, back):
            each.unlink(missing_ok=True)
        packing = _run(name, pack(str(raw.resolve()), str(packed)))
        unpacking = _run(name, unpack(str(packed), str(back)))
        if not filecmp.cmp(raw, back, shallow=False):
            raise _not_lossless(name, raw)
        peaks = [each.peak_bytes for each in (packing, unpacking) if each.peak_bytes is not None]
        sizes = raw.stat().st_size, packed.stat().st_size, model_bytes
        return Result(name, *sizes, packing.wall_s, unpacking.wall_s, max(peaks, default=None))

    return Compressor(name, measure)


def function_compressor(name: str, pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> Compressor:
    """Return a compressor of two functions, measured in this process; its memory is unknown."""

    def measure(raw: Path, _folder: Path) -> Result:
        data = raw.read_bytes()
        start_s = time.perf_counter()
        packed = pack(data)
        middle_s = time.perf_counter()
        back = unpack(packed)
        end_s = time.perf_counter()
        if back != data:
            raise _not_lossless(name, raw)
        return Result(name, len(data), len(packed), 0, middle_s - start_s, end_s - middle_s, None)

    return Compressor(name, measure)


def _run(name: str, command: list[str]) -> Spent:
    """Run a command to its end. When it fails, raises NncompError with its output.

    A small Python process starts the command. Otherwise the memory of this process would count as the command's: a new process
    has the memory of its parent until it becomes another program.
    """
    with tempfile.TemporaryFile() as said:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
        with subprocess.Popen(launcher, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True) as process:
            try:
                printed, _ = process.communicate()
            except BaseException:
                process.terminate()  # to kill it would leave the command running
                process.wait()
                raise
        said.seek(0)
        text = said.read().decode(errors="replace").strip() or "it printed nothing"
    if process.returncode:
        raise NncompError(f"{name} cannot be started: {text.splitlines()[-1]}.")
    code, wall_s, peak = printed.split()
    if int(code):
        raise NncompError(f"{name} failed with exit status {code}: {text}")
    return Spent(float(wall_s), int(peak) or None)


def _not_lossless(name: str, raw: Path) -> NncompError:
    return NncompError(f"{name} did not bring {raw} back byte for byte; nothing is reported for it.")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
