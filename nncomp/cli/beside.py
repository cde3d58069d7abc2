"""The commands beside `nncomp`: nnccat, nncgrep, nncdiff and nncless, as zstd and xz have them.

All but nnccat take files that are not compressed as they are.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from nncomp.cli.failures import describe, say
from nncomp.cli.names import STANDARD, shown
from nncomp.cli.sources import open_source
from nncomp.errors import NncompError
from nncomp.format.numbers import MAGIC
from nncomp.version import VERSION

_TROUBLE = 2  # exit status of grep and diff
_GREP_VALUED = "ABCDdefm"  # short options of grep whose value follows
_GREP_VALUED_LONG = {
    *("--regexp", "--file", "--after-context", "--before-context", "--context", "--max-count", "--label", "--binary-files"),
    *("--directories", "--devices", "--group-separator", "--include", "--exclude", "--exclude-from", "--exclude-dir"),
}
_DIFF_VALUED = "CDFILSUWxX"
_DIFF_VALUED_LONG = {
    *("--label", "--width", "--ignore-matching-lines", "--show-function-line", "--exclude", "--exclude-from", "--tabsize"),
    *("--ifdef", "--starting-file", "--horizon-lines", "--palette", "--line-format"),
    *(f"--{kind}-line-format" for kind in ("old", "new", "unchanged")),
    *(f"--{kind}-group-format" for kind in ("old", "new", "unchanged", "changed")),
}
_HELP = {
    "grep": "Usage: nncgrep [OPTION]... [-e] PATTERN [FILE]...\nRun grep on the contents of FILEs; OPTIONs are those of grep.",
    "diff": "Usage: nncdiff [OPTION]... FILE FILE\nRun diff on the contents of two FILEs, or of FILE.nnc and FILE; OPTIONs are "
    "those of diff.",
}


def cat() -> NoReturn:
    """Run `nncomp cat`."""
    from nncomp.cli.main import main

    if sys.argv[1:] not in (["-V"], ["--version"]):  # which are of nncomp itself
        sys.argv[1:1] = ["cat"]
    main()


def less() -> NoReturn:
    """Become less, on files that it opens with `nncomp cat`: Ctrl-C is for less alone, which goes on."""
    _need("less")
    # -P: nothing is imported from the folder that less is called in.
    command = shlex.join([sys.executable, "-P", "-m", "nncomp.cli.beside"]).replace("%", "%%")
    os.environ["LESSOPEN"] = f"||-{command} %s"  # ||: the exit status says whether less opens the file itself
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvp("less", ["less", *sys.argv[1:]])


def grep() -> NoReturn:
    """Run grep on the content of each file: 0 if a line is found in any, 1 if in none, 2 if something is wrong."""
    _to_the_end("nncgrep", _grep)


def diff() -> NoReturn:
    """Run diff on the contents of two files; of one FILE.nnc, on that and FILE."""
    _to_the_end("nncdiff", _diff)


def _to_the_end(command: str, work: Callable[[list[str]], NoReturn]) -> NoReturn:
    """Do the work of a command. It ends by Ctrl-C as the system's commands do: without a word, by the signal itself."""
    try:
        work(sys.argv[1:])
    except KeyboardInterrupt:
        _end_by(signal.SIGINT)
    except Exception as error:
        _wrong(f"{command}: {describe(error)}")


