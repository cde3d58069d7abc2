"""Faults while files are compressed and decompressed: `python -m checks.faults --kills 100` prints a table with counts.

After each fault the folder is looked at: a source is never changed, a file under a final name is complete, and where the
command could still speak, it said one sentence and gave the right exit status. A killed process leaves nothing where files
without a name can be had; elsewhere a temporary file, which no command takes for anything else.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nncomp.cli.draft import is_temporary
from nncomp.format.numbers import BLOCK_BYTES
from nncomp.stream import history
from tests.conftest import environment

COMMAND = [sys.executable, "-m", "nncomp"]
TEXT = b"".join(b"Line %d while something goes wrong: %d.\n" % (i, i**9 % 1_000_003) for i in range(2500))
LONG_NAME = "n" * 251  # with .nnc as long as a name may be


class FaultError(Exception):
    """A fault did what none may do."""


@dataclass
class Place:
    """A folder with a source, its compressed file, and what they hold."""

    folder: Path
    text: bytes
    packed: bytes
    names: set[str] = field(default_factory=set)

    def reset(self, *names: str) -> None:
        """Let there be these files only: `text` (with another name too), `text.nnc`."""
        for path in self.folder.iterdir():
            path.chmod(0o700)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in names:
            (self.folder / name).write_bytes(self.packed if name.endswith(".nnc") else self.text)
        self.names = set(names)

    def check(self, made: str = "") -> bool:
        """Return whether the result is there; raises FaultError if anything else than it or a temporary file changed."""
        found = {path.name for path in self.folder.iterdir() if not is_temporary(path.name)}
        for name in self.names:
            expected = self.packed if name.endswith(".nnc") else self.text
            if (self.folder / name).read_bytes() != expected:
                raise FaultError(f"the source {name} was changed")
        if found - self.names - {made}:
            raise FaultError(f"there is {sorted(found - self.names)}")
        if made and made in found and made not in self.names:
            whole = self.packed if made.endswith(".nnc") else self.text
            if (self.folder / made).read_bytes() != whole:
                raise FaultError(f"{made} is there, and not complete")
            return True
        return False

    def leftovers(self) -> int:
        return sum(is_temporary(path.name) for path in self.folder.iterdir())

    def is_written(self, process: subprocess.Popen[bytes]) -> bool:
        """Return whether the process has begun an output, which may have no name (Linux)."""
        found = False
        with suppress(OSError):
            for open_file in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(OSError):
                    name = open_file.readlink()
                    found |= name.parent == self.folder.resolve() and (name.name[0] == "#" or is_temporary(name.name))
        return found


def start(place: Place, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    settings = {"cwd": place.folder, "stderr": subprocess.PIPE, "env": environment(), "start_new_session": True}
    settings["preexec_fn"] = _listen_to_interrupts
    return subprocess.Popen([*COMMAND, *arguments], **(settings | options))  # type: ignore[call-overload, no-any-return]


def _listen_to_interrupts() -> None:
    """What runs in the background of a script inherits that Ctrl-C is ignored, and nncomp would honour it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def spoken(process: subprocess.Popen[bytes], code: int = 1, sentence: str = "", stdin: bytes | None = None) -> None:
    """Raise FaultError unless the command ends with this exit status and, if it failed, one sentence."""
    _, said = process.communicate(stdin, timeout=300)
    text = said.decode()
    is_sentence = text.startswith("nncomp: ") and text.count("\n") == 1 and text.rstrip()[-1] in ".?"
    if process.returncode != code or (code and not is_sentence) or sentence not in text:
        raise FaultError(f"exit status {process.returncode} and {text!r}, not {code} and {sentence!r}")


def time_of(place: Place, is_packing: bool) -> float:
    """Return how long a command takes that nothing ends, in seconds."""
    place.reset("text" if is_packing else "text.nnc")
    begun_s = time.monotonic()
    spoken(start(place, "compress" if is_packing else "decompress", "-q", "--model", "none", *place.names), 0)
    return time.monotonic() - begun_s


