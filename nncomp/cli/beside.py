"""The commands beside `nncomp`: nnccat, nncgrep, nncdiff and nncless, as zstd and xz have them.

All but nnccat take files that are not compressed as they are.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, NoReturn, cast

from nncomp.cli.failures import describe, say
from nncomp.cli.files import STANDARD, open_source
from nncomp.cli.names import shown
from nncomp.errors import NncompError
from nncomp.format.numbers import MAGIC

_TROUBLE = 2  # exit status of grep and diff
_GREP_VALUED = "ABCDdefm"  # short options of grep whose value follows
_GREP_VALUED_LONG = {
    *("--regexp", "--file", "--after-context", "--before-context", "--context", "--max-count", "--label", "--binary-files"),
    *("--directories", "--devices", "--group-separator", "--include", "--exclude", "--exclude-from", "--exclude-dir"),
}
_DIFF_VALUED = "CDFIlSUWxX"
_DIFF_VALUED_LONG = {"--label", "--width", "--ignore-matching-lines", "--show-function-line", "--exclude", "--tabsize"}


def cat() -> NoReturn:
    """Run `nncomp cat`."""
    from nncomp.cli.main import main

    sys.argv[1:1] = ["cat"]
    main()


def less() -> NoReturn:
    """Run less on files that it opens with `nncomp cat`."""
    _need("less")
    command = shlex.join([sys.executable, "-m", "nncomp.cli.beside"]).replace("%", "%%")
    os.environ["LESSOPEN"] = f"|-{command} %s"
    sys.exit(subprocess.run(["less", *sys.argv[1:]], check=False).returncode)


def grep() -> NoReturn:
    """Run grep on the content of each file: 0 if a line is found in any, 1 if in none, 2 if something is wrong."""
    _need("grep")
    options, files, has_pattern = _split(sys.argv[1:], _GREP_VALUED, _GREP_VALUED_LONG)
    if not has_pattern:
        if not files:
            _wrong("nncgrep: Give a PATTERN, and FILEs or standard input.")
        options += ["-e", files.pop(0)]
    if any(each in ("--recursive", "--dereference-recursive") or _has_letter(each, "rR") for each in options):
        _wrong("nncgrep: Folders are not taken. Give files, for example with find -exec.")
    several = ["-H"] if len(files) > 1 and not any(_has_letter(each, "h") or each == "--no-filename" for each in options) else []
    found, is_wrong = False, False
    for name in files or [STANDARD]:
        label = "(standard input)" if name == STANDARD else name
        try:
            with _content(name) as content:
                status = _fed(["grep", *several, "--label", label, *options], content)
        except NncompError as error:
            say(f"nncgrep: {shown(name)}: {describe(error)}")
            status = _TROUBLE
        found, is_wrong = found or status == 0, is_wrong or status > 1
    sys.exit(_TROUBLE if is_wrong else 0 if found else 1)


def diff() -> NoReturn:
    """Run diff on the contents of two files; of one FILE.nnc, on that and FILE."""
    _need("diff")
    options, files, _ = _split(sys.argv[1:], _DIFF_VALUED, _DIFF_VALUED_LONG)
    if len(files) == 1 and files[0].endswith(".nnc"):
        files.append(files[0].removesuffix(".nnc"))
    if len(files) != 2:
        _wrong("nncdiff: Give two FILEs, or one FILE.nnc to compare with FILE.")
    failed: list[str] = []
    with ExitStack() as stack:
        places = [stack.enter_context(_piped(name, failed)) for name in files]
        labels = [part for name in files for part in ("--label", name)]
        names = [f"/dev/fd/{place}" for place in places]
        status = subprocess.run(["diff", *labels, *options, *names], pass_fds=places, check=False).returncode
    for line in failed:
        say(line)
    sys.exit(_TROUBLE if failed else status)


@contextmanager
def _content(name: str) -> Iterator[BinaryIO]:
    """Open the content of a compressed file, or any other file as it is."""
    with open_source(name) as source:
        first = source.read(len(MAGIC))
        stream = cast(BinaryIO, _Joined(first, cast(BinaryIO, source)))
        if first != MAGIC:
            yield stream
            return
        from nncomp.api import NncompFile

        with NncompFile(stream) as content:
            yield cast(BinaryIO, content)


class _Joined(io.RawIOBase):
    """A stream with bytes before it that were read already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if self._first:
            part = self._first if count < 0 else self._first[:count]
            self._first = self._first[len(part) :]
            return part if count >= 0 else part + self._rest.read(-1)
        return self._rest.read(count)


def _fed(command: list[str], content: BinaryIO) -> int:
    """Run a command that reads a content; it may end before it has read all. Return its exit status."""
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        try:
            with suppress(BrokenPipeError):
                shutil.copyfileobj(content, process.stdin)
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()


@contextmanager
def _piped(name: str, failed: list[str]) -> Iterator[int]:
    """Yield a descriptor that gives the content of a file; what goes wrong meanwhile is put into `failed`."""
    source, sink = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(sink, "wb") as stream:
            try:
                with _content(name) as content:
                    shutil.copyfileobj(content, stream)
            except Exception as error:  # of any kind: the content that was fed is not whole
                failed.append(f"nncdiff: {shown(name)}: {describe(error)}")

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield source
    finally:
        os.close(source)
        feeder.join()


def _split(arguments: list[str], valued: str, valued_long: set[str]) -> tuple[list[str], list[str], bool]:
    """Return options with their values, other arguments, and whether the options have a pattern (-e, -f).

    >>> _split(["-A3", "-ie", "word", "-m", "1", "a.nnc", "--", "-b"], "Aem", set())
    (['-A3', '-ie', 'word', '-m', '1'], ['a.nnc', '-b'], True)
    """
    options: list[str] = []
    others: list[str] = []
    has_pattern = False
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            others += remaining
        elif argument.startswith("--"):
            options.append(argument)
            has_pattern |= argument.partition("=")[0] in ("--regexp", "--file")
            if argument in valued_long:
                options += [value for value in [next(remaining, None)] if value is not None]
        elif len(argument) > 1 and argument[0] == "-":
            options.append(argument)
            place = next((i for i, letter in enumerate(argument) if i and letter in valued), None)
            if place is not None:
                has_pattern |= argument[place] in "ef"
                if place + 1 == len(argument):
                    options += [value for value in [next(remaining, None)] if value is not None]
        else:
            others.append(argument)
    return options, others, has_pattern


def _has_letter(option: str, letters: str) -> bool:
    """Return whether a group of short options has one of the letters, before any value."""
    if not option.startswith("-") or option.startswith("--"):
        return False
    group = option[1:]
    end = next((i for i, letter in enumerate(group) if letter in _GREP_VALUED), len(group))
    return any(letter in letters for letter in group[:end])


def _need(program: str) -> None:
    if not shutil.which(program):
        _wrong(f"nnc{program}: There is no {program} on this machine.")


def _wrong(message: str) -> NoReturn:
    say(message)
    sys.exit(_TROUBLE)


def _show(name: str) -> None:
    """Write the content of a file for less, which shows the file itself if nothing is written."""
    try:
        with _content(name) as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except NncompError as error:
        say(f"nncless: {shown(name)}: {describe(error)}")
        sys.exit(1)


if __name__ == "__main__":
    _show(sys.argv[1])
