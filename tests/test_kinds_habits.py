"""Habits of other compressors: commands beside nncomp, sparse files, --rm and links, colours, homes, models that are none."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nncomp
from nncomp.bench import corpora
from nncomp.cli import beside
from nncomp.errors import DataError
from nncomp.machine import limits
from nncomp.version import VERSION
from tests.conftest import environment
from tests.kinds.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands and holes are those of Linux")

TEXT = b"one line of notes\nanother line\nthe last words\n"
OTHER = TEXT.replace(b"another", b"one more")
NUMBERS = b"".join(b"number %d\n" % i for i in range(10_000))
NONE = "--model", "none"
Beside = Callable[..., tuple[int, str, str]]


@functools.cache
def _cut() -> bytes:
    """Return a compressed file of two blocks, without the end of the last one."""
    return nncomp.compress(NUMBERS, model=None, block_size=1 << 16)[:-99]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with texts and compressed texts."""
    for name, text in (("a", TEXT), ("b", OTHER), ("two words", TEXT)):
        (tmp_path / f"{name}.nnc").write_bytes(nncomp.compress(text, model=None))
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "damaged.nnc").write_bytes(nncomp.compress(TEXT * 20, model=None)[:-9])
    (tmp_path / "numbers").write_bytes(NUMBERS)
    (tmp_path / "cut.nnc").write_bytes(_cut())
    (tmp_path / "known.nnc").write_bytes(nncomp.compress(TEXT, model=None, reference=TEXT))
    (tmp_path / "pattern").write_text("words\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Beside:
    """Return a function that runs a command beside nncomp in this process: exit status, output, errors."""

    def call(name: str, *arguments: str) -> tuple[int, str, str]:
        if not shutil.which(name):
            pytest.skip(f"there is no {name}")
        monkeypatch.setattr(sys, "argv", [f"nnc{name}", *arguments])
        with pytest.raises(SystemExit) as ended:
            getattr(beside, name)()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


GREP: dict[str, tuple[list[str], int, str, str]] = {  # arguments, exit status, output, a part of what is said
    "one file": (["words", "a.nnc"], 0, "the last words\n", ""),
    "no line": (["nothing", "a.nnc"], 1, "", ""),
    "two files": (["line of", "a.nnc", "b.nnc"], 0, "a.nnc:one line of notes\nb.nnc:one line of notes\n", ""),
    "without names": (["-h", "last", "a.nnc", "b.nnc"], 0, "the last words\nthe last words\n", ""),
    "a name with a blank": (["-H", "last", "two words.nnc"], 0, "two words.nnc:the last words\n", ""),
    "names of files": (["-l", "another", "a.nnc", "b.nnc"], 0, "a.nnc\n", ""),
    "how many": (["-c", "line", "a.nnc"], 0, "2\n", ""),
    "numbers and context": (["-nA", "1", "another", "a.nnc"], 0, "2:another line\n3-the last words\n", ""),
    "two patterns": (["-e", "last", "-e", "one", "a.nnc"], 0, "one line of notes\nthe last words\n", ""),
    "a pattern in a file": (["-f", "pattern", "a.nnc"], 0, "the last words\n", ""),
    "a long option": (["--regexp=last", "--max-count", "1", "a.nnc"], 0, "the last words\n", ""),
    "a pattern with a dash": (["--", "-x", "a.nnc"], 1, "", ""),
    "quiet": (["-q", "line", "a.nnc"], 0, "", ""),
    "a file that is not compressed": (["last", "a", "a.nnc"], 0, "a:the last words\na.nnc:the last words\n", ""),
    "a missing file": (["last", "missing", "a.nnc"], 2, "a.nnc:the last words\n", "nncgrep: missing: The file cannot be read"),
    "a damaged file": (["last", "damaged.nnc"], 2, "", "nncgrep: damaged.nnc: "),
    "a file cut short": (["number 7$", "cut.nnc"], 2, "number 7\n", "nncgrep: cut.nnc: "),
    "how many in it": (["-ic", "number", "cut.nnc"], 2, "", "nncgrep: cut.nnc: "),
    "no line in it": (["-L", "nothing", "cut.nnc"], 2, "", "nncgrep: cut.nnc: "),
    "a reference": (["-c", "last", "known.nnc"], 2, "", "Give that text with nnccat --reference FILE known.nnc | grep"),
    "a folder": (["last", "."], 2, "", "nncgrep: .: This is a folder. Give a file.\n"),
    "a wrong pattern": (["[", "a.nnc"], 2, "", "grep"),
    "no pattern": ([], 2, "", "Give a PATTERN"),
    "the beginning of a long option": (["--rege", "last", "a.nnc"], 0, "the last words\n", ""),
    "an option that begins as another": (["--binary", "last", "a.nnc"], 0, "the last words\n", ""),
    "help": (["--help"], 0, beside._HELP["grep"] + "\n", ""),
    "version": (["-V"], 0, f"nncgrep {VERSION}\n", ""),
    "folders": (["-r", "last", "."], 2, "", "Folders are not taken"),
}


@pytest.mark.parametrize("kind", GREP)
def test_nncgrep(command: Beside, kind: str) -> None:
    arguments, code, output, said = GREP[kind]
    result = command("grep", *arguments)
    assert result[:2] == (code, output), result
    assert said in result[2] and ("Traceback" in result[2], bool(result[2])) == (False, bool(said))


DIFF: dict[str, tuple[list[str], int, str, str]] = {
    "equal": (["a.nnc", "two words.nnc"], 0, "", ""),
    "other": (["a.nnc", "b.nnc"], 1, "2c2\n< another line\n---\n> one more line\n", ""),
    "with the file itself": (["a.nnc"], 0, "", ""),
    "with a text": (["a", "b.nnc"], 1, "2c2\n< another line\n---\n> one more line\n", ""),
    "unified": (["-U", "0", "a.nnc", "b.nnc"], 1, "--- a.nnc\n+++ b.nnc\n@@ -2 +2 @@\n-another line\n+one more line\n", ""),
    "quiet": (["-q", "a.nnc", "b.nnc"], 1, "Files a.nnc and b.nnc differ\n", ""),
    "missing": (["a.nnc", "missing"], 2, "", "nncdiff: missing: The file cannot be read"),
    "damaged": (["a.nnc", "damaged.nnc"], 2, "", "nncdiff: damaged.nnc: "),
    "cut short": (["cut.nnc", "numbers"], 2, "", "nncdiff: cut.nnc: "),
    "cut short, quiet": (["-q", "numbers", "cut.nnc"], 2, "", "nncdiff: cut.nnc: "),
    "a reference": (["known.nnc", "a"], 2, "", "Give that text with nnccat --reference FILE known.nnc | diff"),
    "one text": (["a"], 2, "", "Give two FILEs"),
    "standard input twice": (["-", "-"], 2, "", "Standard input cannot be both"),
    "labels": (
        ["-U0", "-L", "x", "--label=y", "a.nnc", "b.nnc"],
        1,
        "--- x\n+++ y\n@@ -2 +2 @@\n-another line\n+one more line\n",
        "",
    ),
    "one label": (["-U0", "-L", "x", "a.nnc", "b.nnc"], 1, "--- x\n+++ b.nnc\n@@ -2 +2 @@\n-another line\n+one more line\n", ""),
    "a value that stands alone": (
        ["--line-format", "%L", "a.nnc", "b.nnc"],
        1,
        "one line of notes\nanother line\none more line\nthe last words\n",
        "",
    ),
    "help": (["--help"], 0, beside._HELP["diff"] + "\n", ""),
    "version": (["-v"], 0, f"nncdiff {VERSION}\n", ""),
}


@pytest.mark.parametrize("kind", DIFF)
def test_nncdiff(command: Beside, kind: str) -> None:
    arguments, code, output, said = DIFF[kind]
    result = command("diff", *arguments)
    assert result[:2] == (code, output), result
    assert said in result[2] and "Traceback" not in result[2]


def test_nncdiff_paginates(command: Beside) -> None:
    if not shutil.which("pr"):
        pytest.skip("there is no pr")
    code, output, said = command("diff", "-l", "a.nnc", "b.nnc")
    assert (code, said) == (1, "") and "< another line\n" in output, "-l takes no value"


def test_nnccat_says_its_version(folder: Path) -> None:
    with _beside("cat", "-V", cwd=folder) as process:
        assert process.communicate() == (f"nncomp {VERSION}\n".encode(), b"")


def _beside(name: str, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    """Start a command beside nncomp in a process of its own."""
    run = [sys.executable, "-P", "-c", f"from nncomp.cli import beside; beside.{name}()", *arguments]
    return subprocess.Popen(run, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, **settings)


def test_diff_that_has_read_enough_is_no_failure(folder: Path) -> None:
    (folder / "long.nnc").write_bytes(nncomp.compress(TEXT * 20_000, model=None))
    with _beside("diff", "-q", "long.nnc", "a.nnc", cwd=folder) as process:
        assert process.communicate() == (b"Files long.nnc and a.nnc differ\n", b"")
    assert process.returncode == 1


@pytest.mark.parametrize("given", ["-", "/dev/stdin"])
def test_patterns_that_can_be_read_once_are_for_all_files(folder: Path, given: str) -> None:
    with _beside("grep", "-if", given, "a.nnc", "b.nnc", cwd=folder, stdin=subprocess.PIPE) as process:
        assert process.communicate(b"LAST\n") == (b"a.nnc:the last words\nb.nnc:the last words\n", b"")
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["grep", "diff"])
def test_killed_by_its_pipe_a_command_ends_as_grep_and_diff_do(folder: Path, name: str) -> None:
    (folder / "long.nnc").write_bytes(nncomp.compress(TEXT * 20_000, model=None))
    with _beside(name, *(["line"] if name == "grep" else []), "long.nnc", "a.nnc", cwd=folder) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("name", ["grep", "diff"])
def test_ctrl_c_ends_a_command_without_a_word(folder: Path, name: str) -> None:
    """The second file is open for reading once it is open for writing, and it never ends."""
    os.mkfifo(folder / "waits")
    arguments = ["last", "a.nnc", "waits"] if name == "grep" else ["a.nnc", "waits"]
    with _beside(name, *arguments, cwd=folder, start_new_session=True) as process, (folder / "waits").open("wb"):
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_ends_nncdiff_while_standard_input_goes_on(folder: Path) -> None:
    with _beside("diff", "-", "a.nnc", cwd=folder, start_new_session=True, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(TEXT[:10])
        process.stdin.flush()
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == -signal.SIGINT
        process.stdin.close()


def test_nncless_imports_nothing_from_the_folder_that_it_is_called_in(folder: Path) -> None:
    if not shutil.which("less"):
        pytest.skip("there is no less")
    (folder / "shlex.py").write_text("print('not what was meant')\n")
    with _beside("less", "a.nnc", cwd=folder, stdin=subprocess.DEVNULL) as process:
        assert process.communicate() == (TEXT, b"")


def test_ctrl_c_in_nncless_is_for_less(folder: Path) -> None:
    """The command becomes less: nothing is left that Ctrl-C could end."""
    if not shutil.which("less"):
        pytest.skip("there is no less")
    os.mkfifo(folder / "waits")
    with _beside("less", "waits", cwd=folder, stdin=subprocess.DEVNULL) as process:
        with (folder / "waits").open("wb"):
            assert Path(f"/proc/{process.pid}/comm").read_text() == "less\n"
        process.communicate()


def test_nncless_and_nnccat(folder: Path) -> None:
    """Less writes what it is given where its output is no terminal."""
    run = "from nncomp.cli import beside; beside.{}()"
    settings: dict[str, Any] = {"cwd": folder, "capture_output": True, "env": environment(), "stdin": subprocess.DEVNULL}
    result = subprocess.run([sys.executable, "-c", run.format("cat"), "a.nnc", "b.nnc"], check=False, **settings)
    assert (result.returncode, result.stdout, result.stderr) == (0, TEXT + OTHER, b"")
    if not shutil.which("less"):
        pytest.skip("there is no less")
    result = subprocess.run([sys.executable, "-c", run.format("less"), "two words.nnc", "pattern"], check=False, **settings)
    assert (result.returncode, result.stdout) == (0, TEXT + b"words\n")
    result = subprocess.run([sys.executable, "-c", run.format("less"), "damaged.nnc", "pattern"], check=False, **settings)
    assert (result.stdout, b"nncless: damaged.nnc: " in result.stderr) == (b"words\n", True), "no compressed bytes"


HOLES: dict[str, tuple[bytes, bool]] = {  # what is written, and whether it takes less room than it has bytes
    "zeros": (bytes(3_000_000), True),
    "zeros at the end": (TEXT + bytes(1_000_000), True),
    "zeros at the start": (bytes(1_000_000) + TEXT, True),
    "zeros between": (TEXT * 1000 + bytes(2_000_000) + TEXT, True),
    "few zeros": (TEXT + bytes(3000) + TEXT, False),
    "one run": (bytes(1 << 15), True),
    "one less": (bytes((1 << 15) - 1), False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("kind", HOLES)
def test_runs_of_zeros_become_holes(commands: Commands, tmp_path: Path, kind: str) -> None:
    data, is_sparse = HOLES[kind]
    (tmp_path / "a.nnc").write_bytes(nncomp.compress(data, model=None))
    with (tmp_path / "probe").open("wb") as file:
        file.truncate(1 << 20)
    has_holes = (tmp_path / "probe").stat().st_blocks * 512 < 1 << 20
    for option in ([], ["--no-sparse"], ["--recover"], ["--range", ":", "-o", "a"], ["--rm"]):
        assert commands.run("-d", "-f", *option, "a.nnc", cwd=tmp_path).code == 0
        assert (tmp_path / "a").read_bytes() == data
        if has_holes:
            takes = (tmp_path / "a").stat().st_blocks * 512
            assert (takes < len(data)) == (is_sparse and option != ["--no-sparse"])
    (tmp_path / "a.nnc").write_bytes(nncomp.compress(data, model=None))
    assert commands.run("-dc", "a.nnc", cwd=tmp_path).output == data


LINKED: dict[str, tuple[list[str], int, str]] = {  # arguments, exit status, a part of what is said; the file is `real/text`
    "a link": (["--rm", "link"], 1, "This is a link"),
    "a link, forced": (["--rm", "-f", "link"], 1, "This is a link"),
    "a folder that is a link": (["--rm", "folder/text"], 0, "verified"),
    "another name": (["--rm", "hard"], 1, "This file has 2 names (hard links), and --rm would remove one."),
    "another name, forced": (["--rm", "-f", "hard"], 0, "verified"),
    "links in a folder": (["--rm", "-r", "."], 1, "hard links"),
}


@pytest.mark.parametrize("kind", LINKED)
def test_rm_never_goes_through_a_link(commands: Commands, tmp_path: Path, kind: str) -> None:
    arguments, code, said = LINKED[kind]
    (tmp_path / "real").mkdir()
    text = tmp_path / "real/text"
    text.write_bytes(TEXT)
    (tmp_path / "link").symlink_to("real/text")
    (tmp_path / "folder").symlink_to("real")
    if "name" in kind or "links" in kind:
        os.link(text, tmp_path / "hard")
    result = commands.run(*arguments, *NONE, cwd=tmp_path)
    assert (result.code, said in result.said) == (code, True), result.said
    assert text.exists() == (kind != "a folder that is a link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder").is_symlink()
    assert (tmp_path / "hard").exists() == (kind in ("another name", "links in a folder"))


MODELS: dict[str, tuple[str, str]] = {  # the model, a part of what is said
    "nothing": ("", "The name of the model is empty"),
    "a blank": (" ", "The name of the model is empty"),
    "no model": ("nope", "There is no model nope: give"),
    "a text": ("junk", "junk is not an nncomp model"),
    "an empty file": ("empty", "empty is not an nncomp model"),
    "a folder": (".", "There is no model .: give"),
    "a device": ("/dev/zero", "There is no model /dev/zero"),
    "two lines": ("a\nb", "There is no model $'a\\nb': give"),
    "a colour": ("\x1b[31m", "There is no model $'\\e[31m': give"),
    "no text": ("l\udce9", "There is no model $'l\\xe9': give"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_none(commands: Commands, tmp_path: Path, kind: str) -> None:
    """One sentence, before anything is written."""
    model, said = MODELS[kind]
    (tmp_path / "t").write_bytes(TEXT)
    (tmp_path / "junk").write_bytes(TEXT * 100)
    (tmp_path / "empty").write_bytes(b"")
    result = commands.run("--model", model, "t", cwd=tmp_path)
    assert (result.code, said in result.said, result.said.count("\n")) == (1, True, 1), result.said
    assert not (tmp_path / "t.nnc").exists()


HOMES: dict[str, tuple[str | None, str | None, str]] = {  # HOME, XDG_CACHE_HOME, the cache folder
    "both": ("/h", "/x", "/x"),
    "HOME": ("/h", None, "/h/.cache"),
    "XDG_CACHE_HOME is empty": ("/h", "", "/h/.cache"),
    "XDG_CACHE_HOME is here": ("/h", "here", "/h/.cache"),
    "HOME is empty": ("", None, "~/.cache"),
    "HOME is here": ("here", None, "~/.cache"),
    "nothing": (None, None, "~/.cache"),
}


@pytest.mark.parametrize("kind", HOMES)
def test_homes(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nothing is kept where the command happens to be; without a HOME the system knows the home."""
    import pwd

    *given, expected = HOMES[kind]
    for name, value in zip(("HOME", "XDG_CACHE_HOME"), given, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    account = pwd.getpwuid(os.getuid()).pw_dir
    assert str(limits.user_cache()) == expected.replace("~", account)

    def unknown(user: int) -> Any:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    if "~" in expected:
        assert limits.user_cache() is None
        with pytest.raises(DataError, match="There is no home folder"):
            corpora.cache_folder()


@pytest.mark.parametrize("value", ["1", "", None])
def test_no_color(commands: Commands, tmp_path: Path, value: str | None) -> None:
    """No colour where NO_COLOR is set to anything but nothing; colours on a terminal otherwise."""
    import pty

    from tests.kinds.commands import taken

    ours, theirs = pty.openpty()
    env, without = {"TERM": "xterm-256color", **({} if value is None else {"NO_COLOR": value})}, [] if value else ["NO_COLOR"]
    without = [] if value is not None else without
    shown: list[bytes] = []
    running = commands.start("--help", cwd=tmp_path, stdout=theirs, env=env, without=without)
    reader = taken(ours, shown)
    assert running.finish().code == 0
    os.close(theirs)
    reader.join(20)
    screen = b"".join(shown)
    assert b"Usage" in screen
    assert (b"\x1b[3" in screen or b"\x1b[1;3" in screen) == (not value)