def kills(place: Place, is_packing: bool, span_s: float, count: int, number: int, seed: int) -> tuple[int, int]:
    """End a command at random moments of a span; return how often it had ended before, and how often a temporary file stayed."""
    source, made = ("text", "text.nnc") if is_packing else ("text.nnc", "text")
    command = "compress" if is_packing else "decompress"
    chance, done, left = random.Random(seed), 0, 0
    for _ in range(count):
        place.reset(source)
        process = start(place, command, "-q", "--model", "none", source)
        time.sleep(chance.random() * span_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
        _, said = process.communicate(timeout=300)
        if number == signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            expected: tuple[int, ...] = (0, -number)
        else:  # before Python itself listens, a signal ends it as it ends any process
            expected = 0, 1, -number
            is_started = b"Fatal Python error: init_import_site" not in said  # else Python itself was interrupted, before nncomp
            if (
                process.returncode == 1
                and is_started
                and said.decode().strip() != "nncomp: Interrupted. No partial file is left."
            ):
                raise FaultError(f"{said.decode()!r}")
            if place.leftovers():
                raise FaultError("a temporary file is left, though there was time to remove it")
        if process.returncode not in expected:
            raise FaultError(f"exit status {process.returncode}: {said.decode()!r}")
        is_there = place.check(made)
        if process.returncode == 0 and not is_there:
            raise FaultError("the exit status says that the file is there")
        done += is_there
        left += place.leftovers()
        if left and unnamed_files(place.folder):
            raise FaultError("a temporary file is left, though a file needs no name here")
    if number != signal.SIGKILL:
        return done, left
    # Afterwards the same command does its work: nothing that is left is in its way.
    spoken(start(place, command, "-q", "-f", "--model", "none", source), 0)
    if not place.check(made):
        raise FaultError("what was left is in the way")
    return done, left


def unnamed_files(folder: Path) -> bool:
    """Return whether the file system of a folder has files without a name."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    except (AttributeError, OSError):
        return False
    return True


def full_disk(place: Place) -> Iterator[str]:
    """A limit on what a process may write, and a file system of 64 KiB where one may be mounted."""
    for command, source in (("compress", "text"), ("decompress", "text.nnc")):
        for blocks in (0, 4, 5):
            place.reset(source)
            limited = f"trap '' XFSZ; ulimit -f {blocks}; exec {sys.executable} -m nncomp {command} -q --model none {source}"
            process = subprocess.Popen(
                ["bash", "-c", limited], cwd=place.folder, stderr=subprocess.PIPE, env=environment() | {"XDG_CACHE_HOME": cache()}
            )
            spoken(process, 1, "cannot be written: File too large.")
            if place.check("text.nnc" if command == "compress" else "text") or place.leftovers():
                raise FaultError("a file is left")
            yield "limit on the size of files"
    with small_file_system() as mounted:
        if not mounted:
            return
        place.reset("text.nnc")
        for _ in range(2):
            spoken(start(place, "decompress", "-q", "text.nnc", "-o", f"{mounted}/text"), 1, "No space left on device")
            if list(mounted.iterdir()):
                raise FaultError("a file is left on the full disk")
            yield "a full file system (tmpfs)"


@contextmanager
def small_file_system() -> Iterator[Path | None]:
    """Mount a file system of 64 KiB and yield its folder; None where none may be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        try:
            is_mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
        except OSError:  # there is no such command
            is_mounted = False
        try:
            yield Path(folder) if is_mounted else None
        finally:
            if is_mounted:
                subprocess.run(["umount", folder], check=True)


def full_temporary_folder(_place: Place) -> Iterator[str]:
    """Content that is longer than what is kept in memory, and no room for the temporary file that takes it."""
    with small_file_system() as mounted, tempfile.TemporaryDirectory() as folder:
        if not mounted:
            return
        noise = random.Random(0).randbytes(history.MEMORY_BYTES + 2 * BLOCK_BYTES)
        place = Place(Path(folder), noise, b"")
        place.reset("text")
        spoken(start(place, "compress", "-q", "--model", "none", "text"), 0)
        place.packed = (place.folder / "text.nnc").read_bytes()
        surroundings = environment() | {"XDG_CACHE_HOME": cache(), "TMPDIR": str(mounted)}
        for command, source, made in (("compress", "text", "text.nnc"), ("decompress", "text.nnc", "text")):
            place.reset(source)
            process = start(place, command, "-q", source, *(["--model", "none"] if made == "text.nnc" else []), env=surroundings)
            spoken(process, 1, f"Make room in {mounted}, the folder for temporary files")
            if place.check(made) or place.leftovers() or list(mounted.iterdir()):
                raise FaultError("a file is left")
            yield "a full folder for temporary files"


def cache() -> str:
    return os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")


def read_errors(place: Place) -> Iterator[str]:
    """A source that cannot be read to its end."""
    place.reset()
    spoken(start(place, "compress", "/proc/self/mem", "-o", "out.nnc"), 1, "The file cannot be read: Input/output error.")
    place.check()
    yield "read error (EIO)"
    for cut in (0, 1, 5, 40, len(place.packed) // 2, len(place.packed) - 1):
        place.reset("text.nnc")
        os.mkfifo(place.folder / "pipe")
        feeder = threading.Thread(target=(place.folder / "pipe").write_bytes, args=(place.packed[:cut],))
        feeder.start()
        process = start(place, "decompress", "-q", "pipe", "-o", "text")
        spoken(process, 1, "truncated")
        feeder.join()
        (place.folder / "pipe").unlink()
        if place.check("text") or place.leftovers():
            raise FaultError("a file is left")
        yield "a pipe that ends too early"


def changing_inputs(place: Place) -> Iterator[str]:
    """A source that becomes shorter or longer or another while it is read: --rm does not remove it."""
    for change in ("grow", "touch", "replace"):
        place.reset("text")
        source = place.folder / "text"
        process = start(place, "compress", "-q", "--model", "none", "--rm", "text", stdin=subprocess.DEVNULL)
        while process.poll() is None and not place.is_written(process):
            time.sleep(0.005)
        if change == "grow":
            with source.open("ab") as file:
                file.write(b"more")
        elif change == "touch":
            os.utime(source, ns=(1, 1))
        else:
            (place.folder / "other").write_bytes(place.text)
            (place.folder / "other").replace(source)
        spoken(process, 1, "The file changed while it was read, so it is not removed")
        if not source.exists():
            raise FaultError("the source is gone")
        yield f"input that changes while it is read: {change}"
    place.reset("text.nnc")
    big = place.folder / "big.nnc"
    big.write_bytes(place.packed * 60)
    process = start(place, "decompress", "-q", "big.nnc")
    while process.poll() is None and not place.is_written(process):
        time.sleep(0.002)
    os.truncate(big, len(place.packed) + 20)
    _, said = process.communicate(timeout=300)
    if process.returncode not in (0, 1) or (process.returncode == 1) != (not (place.folder / "big").exists()):
        raise FaultError(f"exit status {process.returncode}: {said.decode()!r}")
    if process.returncode == 0 and (place.folder / "big").read_bytes() != place.text * 60:
        raise FaultError("a partial file is there")
    yield "input that is cut while it is read"


def wrong_places(place: Place) -> Iterator[str]:
    """Names that cannot be, or must not be, written."""
    for arguments, sentence, what in (
        (["compress", "-f", "text", "-o", "text"], "overwrite its own source", "the same input and output"),
        (["decompress", "-f", "text.nnc", "-o", "text.nnc"], "would overwrite its own source", "the same input and output"),
        (["compress", "-f", "link", "-o", "text"], "overwrite its own source", "the same input and output, by a link"),
        (
            ["compress", "-f", "text", "-o", "hard"],
            "overwrite its own source",
            "the same input and output, by a hard link",
        ),
        (["compress", "text", "-o", "folder"], "is a folder", "a folder as output"),
        (["compress", "folder"], "This is a folder", "a folder as input"),
        (["compress", "text", "-o", "none/out"], "No such file or directory", "no such folder"),
        (["compress", "text", "-o", "n" * 256], "File name too long", "a name of 256 bytes"),
        (["compress", "loop"], "The file cannot be read", "a link to itself as input"),
        (["compress", "text", "-o", "/proc/out.nnc"], "cannot be written", "a file system that takes nothing"),
    ):
        place.reset("text", "text.nnc")
        (place.folder / "folder").mkdir()
        (place.folder / "link").symlink_to("text")
        (place.folder / "loop").symlink_to("loop")
        (place.folder / "hard").hardlink_to(place.folder / "text")
        place.names |= {"hard"}
        spoken(
            start(place, *arguments, "--model", "none") if arguments[0] == "compress" else start(place, *arguments), 1, sentence
        )
        for name in ("folder", "link", "loop"):
            (place.folder / name).rmdir() if name == "folder" else (place.folder / name).unlink()
        place.check()
        yield what
    place.reset("text")
    (place.folder / LONG_NAME).write_bytes(place.text)
    place.names |= {LONG_NAME}
    spoken(start(place, "compress", "-q", "--model", "none", LONG_NAME), 0)
    if not place.check(f"{LONG_NAME}.nnc"):
        raise FaultError("a name of 255 bytes could not be made")
    yield "a name of 255 bytes"
    (place.folder / f"{LONG_NAME}.nnc").unlink()
    longer = LONG_NAME + "n"
    (place.folder / LONG_NAME).rename(place.folder / longer)
    place.names = place.names - {LONG_NAME} | {longer}
    spoken(start(place, "compress", "-q", "--model", "none", longer), 1, "File name too long")
    place.check()
    yield "a name that leaves no room for .nnc"
    yield from _permissions(place)


def _give_up_privilege() -> None:
    """Let the command that is started, if it is root's, be bound by modes as everybody is (Linux)."""
    if os.geteuid() == 0:
        drop, override, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        for capability in (override, search):
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


def _permissions(place: Place) -> Iterator[str]:
    """What the modes of files forbid; root goes without its privilege to pass over them."""
    options: dict[str, object] = {"preexec_fn": _give_up_privilege}
    for what, mode, name in (("no permission to write", 0o555, "folder"), ("no permission to read", 0o000, "text")):
        place.reset("text")
        place.folder.chmod(0o755)
        if name == "folder":
            place.folder.chmod(mode)
        else:
            (place.folder / name).chmod(mode)
        process = start(place, "compress", "-q", "--model", "none", "text", **options)
        spoken(process, 1, "Permission denied")
        place.folder.chmod(0o700)
        (place.folder / "text").chmod(0o600)
        place.check()
        yield what


@contextmanager
def prepared(model: str = "none") -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), TEXT, b"")
        place.reset("text")
        spoken(start(place, "compress", "-q", "--model", model, "text"), 0)
        place.packed = (place.folder / "text.nnc").read_bytes()
        yield place


