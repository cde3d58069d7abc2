"""Imports run in one direction, and the heavy ones only when they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nncomp.kernels import hashed_files
from tests.conftest import ROOT, environment

PACKAGE = ROOT / "nncomp"

# What each part may import from nncomp; a part is a module or a package beside it.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "watch": set(),
    "kernels": {"watch"},
    "turns": {"kernels"},
    "coding": {"errors", "kernels"},
    "code": {"coding", "kernels"},
    "encoder": {"errors"},
    "tokens": {"errors"},
    "container": {"errors"},
    "index": {"container", "errors"},
    "registry": {"errors"},
    "levels": {"errors"},
    "mixing": {"coding", "errors", "kernels", "tokens"},
    "model": {"errors", "kernels"},
    "codec": {"code", "coding", "container", "encoder", "errors", "exact", "levels", "mixing", "registry", "token_block"},
    "workers": {"errors", "watch"},
    "pipeline": {"codec", "container", "errors", "levels", "memory", "registry", "workers"},
    "ranges": {"container", "errors", "index", "memory", "pipeline", "workers"},
    "api": {"container", "index", "levels", "pipeline", "registry"},
    "entropy": {
        "codec",
        "coding",
        "container",
        "errors",
        "exact",
        "mixing",
        "pictures",
        "pipeline",
        "registry",
        "token_block",
        "workers",
    },
    "memory": {"container", "errors", "registry"},
    "survey": {"container", "errors", "index"},
    "recovery": {"codec", "container", "errors", "memory", "pipeline", "registry", "survey", "workers"},
    "bench_data": {"errors"},
    "bench_plot": {"bench", "pictures"},
    "pictures": {"errors"},
    "bench": {"__version__", "errors", "levels", "storage"},
    "bench_peers": {"bench"},
    "storage": {"errors"},
    "cluster": {"__version__", "codec", "container", "encoder", "errors", "levels", "memory", "pipeline", "registry"},
}
NEVER: dict[str, set[str]] = {  # parts that grow: only what they must not know
    "exact": {"cli", "code", "codec", "container", "pipeline", "bench", "registry"},
    "training": {"cli", "codec", "container", "pipeline", "bench", "mixing", "coding"},
    "token_block": {"cli", "codec", "encoder", "container", "pipeline", "bench", "training", "model"},
    "token_loop": {"cli", "codec", "code", "encoder", "container", "pipeline", "bench", "training", "model", "token_block"},
    "token_threads": {"cli", "codec", "encoder", "container", "pipeline", "bench", "training", "model", "token_block"},
    "cli": {"api", "coding", "mixing", "tokens"},
}


def imports(path: Path) -> set[str]:
    """Return the parts of nncomp that a module imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nncomp":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("nncomp.")}
    return found


def modules(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [path for path in [PACKAGE / f"{part}.py"] if path.exists()]


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    for path in modules(part):
        assert imports(path) - ALLOWED[part] - {part} == set(), path


@pytest.mark.parametrize("part", NEVER)
def test_a_part_never_imports_what_it_must_not_know(part: str) -> None:
    for path in modules(part):
        if path.name in ("start_values.py", "mixture.py"):  # a training knows what mixing learns beside the network
            continue
        assert imports(path) & NEVER[part] == set(), path


def test_only_the_export_and_its_inverse_bridge_model_and_exact() -> None:
    bridges = {path.name for path in modules("exact") if "model" in imports(path)}
    assert bridges <= {"export.py", "restore.py", "score.py"}


def test_the_name_of_the_kernels_folder_covers_all_that_is_compiled() -> None:
    """Every module that compiles, and every module it imports anything from."""
    covered = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in hashed_files()}
    for path in PACKAGE.rglob("*.py"):
        if "kernels" in imports(path) or path.name == "kernels.py":
            assert path in hashed_files(), path
            assert imports(path) <= covered, path


def loaded_after(code: str) -> set[str]:
    """Return the modules that are loaded once the code has run in a new Python."""
    code += "\nimport sys; print('\\n' + ' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    return set(result.stdout.splitlines()[-1].split())


HELP = """
import sys
from nncomp.cli import main
sys.argv = ["nncomp", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code
"""


FAR = "fsspec", "dask", "distributed", "s3fs", "aiohttp"  # for a URL or a cluster alone
LIGHT = (
    "nncomp.pipeline",
    "nncomp.bench",
    "nncomp.cli.transfer",
    "nncomp.cli.cluster",
    "nncomp.cli.entropy",
    "nncomp; nncomp.open",
)


@pytest.mark.parametrize("code", [HELP, *(f"import {name}" for name in LIGHT)])
def test_nothing_heavy_is_imported_early(code: str) -> None:
    assert not loaded_after(code) & {"torch", "numba", "numpy", "numkong", "constriction", "tokenizers", "safetensors", *FAR}


def test_importing_nncomp_loads_nothing_of_it() -> None:
    assert {name for name in loaded_after("import nncomp") if name.startswith("nncomp.")} == set()


def test_nobody_imports_click() -> None:
    for path in [*PACKAGE.rglob("*.py")]:
        assert "import click" not in path.read_text(encoding="utf-8")
        assert "from click" not in path.read_text(encoding="utf-8")


def test_every_package_is_in_the_wheel() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found | {"nncomp.models"}
