"""What comes with the command: its manual page, the line for file(1), and the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nncomp.cli.app import app
from nncomp.cli.man import page
from nncomp.format.frames import ModelReference
from nncomp.network.registry import shipped_path
from tests.blocks import stored
from tests.conftest import ROOT, environment

PAGE = ROOT / "share" / "man" / "man1" / "nncomp.1"
Command = list[str | Path]


def test_the_page_is_that_of_the_help() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make it anew: make man"
    for name in app.functions:
        assert f".SS nncomp {name} " in page()


@pytest.mark.skipif(not shutil.which("mandoc"), reason="there is no mandoc")
def test_mandoc_finds_nothing_wrong_with_the_page() -> None:
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    said = [line for line in result.stdout.splitlines() if "missing date" not in line]  # it is the same for the same help
    assert (said, result.stderr) == ([], "")


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man")
def test_man_shows_the_page() -> None:
    surroundings = environment() | {"MANWIDTH": "80"}
    result = subprocess.run(["man", "-l", str(PAGE)], capture_output=True, env=surroundings, check=False)
    if b"has been minimized" in result.stdout:
        pytest.skip("man is not installed, only a notice of it")
    assert (result.returncode, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert "NAME" in lines
    assert all(len(line) <= 80 for line in lines)
    assert any("nncomp - a lossless text compressor" in line for line in lines)


@pytest.mark.skipif(not shutil.which("file"), reason="there is no file")
def test_file_knows_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(stored(b"text"))
    (tmp_path / "b").write_bytes(stored(b"text", ModelReference(1, bytes(8))))
    (tmp_path / "c").write_bytes(b"text")
    command: Command = ["file", "-b", "-m", ROOT / "share" / "magic", "a", "b", "c"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    says = "nncomp compressed data, format 1"
    assert result.stdout.splitlines()[:2] == [says, f"{says}, with a model"]
    assert "nncomp" not in result.stdout.splitlines()[2]


def test_the_pages_are_a_site(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command: Command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]  # with -q none fails
    surroundings = environment() | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=surroundings, check=False)
    assert result.returncode == 0, result.stderr
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "<h1" in start
    assert 'href="FORMAT/"' in start, "links to docs/FORMAT.md lead to the page"
    assert not (tmp_path / "site" / "site.py").exists()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what a commit would hold of what is shipped."""
    source = tmp_path_factory.mktemp("source")
    for name in ("nncomp", "models", "share"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command: Command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (found,) = folder.glob("nncomp-*.whl")
    return found


def test_what_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    (information,) = {name.partition("/")[0] for name in held if ".dist-info/" in name}
    for name in ("LICENSE", "NOTICE"):
        assert zipfile.ZipFile(wheel).read(f"{information}/licenses/{name}") == (ROOT / name).read_bytes()
    assert b"License-Expression: Apache-2.0\n" in zipfile.ZipFile(wheel).read(f"{information}/METADATA")
    for path in (ROOT / "models").iterdir():
        assert f"nncomp/models/{path.name}" in held
    for path in (ROOT / "nncomp").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in held
    data = {name.partition(".data/data/")[2] for name in held} - {""}
    assert data == {"share/man/man1/nncomp.1", "share/nncomp/magic"}
    assert {"nncomp/py.typed", "nncomp/entropy/page.html"} <= held
    assert not {name for name in held if name.startswith(("tests", "benchmarks"))}


def test_what_is_in_the_source_distribution(source: Path, tmp_path: Path) -> None:
    """All that a wheel is built from, and no tests, which do not run without the rest of their folder."""
    code = "import setuptools.build_meta, sys; setuptools.build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=source, check=True, capture_output=True, timeout=120)
    (found,) = tmp_path.glob("nncomp-*.tar.gz")
    with tarfile.open(found) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    (folder,) = (tmp_path / "out").iterdir()
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for path in source.rglob("*"):
        if path.is_file() and not {"build", "nncomp.egg-info", "__pycache__"} & set(path.relative_to(source).parts):
            assert path.relative_to(source).as_posix() in held
    assert not {name for name in held if name.startswith("tests")}


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed in an environment of its own, over the libraries of this one."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    command: Command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    here = {path for path in sys.path if path.endswith("site-packages")}
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    surroundings |= {"PYTHONPATH": os.pathsep.join(here)}  # of a virtual environment, a new one takes nothing

    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        result = subprocess.run(arguments, cwd=tmp_path, input=stdin, capture_output=True, env=surroundings, check=False)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout

    nncomp = str(place / "bin" / "nncomp")
    says = run(str(python), "-I", "-c", "import sys; print(sys.prefix)").decode().strip()
    assert Path(says) == place
    text = b"a text that is packed by what was installed\n" * 20
    # Installed anew, its loops are compiled anew: those of mixing alone in half the time. The model is read below in any case.
    asked = [] if os.environ.get("NNCOMP_FULL") and shipped_path("default").exists() else ["--model", "none"]
    packed = run(nncomp, *asked, stdin=text)
    assert run(nncomp, "-d", stdin=packed) == text
    assert (place / "share" / "man" / "man1" / "nncomp.1").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    code = """
import nncomp
from nncomp.network.registry import installed_models

print(nncomp.__file__)
for model in installed_models():
    model.read()
    print(model.path)
"""
    where = run(str(python), "-c", code)
    for line in where.decode().splitlines():
        assert Path(line).is_relative_to(place), "not of the checkout"