def _end_by(number: int) -> NoReturn:
    """End as a process that this signal ended."""
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _grep(arguments: list[str]) -> NoReturn:
    words, files = _split(arguments, _GREP_VALUED, _GREP_VALUED_LONG)
    _about("grep", words, "V")
    _need("grep")
    if any(_is(each[0], "rR", "--recursive", "--dereference-recursive") for each in words):
        _wrong("nncgrep: Folders are not taken. Give files, for example with find -exec.")
    if not any(_is(each[0], "ef", "--regexp", "--file") for each in words):
        if not files:
            _wrong("nncgrep: Give a PATTERN, and FILEs or standard input.")
        words.append(["-e", files.pop(0)])
    several = len(files) > 1 and not any(_is(each[0], "h", "--no-filename") for each in words)
    found, is_wrong = False, False
    is_sum = any(_is(each[0], "cL", "--count", "--files-without-match") for each in words)
    is_quiet = any(_is(each[0], "q", "--quiet", "--silent") for each in words)
    with ExitStack() as stack:
        options = [*(["-H"] if several else []), *(part for each in words for part in _readable_again(each, stack))]
        for name in files or [STANDARD]:
            label = "(standard input)" if name == STANDARD else name
            try:
                with _content(name) as content:
                    status = _fed(["grep", "--label", label, *options], content, is_sum)
            except NncompError as error:
                say(_fault("grep", name, error))
                status = _TROUBLE
            if status < 0:  # ended by a signal: nobody reads what it writes, perhaps
                break
            found, is_wrong = found or status == 0, is_wrong or status > 1
            if found and is_quiet:  # as grep, whatever went wrong before
                sys.exit(0)
    if status < 0:
        _end_by(-status)
    sys.exit(_TROUBLE if is_wrong else 0 if found else 1)


def _readable_again(words: list[str], stack: ExitStack) -> list[str]:
    """Return an option of grep, with a copy of its file of patterns if that can be read only once: grep runs for each file."""
    if len(words) < 2 or not _is(words[0], "f", "--file"):
        return words
    name = "/dev/stdin" if words[1] == STANDARD else words[1]
    if not Path(name).exists() or Path(name).is_dir() or (Path(name).is_file() and words[1] != STANDARD):
        return words  # grep itself says what is wrong
    copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="nncgrep-"))  # noqa: SIM115 (closed by the stack)
    with open_source(words[1], takes_folders=False) as source:
        shutil.copyfileobj(cast(BinaryIO, source), copy)
    copy.flush()
    return [words[0], copy.name]


def _diff(arguments: list[str]) -> NoReturn:
    words, files = _split(arguments, _DIFF_VALUED, _DIFF_VALUED_LONG)
    _about("diff", words, "v")
    _need("diff")
    if len(files) == 1 and files[0].endswith(".nnc"):
        files.append(files[0].removesuffix(".nnc"))
    if len(files) != 2:
        _wrong("nncdiff: Give two FILEs, or one FILE.nnc to compare with FILE.")
    if files[0] == files[1] == STANDARD:
        _wrong("nncdiff: Standard input cannot be both FILEs.")
    given = sum(_is(each[0], "L", "--label") for each in words)  # the first label is of the first file
    failed: list[str] = []
    with ExitStack() as stack:
        piped = [stack.enter_context(_piped(name, failed)) for name in files]
        places = [place for place, _ in piped]
        labels = [part for name in files[given:] for part in ("--label", name)]
        options = [part for each in words for part in each]
        names = [f"/dev/fd/{place}" for place in places]
        with subprocess.Popen(["diff", *options, *labels, *names], pass_fds=places) as process:
            for _, feed in piped:  # which may wait for more of standard input when all is done
                threading.Thread(target=feed, args=[process], daemon=True).start()
            status = process.wait()
        said = list(failed)  # a feeder that fails says so before it kills diff
    for line in said:
        say(line)
    if status < 0 and not said:
        _end_by(-status)
    sys.exit(_TROUBLE if said else status)


@contextmanager
def _content(name: str) -> Iterator[BinaryIO]:
    """Open the content of a compressed file, or any other file as it is."""
    with open_source(name, takes_folders=False) as source:
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


def _fed(command: list[str], content: BinaryIO, is_sum: bool) -> int:
    """Run a command that reads a content; it may end before it has read all. Return its exit status.

    With `is_sum` it says something of the whole content at its end, and nothing of a content that cannot be read to its end.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        try:
            with suppress(BrokenPipeError):
                shutil.copyfileobj(content, process.stdin)
        except Exception:
            if is_sum:
                _kill(process)
            raise
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that reads a content before it takes the end of what could be read for the end of the content."""
    process.kill()
    process.wait()


