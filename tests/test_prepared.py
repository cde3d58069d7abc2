"""Object code that comes with nncomp: taken without Numba and without a cache, for the right kind of processor, if whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nncomp.cli.prepare import kinds, write_all
from nncomp.machine import llvm, prepared
from nncomp.machine.kernels import IS_COMPILED
from nncomp.network import tiles
from tests.conftest import ROOT, environment

HAS = {feature for feature, is_there in llvm.host_features().items() if is_there}
OWN = next((kind for kind in prepared.KINDS if HAS.issuperset(kind.needed)), None)
EXACT = [True, True][: 1 + tiles.available()]
pytestmark = pytest.mark.skipif(not IS_COMPILED or OWN is None, reason="nothing is compiled, or this processor is of no kind")

PROCESS = """
import sys
from pathlib import Path
from nncomp.machine import prepared
prepared.FOLDER = Path(sys.argv[1])
if sys.argv[2] == "without":
    sys.modules["numba"] = None
from nncomp.network import products, tiles
chosen = [products.LOOP, products.TILES][: 1 + tiles.available()]
print([products._is_exact(each) for each in chosen], prepared.kind().label, sys.modules.get("numba") is not None)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like `prepared.FOLDER` with object code of one kernel for this processor's kind."""
    folder = tmp_path_factory.mktemp("prepared")
    a, out = np.zeros((0, 0), np.int8), np.zeros((0, 0), np.int32)
    arguments = np.uint64(0), np.uint64(0), a, a, np.zeros(0, np.int32), out
    assert OWN and OWN in kinds()
    write_all(folder / prepared.source_folder().name, [("nncomp.network.products", "multiply", arguments)], [OWN])
    return folder


def run(folder: Path, numba: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Test the products in a process that has just begun, with an empty cache."""
    surroundings = environment() | {"XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", PROCESS, str(folder), numba]
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)


def test_it_is_taken_without_numba_and_is_exact(made: Path, tmp_path: Path) -> None:
    done = run(made, "without", tmp_path)
    assert OWN and (done.stdout.strip(), done.returncode) == (f"{EXACT} {OWN.label} False", 0), done.stderr
    assert not list(tmp_path.rglob("*.o"))


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-9] + b"x" + b[-8:], lambda b: b""])
def test_what_is_damaged_is_passed_over(made: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    assert OWN
    folder = tmp_path / "prepared" / prepared.source_folder().name / OWN.label
    folder.mkdir(parents=True)
    for path in (made / folder.parent.name / OWN.label).iterdir():
        (folder / path.name).write_bytes(damage(path.read_bytes()))
    done = run(tmp_path / "prepared", "without", tmp_path / "cache")
    assert done.returncode, "it would have to be compiled"
    assert "numba" in done.stderr.splitlines()[-1]
    if damage(b"ten bytes.") == b"":
        done = run(tmp_path / "prepared", "with", tmp_path / "cache")
        assert (done.stdout.strip(), done.returncode) == (f"{EXACT} {OWN.label} True", 0), done.stderr


def test_what_another_source_was_made_of_is_not_met(made: Path, tmp_path: Path) -> None:
    (made / prepared.source_folder().name).rename(tmp_path / "0123456789abcdef")
    try:
        done = run(tmp_path, "without", tmp_path / "cache")
        assert done.returncode
    finally:
        (tmp_path / "0123456789abcdef").rename(made / prepared.source_folder().name)


V3 = "avx avx2 bmi bmi2 cmov cx16 f16c fma lzcnt movbe popcnt sahf sse4.2 xsave"
V4 = f"{V3} avx512bw avx512cd avx512dq avx512f avx512vl"


@pytest.mark.parametrize(
    ("has", "label"),
    [
        ("sse2", None),
        (V3.replace("fma ", ""), None),
        (V3, "x86-64-v3"),
        (f"{V3} avxvnni amx-int8", "x86-64-v3-vnni"),
        (V4, "x86-64-v3"),
        (f"{V4} avx512vnni avxvnni", "x86-64-v4-vnni"),
        ("neon", "aarch64-neon"),
        ("neon dotprod", "aarch64-dotprod"),
    ],
)
def test_the_kind_of_a_processor(has: str, label: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in prepared.KINDS:
        (tmp_path / prepared.source_folder().name / kind.label).mkdir(parents=True)
    monkeypatch.setattr(prepared, "FOLDER", tmp_path)
    monkeypatch.setattr(llvm, "host_features", lambda: dict.fromkeys(has.split(), True) | {"avx10.1": False})
    found = prepared.found.__wrapped__()
    assert (found and found[0].label) == label
    monkeypatch.setenv("NUMBA_CPU_NAME", "znver3")
    assert prepared.found.__wrapped__() is None


@pytest.mark.parametrize("has", [True, False])
def test_dot_products_of_arm_are_looked_for(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM says nothing of them on ARM; on other processors there is no such feature."""
    monkeypatch.setattr(llvm, "_has_dot_product", lambda: has)
    for triple, expected in (("aarch64-unknown-linux-gnu", has), ("arm64-apple-darwin", has), ("x86_64-pc-linux-gnu", None)):
        monkeypatch.setattr(llvm, "triple", lambda triple=triple: triple)
        assert llvm.host_features.__wrapped__().get("dotprod") is expected
