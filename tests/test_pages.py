"""Every command of the pages does what a newcomer expects, or is known to take long.

A command of a block is run on small files, in a folder that has what the command names. A command that takes long is looked up:
its module is there and has its options. A command that is neither fails.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nncomp.network.registry import shipped_path
from tests.conftest import ROOT, environment

TOP = "README.md", "CONTRIBUTING.md", "SECURITY.md", "models/README.md"  # docs/log tells what was run once; CHANGELOG.md what was
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in (*TOP, *(f"docs/{each.name}" for each in ROOT.glob("docs/*.md")))
}
TEXT = b"A line of notes, and another line of notes.\n" * 50
PROGRAMS = "nncomp", "python", "pip", "pipx", "uv", "make", "cat", "tar", "man", "git", "pytest", "torchrun", "dask"
COMMAND = re.compile(rf"(?:[A-Z_]+=\w+ )?(?:time )?(?:\.venv/bin/)?(?:{'|'.join(PROGRAMS)}) \S")
PLACEHOLDER = re.compile(r"\b[A-Z_]{4,}\b|\.\.\.$")

# What is not run, by a pattern, and why. Its words and options are looked up all the same.
NOT_RUN = {
    r"(pip|pipx|uv) ": "needs a network; tests/test_shipped.py installs the wheel without one",
    r"make ": "makes a virtual environment, with a network; make test runs these tests",
    r"man ": "needs an installation; tests/test_shipped.py looks at the page",
    r"nncomp train ": "takes minutes; tests/test_train_command.py trains for seconds",
    r"nncomp bench ": "measures other compressors, or needs a network; tests/test_bench.py measures small files",
    r"nncomp .*(--cluster|\w+://)": "needs a cluster or a storage; tests/test_cluster.py and tests/test_storage.py have both",
    r"torchrun ": "needs several processes; tests/train_together.py is one of two",
    r"dask ": "does not end",
    r"python -m (benchmarks|checks)\.": "takes minutes to hours",
    r"python -m nncomp\.cli\.prepare": "takes minutes; tests/test_prepared.py makes object code of one kernel",
    r"python -m nncomp\.training\.(count_ngrams|assemble)": "takes minutes; tests/test_ngrams.py runs both on a small text",
    r"python -m tests\.golden\.make": "writes into the repository; tests/test_golden.py makes all files anew",
    r"(python -m )?(NNCOMP_FULL=1 )?pytest ": "make test runs all tests",
}
OPTIONS_OF_OTHERS = {"checks.fuzz": "atheris", "pytest": "pytest"}  # modules whose options are not their own


def parts(page: str) -> tuple[list[str], list[str]]:
    """Return the lines of the blocks of a page that are no Python and no output, and what else stands in backticks."""
    text = PAGES[page]
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for language, block in fences if language in ("", "sh", "console") for line in block.splitlines()]
    lines += re.findall(r"^    (\S.*)$", rest, re.MULTILINE)
    return [plain(line) for line in lines], [plain(span) for span in re.findall(r"`([^`\n]+)`", rest)]


def plain(line: str) -> str:
    """Return a command without its remark, and without what names the virtual environment."""
    return re.sub(r"(\s+#.*|(?<!\S)\.venv/bin/|^time )", "", line).strip()


def commands() -> list[tuple[str, str, bool]]:
    """Return page, command and whether it stands in a block, of all commands, each once a page."""
    found = []
    for page in PAGES:
        lines, spans = parts(page)
        blocks = dict.fromkeys(line for line in lines if COMMAND.match(line))
        found += [(page, line, True) for line in blocks]
        found += [(page, span, False) for span in dict.fromkeys(spans) if COMMAND.match(span) and span not in blocks]
    return found


def reason(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), None)


ALL = commands()
RUN = list(dict.fromkeys(line for _, line, is_block in ALL if is_block and not reason(line)))
SHELL = [line for line in RUN if re.search(r"[|<>;&]", line) or not line.startswith("nncomp ")]
QUICK = [line for line in RUN if line not in SHELL]

# Runs many commands in one process, for most of the time of a command is its start. It reads [[folder, [argument, ...]], ...].
RUNNER = """
import json, os, sys
from nncomp.cli.main import main
statuses = []
for folder, arguments in json.load(open(sys.argv[1])):
    os.chdir(folder)
    said = os.open("said", os.O_CREAT | os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(said, stream.fileno())
    sys.argv = ["nncomp", *arguments]
    try:
        main()
    except SystemExit as exit:
        statuses.append(exit.code or 0)
json.dump(statuses, open("../statuses.json", "w"))
"""


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment where `nncomp` and `python` are these ones, and the home is a folder."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, module in (("nncomp", " -m nncomp"), ("python", "")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable}{module} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    kept = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # compiled loops
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return environment() | {"HOME": str(folder), "XDG_CACHE_HOME": kept, "PATH": path}


def run_all(folder: Path, tasks: list[tuple[Path, list[str]]]) -> list[int]:
    """Run commands of nncomp in one process; return their exit statuses. What each says is in its folder's file `said`."""
    (folder / "tasks.json").write_text(json.dumps([[str(place), arguments] for place, arguments in tasks]))
    command = [sys.executable, "-c", RUNNER, str(folder / "tasks.json")]
    subprocess.run(command, stdin=subprocess.DEVNULL, env=surroundings(folder), timeout=300, check=True)
    statuses: list[int] = json.loads((folder / "statuses.json").read_text())
    return statuses


def prepare(folder: Path, command: str, packed: Path) -> None:
    """Make what a reader has at this point: texts, a folder, a model. Of what is compressed already the text is not there."""
    for name in ("folder", "corpus"):
        (folder / name).mkdir(parents=True)
        (folder / name / "page.txt").write_bytes(TEXT)
    for name in ("notes.txt", "report.txt", "corpus.txt", "other.txt"):
        (folder / name).write_bytes(TEXT)
    shutil.copytree(ROOT / "models", folder / "models", copy_function=os.symlink)
    (folder / "mine.safetensors").symlink_to(shipped_path("default"))
    for name in set(re.findall(r"\w+\.txt(?=\.nnc)", command)):
        shutil.copy(packed, folder / f"{name}.nnc")
        (folder / name).unlink(missing_ok=True)


needs_model = pytest.mark.skipif(
    sys.platform == "win32" or not shipped_path("default").exists(), reason="needs a POSIX shell and the model"
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    (folder / "files").mkdir()
    (folder / "files" / "notes.txt").write_bytes(TEXT)
    assert run_all(folder, [(folder / "files", ["-q", "notes.txt"])]) == [0]
    return folder / "files" / "notes.txt.nnc"


@pytest.fixture(scope="module")
def outcomes(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, Path]]:
    """Run all commands that need no shell, in one process; return exit status and folder of each."""
    folder = tmp_path_factory.mktemp("commands")
    tasks = []
    for number, line in enumerate(QUICK):
        place = folder / str(number)
        prepare(place, line, packed)
        tasks.append((place, shlex.split(line)[1:]))
    statuses = run_all(folder, tasks)
    return {line: (status, place) for line, status, (place, _) in zip(QUICK, statuses, tasks, strict=True)}


def test_commands_are_found() -> None:
    """Blocks, tables and text are searched, and every reason is one of some command."""
    assert len(RUN) >= 8 and {line.split()[0] for line in SHELL} == {"cat", "tar"}
    assert {"README.md", "docs/ENTROPY.md", "docs/RELIABILITY.md"} <= {page for page, *_ in ALL}
    for pattern in NOT_RUN:
        assert any(re.match(pattern, line) for _, line, _ in ALL), f"no command is {pattern}"
    assert reason("nncomp notes.txt") is None


@needs_model
@pytest.mark.parametrize("command", QUICK)
def test_a_command_does_what_it_says(command: str, outcomes: dict[str, tuple[int, Path]]) -> None:
    status, place = outcomes[command]
    assert status == 0, (place / "said").read_text()
    if re.match(r"nncomp (-d|decompress) ", command):
        assert (place / "notes.txt").exists() == ("notes.txt" in command)
        assert all(path.read_bytes() == TEXT for path in place.glob("*.txt"))


@needs_model
@pytest.mark.parametrize("command", SHELL)
def test_a_command_of_the_shell_does_what_it_says(command: str, tmp_path: Path, packed: Path) -> None:
    prepare(tmp_path, command, packed)
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.parametrize(("page", "command"), [(page, line) for page, line, _ in ALL])
def test_a_command_is_spelled_right(page: str, command: str) -> None:
    """Its subcommand or module is there and takes the options given; so are the files of the repository that it names."""
    words = shlex.split(re.split(r"[|<>]", command)[0])
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\w+", word)]
    program, *rest = words
    if program == "torchrun":
        assert rest[-1] == "..." or "--data" in rest
        program, rest = "nncomp", rest[rest.index("nncomp") + 1 :]
    if program == "nncomp":
        check_nncomp(rest)
    elif program == "python":
        assert rest[0] == "-m", f"a command of another kind: {command}"
        check_module(rest[1], rest[2:])
    elif program == "make":
        assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program in ("pip", "pipx", "uv"):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        assert set(re.findall(r"\[(\w+)\]", command)) <= set(known)
    for word in words:
        if re.match(r"(benchmarks|checks|docs|models|nncomp|share|tests)/", word):
            assert (ROOT / word).exists(), f"{page} names {word}"
    if "NNCOMP_FULL" in command:
        assert "NNCOMP_FULL" in (ROOT / words[-1]).read_text(encoding="utf-8")


def check_nncomp(words: list[str]) -> None:
    from nncomp.cli.app import app
    from nncomp.cli.shorthand import spell_out
    from nncomp.cli.typer_app import typer_app

    root = typer_command(typer_app())
    asked = spell_out([word for word in words if not word.endswith("...")], app.functions, True)
    if asked[:1] == ["--version"]:
        return
    options = {name for parameter in root.commands[asked[0]].params for name in parameter.opts + parameter.secondary_opts}
    given = {name for word in asked[1:] for name in names(word)}
    assert given <= options | {"--help"}, f"nncomp {asked[0]} has no {', '.join(given - options)}"


def names(word: str) -> list[str]:
    """Return the options in a word: `-qf` has two."""
    return [f"-{letter}" for letter in word[1:]] if re.fullmatch(r"-[a-zA-Z]+", word) else re.findall(r"^--[\w-]+", word)


def typer_command(app: Any) -> Any:
    import typer.main

    return typer.main.get_command(app)


def check_module(module: str, words: list[str]) -> None:
    if PLACEHOLDER.search(module):
        return
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert path.is_file() or module in OPTIONS_OF_OTHERS or module == "nncomp"
    if module in OPTIONS_OF_OTHERS:
        return
    options = {
        argument.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    given = {word for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert given <= options, f"{module} has no {', '.join(given - options)}"


def section(page: str, command: str) -> str:
    """Return the part of a page, from heading to heading, that has the command."""
    return next(part for part in re.split(r"^#+ ", PAGES[page], flags=re.MULTILINE) if command in part)


SILENT = "docs/CLUSTER.md", "docs/ENTROPY.md", "docs/PAPER.md", "docs/SCALE.md"  # these do not say it yet
LONG = [
    (page, line)
    for page, line, _ in ALL
    if page not in SILENT and re.match(r"python -m (benchmarks|checks)\.(?!NAME)|nncomp train .|torchrun|dask", line)
]


@pytest.mark.parametrize(("page", "command"), LONG)
def test_what_takes_long_says_so(page: str, command: str) -> None:
    """Beside a command that no test runs stands how long it takes, or what it needs."""
    assert re.search(r"network|GPU|graphics card|seconds|minutes|hour|--time|worker", section(page, command)), (
        f"{page}: {command}"
    )
