"""Arguments in the way of gzip, xz and zstd, and the command they mean."""

from __future__ import annotations

import shlex

import pytest
import typer

from nncomp.cli.app import app
from nncomp.cli.shorthand import MODES, VALUED, spell_out
from nncomp.cli.typer_app import typer_app


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("notes.txt", "compress notes.txt"),
        ("-d notes.txt.nnc", "decompress notes.txt.nnc"),
        ("notes.txt.nnc -d", "decompress notes.txt.nnc"),
        ("--decompress a.nnc", "decompress a.nnc"),
        ("-t a.nnc", "test a.nnc"),
        ("-l a.nnc --json", "list a.nnc --json"),
        ("-z a", "compress a"),
        ("-dkf a.nnc", "decompress -kf a.nnc"),
        ("-cd", "decompress -c"),
        ("-dt a.nnc", "test a.nnc"),
        ("-td a.nnc", "decompress a.nnc"),
        ("-o -d a", "compress -o -d a"),
        ("-fo d a", "compress -fo d a"),
        ("-dfod a", "decompress -fod a"),
        ("-T4 -d a", "decompress -T4 a"),
        ("-dT 4 a", "decompress -T 4 a"),
        ("--output -d a", "compress --output -d a"),
        ("--model=-d a", "compress --model=-d a"),
        ("-- -d compress", "compress -- -d compress"),
        ("./compress", "compress ./compress"),
        ("- -d", "decompress -"),
        ("-d -o", "decompress -o"),
        ("-d --help", "decompress --help"),
        ("--rm a", "compress --rm a"),
        ("-9 a", "compress --level 9 a"),
        ("-k9 a", "compress --level 9 -k a"),
        ("-1 -9f a", "compress --level 9 -f a"),
        ("--best a --fast", "compress --level 1 a"),
        ("-d9k a.nnc", "decompress -k a.nnc"),
        ("-T4 -3 a", "compress --level 3 -T4 a"),
        ("--level 2 a", "compress --level 2 a"),
        ("compress -9 a", "compress --level 9 a"),
        ("bench -1 a -T 2", "bench --level 1 a -T 2"),
        ("-o -9 a", "compress -o -9 a"),
        ("--level 2 -9 a", "compress --level 2 --level 9 a"),
        ("--level=2 -k --best -- a", "compress --level=2 --level 9 -k -- a"),
        ("-9 --level 2 a", "compress --level 9 --level 2 a"),
        ("--level 1 -8 --level 2 a", "compress --level 1 --level 8 --level 2 a"),
        ("--level 2 -d a", "decompress a"),
        ("-t --level=2 a", "test a"),
        ("--long -d a", "decompress a"),
        ("-t --long=31 a", "test a"),
        ("--long=24 a", "compress --long=24 a"),
        ("-B 1Mi -dk a", "decompress -k a"),
        ("-kB1Mi a -d", "decompress -k a"),
        ("-dkB 1Mi a", "decompress -k a"),
        ("-kB1Mi a", "compress -kB1Mi a"),
        ("-tf a", "test a"),
        ("-t '' -", "test '' -"),
        ("-tkv a", "test -v a"),
        ("-tfqk a", "test -q a"),
        ("-lq a", "list a"),
        ("-lT4 a", "list a"),
        ("-rlkT 4 a", "list -r a"),
        ("-l --memory-limit 1G --json a", "list --json a"),
        ("-tc --keep --no-sparse --exclude-compressed a", "test a"),
        ("-tT 4 a", "test -T 4 a"),
        ("--no-sparse -k a", "compress -k a"),
        ("-d --no-sparse -k a", "decompress --no-sparse -k a"),
        ("-d --exclude-compressed -k a", "decompress -k a"),
        ("-t -o k a", "test -o k a"),
        ("-t k -- -k", "test k -- -k"),
        ("-lv a", "list -v a"),
        ("-t --rm a", "test --rm a"),
        ("test -f a", "test -f a"),
        ("compress --no-sparse a", "compress --no-sparse a"),
        ("bench --level 1 --sparse a", "bench --level 1 --sparse a"),
        ("--block-size=1Mi -l a", "list a"),
        ("--block-size 1Mi a -d", "decompress a"),
        ("-d a -- --long -B", "decompress a -- --long -B"),
        ("-o --long -d a", "decompress -o --long a"),
        ("-d --longer a", "decompress --longer a"),
        ("-- -9", "compress -- -9"),
        ("compress -d", "compress -d"),
        ("cat a.nnc", "cat a.nnc"),
        ("--help", "--help"),
        ("-h", "-h"),
        ("--version", "--version"),
    ],
)
def test_what_is_meant(given: str, meant: str) -> None:
    assert spell_out(shlex.split(given), app.functions, True) == shlex.split(meant)


def test_nothing_is_help_on_a_terminal_and_a_pipe_elsewhere() -> None:
    assert spell_out([], app.functions, True) == []
    assert spell_out([], app.functions, False) == ["compress"]


def test_every_option_with_a_value_is_known() -> None:
    group = typer.main.get_command(typer_app())
    valued = set()
    for name in set(MODES.values()):
        for param in group.commands[name].params:  # type: ignore[attr-defined]
            if param.param_type_name == "option" and not param.is_flag:
                valued |= {opt if opt.startswith("--") else opt[1:] for opt in param.opts}
            assert not {opt.lstrip("-") for opt in param.opts if not opt.startswith("--")} & set(MODES)
    assert valued == VALUED | {"--long"}, "whose value is written after an equals sign, or left out"
    (long,) = [param for param in group.commands["compress"].params if "--long" in param.opts]  # type: ignore[attr-defined]
    assert long.metavar == "[=N]", "as it is written"