@contextmanager
def _piped(name: str, failed: list[str]) -> Iterator[tuple[int, Callable[[subprocess.Popen[bytes]], None]]]:
    """Yield a descriptor that gives the content of a file to a process, and what feeds it; what goes wrong meanwhile is put into
    `failed`, and ends the process. A file of which nothing can be read ends the command: there is nothing to compare.
    """
    with ExitStack() as stack:
        try:
            content = stack.enter_context(_content(name))
            first = content.read(io.DEFAULT_BUFFER_SIZE)
        except NncompError as error:
            _wrong(_fault("diff", name, error))
        source, sink = os.pipe()

        def feed(process: subprocess.Popen[bytes]) -> None:
            with suppress(BrokenPipeError), os.fdopen(sink, "wb") as stream:
                try:
                    stream.write(first)
                    shutil.copyfileobj(content, stream)
                except BrokenPipeError:  # diff has read enough
                    pass
                except Exception as error:  # of any kind: the content that was fed is not whole
                    failed.append(_fault("diff", name, error))
                    _kill(process)

        try:
            yield source, feed
        finally:
            os.close(source)


def _split(arguments: list[str], valued: str, valued_long: set[str]) -> tuple[list[list[str]], list[str]]:
    """Return each option or group of options with its value, and the other arguments. A value stands by itself.

    >>> _split(["-A3", "-ie", "word", "--regex=x", "a.nnc", "--", "-b"], "Ae", {"--regexp"})
    ([['-A', '3'], ['-i'], ['-e', 'word'], ['--regexp', 'x']], ['a.nnc', '-b'])
    """
    options: list[list[str]] = []
    others: list[str] = []
    remaining = iter(arguments)

    def with_value(name: str, value: str | None) -> list[str]:
        value = next(remaining, None) if value is None else value
        return [name] if value is None else [name, value]

    for argument in remaining:
        if argument == "--":
            others += remaining
        elif argument.startswith("--"):
            name, is_joined, value = argument.partition("=")
            meant = _meant(name, valued_long)
            options.append(with_value(meant, value if is_joined else None) if meant else [argument])
        elif len(argument) > 1 and argument[0] == "-":
            place = next((i for i, letter in enumerate(argument) if i and letter in valued), len(argument))
            options += [[argument[:place]]] if place > 1 else []
            if place < len(argument):
                options.append(with_value(f"-{argument[place]}", argument[place + 1 :] or None))
        else:
            others.append(argument)
    return options, others


def _meant(name: str, valued_long: set[str]) -> str:
    """Return the long option with a value that a name means, which may be its beginning; "" for none.

    >>> _meant("--regex", {"--regexp"}), _meant("--binary", {"--binary-files"})  # --binary is an option, too
    ('--regexp', '')
    """
    found = [each for each in valued_long if each.startswith(name) and name != "--binary"]
    return name if name in found else found[0] if len(found) == 1 else ""


def _is(option: str, letters: str, *names: str) -> bool:
    """Return whether an option is one of the names, or a group of short ones with one of the letters."""
    return option in names if option.startswith("--") else any(letter in letters for letter in option[1:])


def _about(program: str, words: list[list[str]], letter: str) -> None:
    """Say what the command is, if that is asked for, and end."""
    for option, *_ in words:
        if option == "--help":
            print(_HELP[program])
            sys.exit()
        if _is(option, letter, "--version"):
            print(f"nnc{program} {VERSION}")
            sys.exit()


def _need(program: str) -> None:
    if not shutil.which(program):
        _wrong(f"nnc{program}: There is no {program} on this machine.")


def _fault(program: str, name: str, error: Exception) -> str:
    """Return the line about a file that cannot be read. What it needs and the command does not take, nnccat takes."""
    said = describe(error)
    for option in ("--reference FILE", "--model PATH"):
        said = said.replace(option, f"nnccat {option} {shown(name)} | {program}")
    return f"nnc{program}: {shown(name)}: {said}"


def _wrong(message: str) -> NoReturn:
    say(message)
    sys.exit(_TROUBLE)


def _show(name: str) -> None:
    """Write the content of a file for less; exit with 1 if the file cannot be opened: less opens it then, and says why not."""
    is_open = False
    try:
        with _content(name) as content:
            is_open = True
            shutil.copyfileobj(content, sys.stdout.buffer)
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        say(_fault("less", name, error))
        sys.exit(0 if is_open else 1)  # less shows what could be read, and no compressed bytes


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _show(sys.argv[1])
