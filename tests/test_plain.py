"""Command lines that are read without Typer: the same values as with it, and Typer for whatever is not plain."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nncomp.cli import root
from nncomp.cli.app import app
from nncomp.cli.plain import read
from nncomp.cli.shorthand import spell_out
from nncomp.cli.typer_app import typer_app

PLAIN = """
notes.txt
-9 notes.txt
--best -k notes.txt more.txt
-T1 -f -o out.nnc notes.txt
-fT 2 notes.txt
-fo out.nnc notes.txt
--threads=2 --level 3 notes.txt
--output= notes.txt
--long notes.txt
--long=24 notes.txt
-B 1Mi notes.txt
--files list --files more --files0=zeros
--rm -- notes.txt -x
-- -d compress
-d notes.txt.nnc
-dc
-dcf -
-d --range 1:2 -o part notes.txt.nnc
-d --output-dir folder -r texts
-t notes.txt.nnc --json
-l notes.txt.nnc
cat --range=1: notes.txt.nnc
cat -
--model none --reference earlier.txt notes.txt
-vq notes.txt
notes.txt -q
-o first -o second notes.txt
""".strip().splitlines()
LEFT_TO_TYPER = """
--frob notes.txt
-T x notes.txt
-19 notes.txt
-o
-o -f notes.txt
--quiet=yes notes.txt
-d --no-sparse notes.txt.nnc
-h
compress --help
warmup extra
train --data corpus --out mine.safetensors
completion bash
bench notes.txt
""".strip().splitlines()


def by_typer(words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the values that Typer gives to the parameters of a command."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(root.Commands, "run", lambda _self, _name, values: found.update(values))
    with pytest.raises(SystemExit) as end:
        typer_app()(args=words, prog_name="nncomp")
    assert not end.value.code
    return found


@pytest.mark.parametrize("line", PLAIN)
def test_both_ways_give_the_same_values(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = spell_out(shlex.split(line), app.functions, True)
    function = app.functions[words[0]]
    values = read(function, words[1:])
    assert values is not None
    code = function.__code__
    defaults = dict(zip(code.co_varnames[: code.co_argcount], function.__defaults__ or (), strict=True))
    assert defaults | values == by_typer(words, monkeypatch)


@pytest.mark.parametrize("line", LEFT_TO_TYPER)
def test_what_is_not_plain_is_left_to_typer(line: str) -> None:
    words = spell_out(shlex.split(line), app.functions, True)
    function = app.functions.get(words[0])
    assert function is None or read(function, words[1:]) is None


def test_a_variable_that_sets_an_option_is_left_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(app.functions["compress"], ["a"]) == {"files": ["a"]}
    monkeypatch.setenv("NNCOMP_LEVEL", "9")
    assert read(app.functions["compress"], ["a"]) is None


def test_a_plain_command_imports_no_typer(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"plain\n")
    code = "import sys; from nncomp.cli.main import main\ntry: main()\nfinally: print({'typer', 'rich'} & set(sys.modules))"
    words = ["compress", "-1", "-T1", "--model", "none", str(tmp_path / "a")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_arguments_that_do_not_go_together_are_told_with_the_usage() -> None:
    words = [sys.executable, "-m", "nncomp", "-o", "out", "-c", "notes.txt"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Usage: nncomp compress [OPTIONS] [FILE...]" in done.stderr
    assert "-o and -c cannot be used together." in done.stderr