def run(kill_count: int, seed: int = 0, say: Callable[[str], None] = print) -> int:
    """Run all faults; say a line of a table for each kind; return how many there were. Raises FaultError."""
    total = 0
    say("| fault | times | outcome |\n|---|---|---|")
    with prepared() as place:
        for is_packing in (True, False):
            span_s, what = 1.1 * time_of(place, is_packing), "compress" if is_packing else "decompress"
            for name, number in (("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
                count = kill_count if number == signal.SIGKILL else -(-kill_count // 5)
                done, left = kills(place, is_packing, span_s, count, number, seed + number)
                stayed = f", {left} temporary files stayed" if number == signal.SIGKILL else ""
                outcome = f"{done} results complete, of the others nothing under their name{stayed}"
                say(f"| {name} during {what} | {count} | source whole; {outcome} |")
                total += count
        with small_file_system() as mounted:
            if not mounted:
                say("| a full file system, a full folder for temporary files | 0 | not tried: none may be mounted here |")
        for faults in (full_disk, full_temporary_folder, read_errors, changing_inputs, wrong_places):
            counts: dict[str, int] = {}
            for what in faults(place):
                counts[what] = counts.get(what, 0) + 1
            for what, count in counts.items():
                say(f"| {what} | {count} | one sentence, the right exit status, nothing lost, nothing partial |")
                total += count
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Let things go wrong while files are compressed and decompressed.")
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    try:
        total = run(arguments.kills, arguments.seed)
    except FaultError as fault:
        sys.exit(f"faults: {fault}")
    print(f"\n{total} faults in {time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
