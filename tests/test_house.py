"""Imports run in one direction, and the heavy ones only when they are needed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from checks import house
from nncomp.machine.prepared import hashed_files
from tests.conftest import ROOT, environment

PACKAGE = ROOT / "nncomp"


def test_the_house_stands() -> None:
    """Imports lead down from floor to floor, nothing goes in a circle, no module and no signature is too long."""
    assert house.faults() == []


def test_an_upward_import_and_a_circle_are_found(tmp_path: Path) -> None:
    for name, text in (("errors.py", "from nncomp.blocks import codec"), ("blocks/codec.py", "import nncomp.errors")):
        path = tmp_path / "nncomp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def f():\n    {text}\n")
    (tmp_path / "nncomp" / "attic.py").write_text("def g(a, b, c, d, e, f, g, h): pass\n" + "#\n" * 400)
    assert sorted(house.faults(tmp_path)) == [
        "attic has no floor",
        "circle of modules: nncomp.blocks.codec, nncomp.errors",
        "circle of rooms: blocks, errors",
        "nncomp.attic has 401 lines",
        "nncomp.attic.g takes 8 parameters",
        "nncomp.errors imports nncomp.blocks.codec",
    ]


def test_the_name_of_the_kernels_folder_covers_all_that_is_compiled() -> None:
    """Every module that compiles, and every module it imports anything from."""
    known = house.modules()
    graph = house.imports(known)
    covered = set(hashed_files())
    for name, targets in graph.items():
        if "nncomp.machine.kernels" in targets or name == "nncomp.machine.kernels":
            packages = {target for target in targets if known[target].name == "__init__.py"}
            assert {known[each] for each in {name, *targets} - packages} <= covered, name


def loaded_after(code: str) -> set[str]:
    """Return the modules that are loaded once the code has run in a new Python."""
    code += "\nimport sys; print('\\n' + ' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    return set(result.stdout.splitlines()[-1].split())


HELP = """
import sys
from nncomp.cli.main import main
sys.argv = ["nncomp", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code
"""


FAR = "fsspec", "dask", "distributed", "s3fs", "aiohttp"  # for a URL or a cluster alone
LIGHT = (
    "nncomp.stream.pipeline",
    "nncomp.bench.measure",
    "nncomp.cli.transfer",
    "nncomp.cli.cluster_command",
    "nncomp.cli.entropy_command",
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
