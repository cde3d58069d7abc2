"""Commands for tests: started in a moment, with any descriptors, limits and faults, and watched until they end."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, environment

LONGEST_S = 60
FAULTY = Path(__file__).with_name("faulty.c")


@dataclass
class Result:
    """How a command ended, and what it wrote."""

    code: int
    output: bytes
    said: str


@dataclass
class Running:
    """A command that runs. `finish` waits for its end."""

    process: int
    connection: socket.socket
    output: Any
    said: Any
    threads: list[threading.Thread] = field(default_factory=list)

    def finish(self, longest_s: float = LONGEST_S) -> Result:
        """Wait for the end and return it; raises AssertionError if it takes too long or says a traceback."""
        if not select.select([self.connection], [], [], longest_s)[0]:
            os.killpg(self.process, signal.SIGKILL)
            self.output.close()
            self.said.close()
            self.connection.close()
            raise AssertionError("the command does not end")
        with self.connection:
            code = int(self.connection.makefile("rb", 0).readline())
        for thread in self.threads:
            thread.join(LONGEST_S)
        texts = []
        for file in (self.output, self.said):
            file.seek(0)
            texts.append(file.read())
            file.close()
        said = texts[1].decode(errors="backslashreplace")
        assert "Traceback" not in said and "bug in nncomp" not in said, said
        assert not has_group(self.process), "a process of the command is still there"
        return Result(code, texts[0], said)


def has_group(process: int) -> bool:
    """Return whether a process of this process's group is alive; a moment is given to those that are ending."""
    for _ in range(200):
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            return False
        if not any(_group(each) == process for each in Path("/proc").glob("[0-9]*/stat")):
            return False  # those that are left have ended, and nobody has asked how
        time.sleep(0.05)
    return True


def members(group: int, word: str) -> list[int]:
    """Return the processes of a group whose command has a word."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if _group(stat) == group and word in stat.with_name("cmdline").read_text(errors="replace"):
                found.append(int(stat.parent.name))
    return found


def _group(stat: Path) -> int:
    """Return the group of a process that has not ended, else 0."""
    with suppress(OSError):
        state, _, group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
        return int(group) if state not in "ZX" else 0
    return 0


class Commands:
    """Starts commands by a process that forks for each. Closing it ends them all.

    With "models" the process has the compiled functions of mixing on tokens and of the network loaded as well, and no faults;
    with "training" what `nncomp train` imports.
    """

    def __init__(self, more: str = "") -> None:
        self._folder = tempfile.mkdtemp(prefix="kinds-")
        self._path = str(Path(self._folder, "s"))
        self.surroundings = environment()
        surroundings = self.surroundings | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        library = None if more else _faulty_library(Path(self._folder))
        if library:
            surroundings |= {"LD_PRELOAD": str(library)}
        self.has_faults = library is not None
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.kinds.server", self._path, more],
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout and self._server.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait(LONGEST_S)
        self._server.stdout.close()
        shutil.rmtree(self._folder)

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        stdin: bytes | int | None = b"",
        stdout: int | bool | None = True,
        stderr: int | bool | None = True,
        more: dict[int, int] | None = None,
        **settings: Any,
    ) -> Running:
        """Start a command. A stream is a descriptor, bytes (to read), None (closed) or True (what is written is kept)."""
        output, said = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by finish)
        streams: dict[int, int | None] = {1: output.fileno() if stdout is True else stdout}
        streams[2] = said.fileno() if stderr is True else stderr
        with tempfile.TemporaryFile() as given:
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
            streams[0] = given.fileno() if isinstance(stdin, bytes) else stdin
            places = {place: each for place, each in (streams | (more or {})).items() if each is not None}
            request = {"cwd": str(cwd), "env": {}, "without": [], "umask": 0o022, "limits": {}, "user": 0, "fault": None}
            request |= settings | {"arguments": [str(each) for each in arguments], "places": list(places)}
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path)
            socket.send_fds(connection, [json.dumps(request).encode()], list(places.values()))
        line = connection.makefile("rb", 0).readline()
        return Running(int(line), connection, output, said)

    def run(self, *arguments: str | Path, cwd: Path, **settings: Any) -> Result:
        """Run a command to its end."""
        return self.start(*arguments, cwd=cwd, **settings).finish()

    def run_piped(self, *arguments: str | Path, cwd: Path, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end with three pipes and the environment of now, as `subprocess.run` does."""
        now, parts = environment(), (list[bytes](), list[bytes]())
        (given, to), (from_output, output), (from_said, said) = os.pipe(), os.pipe(), os.pipe()
        changed = {name: value for name, value in now.items() if self.surroundings.get(name) != value}
        threads = [sent(to, stdin), taken(from_output, parts[0]), taken(from_said, parts[1])]
        with descriptors(given, output, said):
            settings: dict[str, Any] = {"env": changed, "without": sorted(self.surroundings.keys() - now.keys())}
            running = self.start(*arguments, cwd=cwd, stdin=given, stdout=output, stderr=said, **settings)
        code = running.finish(600).code
        for thread in threads:
            thread.join(LONGEST_S)
        return subprocess.CompletedProcess(["nncomp", *map(str, arguments)], code, b"".join(parts[0]), b"".join(parts[1]))


def open_to_others(folder: Path) -> None:
    """Let other users reach a folder of a test: the folders that pytest made."""
    for each in (folder, *folder.parents):
        each.chmod(each.stat().st_mode | 0o055)
        if each.name.startswith("pytest-of-"):
            return


def _faulty_library(folder: Path) -> Path | None:
    """Return a library whose n-th call of a function fails, or None where there is no compiler or no such loading."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        return None
    path = folder / "faulty.so"
    made = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, FAULTY, "-ldl"], capture_output=True, check=False)
    return path if made.returncode == 0 else None


def sent(to: int, *parts: bytes | float) -> threading.Thread:
    """Write bytes to a descriptor and wait for seconds, in turn, in a thread; close the descriptor at the end."""

    def work() -> None:
        with suppress(OSError):
            for part in parts:
                if isinstance(part, bytes):
                    rest = part
                    while rest:
                        select.select([], [to], [])
                        rest = rest[os.write(to, rest) :]
                else:
                    time.sleep(part)
        os.close(to)

    return started(work)


def taken(source: int, into: list[bytes], pause_s: float = 0.0, at_a_time: int = 1 << 16) -> threading.Thread:
    """Read a descriptor to its end, in a thread; close it at the end."""

    def work() -> None:
        with suppress(OSError):  # a terminal ends with an error
            while part := os.read(source, at_a_time):
                into.append(part)
                time.sleep(pause_s)
        os.close(source)

    return started(work)


def started(work: Callable[[], None]) -> threading.Thread:
    """Start a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@contextmanager
def descriptors(*numbers: int) -> Iterator[tuple[int, ...]]:
    """Close these descriptors at the end."""
    try:
        yield numbers
    finally:
        for number in numbers:
            with suppress(OSError):
                os.close(number)
