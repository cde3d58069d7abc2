"""Words of zstd and xz that nncomp has not, and words that are wrong: one sentence each, before any file is touched."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

import nncomp
from nncomp.cli import inputs
from nncomp.cli.app import app
from nncomp.cli.elsewhere import told
from nncomp.cli.names import shown
from nncomp.cli.shorthand import spell_out
from nncomp.cli.sinks import check_folder
from tests.kinds.commands import Commands, open_to_others
from tests.test_conventions_page import OPTION, options_of_nncomp, rows

NONE = "--model", "none"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="commands are started as on Linux")


def test_each_option_that_is_not_the_same_is_told() -> None:
    """docs/CONVENTIONS.md and what the command says agree: the other name is in the sentence."""
    ours, count = options_of_nncomp(), 0
    for section in ("Options of zstd", "Options of xz"):
        for theirs, here, _ in rows(section):
            if here.startswith(("same", "always")):
                continue
            for option in OPTION.findall(theirs.replace("#", "")):
                if option in ours or re.fullmatch("-[0-9]", option):
                    continue
                sentence = told(option)
                assert sentence, option
                named = [each for each in OPTION.findall(here) if each.rstrip("N") in ours or each == "-9"]
                assert not named or any(each in sentence for each in named), (option, sentence, here)
                count += 1
    assert count > 60


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("-19 a", "compress --level 19 a"),
        ("-0 a", "compress --level 0 a"),
        ("-1k9 a", "compress --level 9 -k a"),
        ("-1 -2 a", "compress --level 2 a"),
        ("-1d9 a.nnc", "decompress a.nnc"),
        ("bench -12 a", "bench --level 12 a"),
    ],
)
def test_digits_side_by_side_are_one_number(given: str, meant: str) -> None:
    assert spell_out(shlex.split(given), app.functions, True) == shlex.split(meant)


def test_names_that_are_none_are_shown() -> None:
    assert shown("") == "''"
    assert shown("x" * 300_000) == "x" * 4096 + "... (300,000 letters)"
    assert shown("\n" * 5000) == "$'" + "\\n" * 4096 + "'... (5,000 letters)"


# Arguments; what is said of them.
WRONG: dict[str, tuple[list[str], str]] = {
    "a level of zstd": (["-19", "a"], "19 is not possible. Give 1 to 9."),
    "the least level of xz": (["-0", "a"], "0 is not possible. Give 1 to 9."),
    "a level that is none": (["--level", "x", "a"], "'x' is not a whole number. Give 1 to 9."),
    "threads below none": (["-T-1", "a"], "-1 is not possible. Give 0 or more."),
    "an option in place of threads": (["-T", "--model", "a"], "'--model' is not a whole number."),
    "a window of zstd": (["--long=10", "a"], "10 is not possible. Give 20 to 32."),
    "--fast with a value": (["--fast=3", "a"], "--fast takes no value here; it is -1."),
    "memory": (["-M1M", "a"], "There is no -M here; it is --memory-limit SIZE."),
    "a dictionary": (["-D", "b", "a"], "There is no -D here; it is --reference TEXT."),
    "a patch": (["--patch-from=b", "a"], "There is no --patch-from here; it is --reference TEXT."),
    "a check": (["-dC", "a.nnc"], "There is no -C here; docs/CONVENTIONS.md says why."),
    "no size of blocks": (["-B", "", "a"], "'' is not a size."),
    "blocks without a size": (["a", "-B"], "requires an argument"),
    "list and more": (["-lv", "a.nnc"], "nncomp list always shows all that it knows."),
    "version and more": (["-vV"], "-V and --version stand alone."),
    "a typing error": (["--reclusive", "a"], "No such option: --reclusive"),
    "a folder without a name": (["--output-dir=", "-r", "."], "The name of the output folder is empty."),
    "a flat folder without a name": (["--output-dir-flat", "", "a"], "The name of the output folder is empty."),
    "a reference without a name": (["--reference=", "a"], "A reference is a file, and cannot be standard input."),
    "a reference from a pipe": (["--reference", "-", "a"], "A reference is a file, and cannot be standard input."),
    "a reference on a cluster": (["--cluster", "local", "--reference", "b", "a"], "--reference cannot be used with --cluster."),
    "a dictionary of a bound": (["entropy", "-D", "b", "a"], "There is no -D here; it is --reference TEXT."),
    "a reference of figures": (["bench", "--reference", "b", "a"], "nncomp bench takes no reference"),
    "lists of standard input": (["--files", "-", "--files=-"], "Standard input cannot be two lists."),
}


@on_linux
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_use_is_told_before_anything_is_done(commands: Commands, tmp_path: Path, kind: str) -> None:
    arguments, said = WRONG[kind]
    for name in ("a", "b", "a.nnc"):
        (tmp_path / name).write_bytes(b"text")
    result = commands.run(*arguments, cwd=tmp_path)
    plain = " ".join(word for word in result.said.split() if word != "│")
    assert (result.code, result.output) == (2, b""), result.said
    assert said in plain
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(("a", "b", "a.nnc"), b"text")


# Arguments, a part of what is said, files that are made; exit status 1 if something is said.
NAMES: dict[str, tuple[list[str], str, set[str]]] = {
    "no name": ([""], "'': The file cannot be read: No such file or directory.", set()),
    "no name of a folder": (["-r", ""], "'': The file cannot be read: No such file or directory.", set()),
    "no name to decompress": (["-d", ""], "'': The name does not end in .nnc.", set()),
    "a folder to decompress": (["-d", "d"], "d: This is a folder.", set()),
    "a folder as an output": (["a", "-o", "d/"], "d/ is the name of a folder.", set()),
    "a folder that is not there as an output": (["a", "-o", "new/"], "new/ is the name of a folder.", set()),
    "lists": (["--files", "l", "--filelist=m"], "", {"a.nnc", "d/b.nnc"}),
    "lists of zero bytes": (["--files0", "m", "--files0", "l"], "d/b\\n': The file cannot be read", set()),
    "a list of one long name": (
        ["--files", "long"],
        "... (300,000 letters): The file cannot be read: File name too long.",
        set(),
    ),
    "a file as an output folder": (
        ["--output-dir", "a/b", "a", "d/b"],
        "nncomp: The folder a/b cannot be made: a is a file.\n",
        set(),
    ),
    "a name that is too long as an output folder": (
        ["--output-dir", "x" * 300, "a"],
        "cannot be written: File name too long.",
        set(),
    ),
    "a scheduler without an address": (["--cluster", "nowhere", "a"], "There is no scheduler at nowhere;", set()),
}


@on_linux
@pytest.mark.parametrize("kind", NAMES)
def test_names(commands: Commands, tmp_path: Path, kind: str) -> None:
    arguments, said, made = NAMES[kind]
    if "--cluster" in arguments:
        pytest.importorskip("distributed")
    (tmp_path / "d").mkdir()
    for name, text in (("a", "text"), ("d/b", "text"), ("l", "a\n"), ("m", "d/b\n"), ("long", "x" * 300_000)):
        (tmp_path / name).write_text(text)
    before = set(tmp_path.rglob("*"))
    result = commands.run(*arguments, *([] if "-d" in arguments else NONE), cwd=tmp_path)
    assert (result.code, said in result.said) == (int(bool(said)), True), result.said
    assert len(result.said) < 10_000
    assert {str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - before} == made


@on_linux
@pytest.mark.parametrize("folder", ["out", "out/new/er"])
def test_an_output_folder_is_looked_at_before_the_work(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "a").write_text("text")
    monkeypatch.chdir(tmp_path)
    check_folder(folder)
    check_folder("s3://bucket/out")
    open_to_others(tmp_path)
    (tmp_path / "out").chmod(0o555)
    nobody = {"user": 65534} if os.geteuid() == 0 else {}
    result = commands.run(*NONE, "--output-dir", folder, "a", "a", cwd=tmp_path, **nobody)
    (tmp_path / "out").chmod(0o755)
    assert (result.code, result.said) == (1, f"nncomp: The folder {folder} cannot be written: Permission denied.\n")
    assert {path.name for path in tmp_path.rglob("*")} == {"out", "a"}


@on_linux
def test_the_bound_of_a_file_with_a_reference_is_refused(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"a text that both have\n" * 90)
    (tmp_path / "a").write_bytes(b"a text that both have\n" * 91)
    assert commands.run("-q", *NONE, "--reference", "base", "a", cwd=tmp_path).code == 0
    before = set(tmp_path.iterdir())
    result = commands.run("entropy", "a.nnc", "--html", "page", "--per-token", "lines", cwd=tmp_path)
    assert (result.code, result.output) == (1, b"")
    assert result.said.startswith("nncomp: a.nnc: The file is compressed with a reference")
    assert set(tmp_path.iterdir()) == before


@on_linux
@pytest.mark.parametrize("folder", [".", "./", "./.", "in/..", "../{}"])
def test_hidden_files_keep_their_names_in_another_folder(commands: Commands, tmp_path: Path, folder: str) -> None:
    for name in (".a", "a", "in/.b", ".in/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    out = tmp_path.with_name(f"{tmp_path.name}-out")
    result = commands.run(*NONE, "-r", folder.format(tmp_path.name), "--output-dir", out, cwd=tmp_path)
    assert result.code == 0, result.said
    made = {str(path.relative_to(out)): nncomp.decompress(path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    assert made == {f"{name}.nnc": name.encode() for name in (".a", "a", "in/.b", ".in/c")}


@pytest.mark.parametrize("root", ["/", "//"])
def test_the_root_folder_is_a_folder_like_others(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setattr(inputs, "_inside", lambda folder, _is_packed: [f"{folder}etc/x", f"{folder}y"])
    assert inputs.expand([root], True, False) == [(f"{root}etc/x", "etc/x"), (f"{root}y", "y")]
