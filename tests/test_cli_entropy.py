"""`nncomp entropy` as a person runs it: what is printed, what is written, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from nncomp.errors import DataError
from nncomp.plots.picture import check_can_plot
from tests.blocks import stored
from tests.conftest import Run
from tests.test_cli import names

TEXT = b"A short text, and the same short text again: a short text.\n" * 8


def test_a_text_and_its_file_say_the_same(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    result = run("entropy", "a.txt")
    assert (result.returncode, result.stderr) == (0, b"")
    table = result.stdout.decode()
    assert all(len(line) <= 80 for line in table.splitlines())
    for part in ("a.txt: 472 bytes", "estimated bound", "+ lanes", "+ container", "+ code z", "= file"):
        assert part in table
    assert names(tmp_path) == {"a.txt"}
    of_text = json.loads(run("entropy", "--json", "a.txt").stdout)
    assert ("none" in table) == (of_text["code_z"] is None)
    assert sum(of_text["parts_bits"].values()) == 8 * of_text["file_bytes"]
    assert run("compress", "-q", "a.txt").returncode == 0
    assert of_text["file_bytes"] == (tmp_path / "a.txt.nnc").stat().st_size
    of_file = json.loads(run("entropy", "--json", "a.txt.nnc").stdout)
    assert of_file | {"file": "a.txt"} == of_text
    of_pipe = json.loads(run("entropy", "--json", "-", stdin=(tmp_path / "a.txt.nnc").read_bytes()).stdout)
    assert of_pipe | {"file": "a.txt"} == of_text


def test_what_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "a.txt").chmod(0o600)
    os.utime(tmp_path / "a.txt", (1e9, 1e9))
    wanted = ["--per-token", "a.jsonl", "--html", "a.html"]
    if "matplotlib" in sys.modules or pytest.importorskip("matplotlib"):
        wanted += ["--plot", "a.svg"]
    result = run("entropy", "--json", "a.txt", *wanted)
    assert result.returncode == 0, result.stderr
    assert names(tmp_path) == {"a.txt", *wanted[1::2]}
    for name in wanted[1::2]:
        assert f"wrote {name}" in result.stderr.decode()
        status = (tmp_path / name).stat()
        assert status.st_mode & 0o777 == 0o600, "whoever may not read the text may not read what shows it"
        assert status.st_mtime > 1e9 + 1
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert b"".join(TEXT[line["offset"] : line["offset"] + line["bytes"]] for line in lines) == TEXT
    (piece,) = json.loads(result.stdout)["estimates"]
    assert sum(line["bits"] for line in lines) == piece["bits"]
    assert len(lines) == piece["units"]
    assert {line["unit"] for line in lines} == {piece["unit"]}
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!doctype html>")
    before = (tmp_path / "a.html").read_bytes()
    (tmp_path / "a.jsonl").unlink()
    again = run("entropy", "a.txt", *wanted)
    assert again.returncode == 1
    assert b"a.html already exists. Overwrite it with -f" in again.stderr
    assert again.stdout == b""
    assert not (tmp_path / "a.jsonl").exists(), "all or nothing"
    forced = run("entropy", "-q", "-f", "a.txt", *wanted)
    assert (forced.returncode, forced.stdout, forced.stderr) == (0, b"", b"")
    assert (tmp_path / "a.html").read_bytes() == before


WRONG = {
    "missing": (["missing"], "cannot be read: No such file"),
    "folder": (["."], "This is a folder. Give a file.\n"),
    "not what its name says": (["text.nnc"], "not a .nnc file"),
    "truncated": (["cut.nnc"], "truncated"),
    "altered": (["altered.nnc"], "checksum"),
    "its own source": (["a", "-f", "--html", "a"], "overwrite its own source"),
    "no such folder": (["a", "--html", "missing/a.html"], "missing/a.html cannot be written"),
    "no such model": (["a", "--model", "missing"], "There is no model missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_sentence_and_no_output(run: Run, tmp_path: Path, name: str) -> None:
    arguments, sentence = WRONG[name]
    packed = stored(b"some text")
    files = {"a": TEXT, "text.nnc": TEXT, "cut.nnc": packed[:-1], "altered.nnc": packed[:-1] + b"T"}
    for each, data in files.items():
        (tmp_path / each).write_bytes(data)
    result = run("entropy", *arguments)
    assert (result.returncode, result.stdout) == (1, b"")
    said = result.stderr.decode()
    assert said.startswith(f"nncomp: {arguments[0]}: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert names(tmp_path) == set(files)
    assert all((tmp_path / each).read_bytes() == data for each, data in files.items())


WRONG_USE = {
    "no picture": (["a", "--plot", "a.jpg"], "let it end in .png or .svg"),
    "same names": (["a", "--html", "b", "--per-token", "./b"], "have the same name"),
    "standard output": (["a", "--html", "-"], "Standard output is for the summary"),
}


@pytest.mark.parametrize("name", WRONG_USE)
def test_wrong_use_is_exit_2(run: Run, tmp_path: Path, name: str) -> None:
    arguments, sentence = WRONG_USE[name]
    (tmp_path / "a").write_bytes(TEXT)
    result = run("entropy", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert sentence in " ".join(result.stderr.decode().replace("│", "").split())
    assert names(tmp_path) == {"a"}


def test_an_empty_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    result = run("entropy", "a", "--html", "a.html", "--per-token", "a.jsonl")
    assert result.returncode == 0, result.stderr
    assert b"an empty text" in result.stdout
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match=r"pip install 'nncomp\[plot\]'"):
        check_can_plot()


def test_another_content_takes_no_tags_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"some words\n")
    try:
        os.setxattr(tmp_path / "a", "user.mime_type", b"text/plain")
    except OSError:
        pytest.skip("this file system has no attributes")
    assert run("entropy", "--model", "none", "--html", "a.html", "a").returncode == 0
    assert not os.listxattr(tmp_path / "a.html")
