"""docs/CONVENTIONS.md has each option of zstd and of xz, and names no option that nncomp has not."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import typer.main

from nncomp.cli.shorthand import MODES, NAMED_LEVELS, spell_out
from nncomp.cli.typer_app import typer_app
from tests.conftest import ROOT

PAGE = (ROOT / "docs/CONVENTIONS.md").read_text(encoding="utf-8")
OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z0-9][\w-]*)")


def rows(section: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    part = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def options_of_nncomp() -> set[str]:
    group = typer.main.get_command(typer_app())
    commands = [group, *group.commands.values()]  # type: ignore[attr-defined]
    found = {name for command in commands for param in command.params for name in [*param.opts, *param.secondary_opts]}
    return found | {"-h", "--help", *(f"-{letter}" if len(letter) == 1 else letter for letter in MODES), *NAMED_LEVELS}


@pytest.mark.parametrize(("program", "section"), [("zstd", "Options of zstd"), ("xz", "Options of xz")])
def test_each_option_of_the_other_is_on_the_page(program: str, section: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"there is no {program}")
    says = subprocess.run([program, "-H"], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in (says.stdout + says.stderr).splitlines() if re.match(r"\s+-", line)]
    asked = set()
    for line in lines:
        for option in OPTION.findall(re.split(r"\s{2,}", line.replace("[no-]", ""))[0]):
            asked.add(re.sub(r"(?<=^-[a-zA-Z])#$", "", option))
    tables = [section, "Options of zstd"]  # what both have stands in the first table
    known = {option for table in tables for row in rows(table) for option in OPTION.findall(row[0])}
    assert len(asked) > 20
    assert asked <= known, asked - known


def test_each_option_of_nncomp_on_the_page_is_there() -> None:
    """An option that is the same, or has another name, is one of nncomp's."""
    known = options_of_nncomp()
    for section in ("Options of zstd", "Options of xz"):
        for theirs, ours, _ in rows(section):
            named = OPTION.findall(ours)
            if ours.startswith("same") and not re.search(r"`-\d`|`-#`|-0", theirs):
                named += [option for option in OPTION.findall(theirs) if option != "--"]
            for option in named:
                assert option.rstrip("N") in known or re.fullmatch(r"-[1-9]", option), (option, ours)


def test_each_habit_has_both_sides() -> None:
    assert len(rows("Habits")) > 20
    assert all(len(row) == 3 and all(row) for row in rows("Habits"))


def test_names_that_are_the_same_are_understood() -> None:
    for option in ("-z", "-d", "-t", "-l", "--compress", "--decompress", "--uncompress", "--test", "--list"):
        (command, *_) = spell_out([option, "a"], ["compress", "decompress", "test", "list"], False)
        assert command == MODES[option.lstrip("-") if option[1] != "-" else option]
