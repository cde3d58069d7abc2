"""Progress: what the lines say of a file and of all files, and that only a terminal is shown any."""

from __future__ import annotations

import io
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nncomp.cli import progress
from nncomp.cli.progress import Bar, Total
from nncomp.stream.pipeline import Summary
from tests.conftest import environment


class Terminal(io.StringIO):
    """A stderr that says it is a terminal, and keeps what it is told."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        """Return the lines as they are on the screen since the last look."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.getvalue())
        self.seek(0)
        self.truncate()
        text = re.sub("[\u2800-\u28ff]", "", text)  # the spinner
        return [" ".join(line.split()) for line in text.splitlines() if line.split()]


def a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Terminal:
    """Let stderr be a terminal, and lines be there when a test asks. (No fixture: pytest sets its own stderr after those.)"""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    for name, value in (("TERM", "xterm"), ("COLUMNS", str(columns)), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "_DELAY_S", 3600.0)
    return found


def look(terminal: Terminal, display: progress._Display) -> list[str]:
    """Return the lines on the screen, drawn once."""
    if display._shown is None:
        display._show()
    assert display._shown is not None
    display._shown.live.auto_refresh = False
    terminal.shown()
    display._shown.refresh()
    return terminal.shown()


def test_of_several_files_there_is_a_line_for_all_and_one_for_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = a_terminal(monkeypatch)
    sizes = {"first": 1_000_000, "second": 3_000_000, "third": 1_000_000}
    names = [str(tmp_path / name) for name in sizes]
    for name, size in zip(names, sizes.values(), strict=True):
        with Path(name).open("wb") as file:
            file.truncate(size)
    with Total(names, is_quiet=False) as total:
        summary = Summary()
        with Bar("first", 1_000_000, False, summary, total) as bar:
            bar.update(400_000)
            every, one = look(terminal, total.display)
            assert every.startswith("all, 1 of 3 0.4/5.0 MB")
            assert one.startswith("first 0.4/1.0 MB")
            assert "ratio" not in every + one, "no block is complete, so there is none"
            summary.raw_bytes, summary.packed_bytes = 1_000_000, 250_000
            bar.update(1_000_000)
            every, one = look(terminal, total.display)
            assert every.startswith("all, 1 of 3 1.0/5.0 MB ratio 4.00")
            assert one.startswith("first 1.0/1.0 MB ratio 4.00")
        summary = Summary(3_000_000, 3_750_000)
        with Bar("second", 3_000_000, False, summary, total) as bar:
            bar.update(3_000_000)
            every, one = look(terminal, total.display)
            assert every.startswith("all, 2 of 3 4.0/5.0 MB ratio 1.00"), "of all bytes so far, not an average"
            assert one.startswith("second 3.0/3.0 MB ratio 0.80")
        with Bar("verifying", None, False, Summary(), total, is_counted=False) as bar:
            bar.update(3_000_000)
            every, one = look(terminal, total.display)
            assert every.startswith("all, 2 of 3 4.0/5.0 MB"), "what is done a second time is not counted"
            assert one.startswith("verifying 3.0/? MB")
        with Bar("third", 1_000_000, False, Summary(), total):
            assert look(terminal, total.display)[0].startswith("all, 3 of 3 4.0/5.0 MB")
    terminal.shown()
    assert total.display._is_over


@pytest.mark.parametrize("width", [80, 120])
def test_the_lines_fit(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal = a_terminal(monkeypatch, width)
    big = 123_456_789_012
    with Bar("a-folder/with/a-rather-long-name.txt", big, False, Summary(big // 3, big // 10)) as bar:
        bar.update(big // 3)
        display = bar._display
        look(terminal, display)
        assert display._shown is not None
        display._shown.refresh()
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
        (line,) = [each.rstrip() for each in re.split(r"[\r\n]", text) if each.strip()]
    assert len(line) <= width
    for part in ("…", "41.2/123.5 GB", "ratio 3.33"):
        assert part in line


def test_an_unknown_size_makes_the_sum_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = a_terminal(monkeypatch)
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    with Total([str(tmp_path / "a"), "-"], False) as total, Bar("a", 1_000_000, False, Summary(), total) as bar:
        bar.update(500_000)
        assert look(terminal, total.display)[0].startswith("all, 1 of 2 500.0/? kB")


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_DELAY_S", 0.0)
    for is_quiet, stderr in ((True, terminal), (False, io.StringIO())):
        monkeypatch.setattr(sys, "stderr", stderr)
        with Total(["a", "b"], is_quiet) as total, Bar("a", 10, is_quiet, Summary(), total) as bar:
            bar.update(5)
            time.sleep(0.02)
            assert total.display._shown is None
        assert stderr.getvalue() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are those of POSIX")
def test_the_command_shows_progress_on_a_terminal_only(tmp_path: Path) -> None:
    """With stderr on a terminal there are lines that come and go, and the result stays; with -q there is nothing at all.

    However quick the machine is: the lines come at once here, not after half a second.
    """
    import pty

    program = "from nncomp.cli import progress; progress._DELAY_S = 0.0; from nncomp.cli.main import main; main()"

    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"".join(b"%d: a line, and %d\n" % (i, i**7 % 9973) for i in range(6_000)))
    for quiet in ("-v", "-q"):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-c", program, quiet, "-f", "--model", "none", "a", "b"]
        surroundings = environment() | {"TERM": "xterm-256color", "COLUMNS": "80"}
        surroundings.pop("NO_COLOR")
        process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=theirs, env=surroundings)
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 120)[0]:
            try:
                shown += os.read(ours, 10_000)
            except OSError:  # nobody has the other end any more
                break
        os.close(ours)
        assert process.wait(60) == 0
        if quiet == "-q":
            assert shown == b""
            continue
        assert b"all, 2 of 2" in shown
        assert b"\x1b[2K" in shown, "the lines go again"
        assert shown.count(b" -> ") == 2, "what came out stays"
