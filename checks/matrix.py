"""The exactness matrix: `python -m checks.matrix` lets many engines make files and read all of them, and prints a table.

Each row is a Python process of its own, with another product, processor, number of threads, NumPy, or no compiler at all. The
short text, with a model of two networks, is for all rows; the long one, with the shipped model, for those that are compiled. A
row of the table tells the files it made by their SHA-256 and whether it read every file of every row. `--python PATH` adds a row
for the Python of another virtual environment, with the versions of NumPy, Numba and the rest that it has, and pytest.

GPU: the rows of torch are its CPU device, and a GPU where there is one. AMX: NumKong uses it where there is one, and a row
switches its units off. A file has 1 to 16 lanes; the engines are compared with 256 in tests/test_network.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import ROOT, environment
from tests.golden.models import TWO, by_hash, model_bytes, named_bytes

LANES = (0, 1, 4)  # as powers of two
SHORT = b"<b>One,two</b>\nThree, 4;\tfive, one, two\n"
LONG = b"".join(b"%d: the engines say the same, <i>%d</i> times.\r\n" % (i, i * i) for i in range(60))
NUMKONG_UNITS = ("turin", "genoa", "sapphire", "sapphireamx", "graniteamx", "icelake", "skylake", "sierra", "alder", "diamond")


@dataclass(frozen=True)
class Row:
    """A way to run nncomp: how it is called, the environment, threads, and what it can do."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    engine: str = "product"  # product, reference, independent, or torch and its device
    is_quick: bool = True  # it does the long text
    units_off: tuple[str, ...] = ()
    python: str = sys.executable


HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,-avx512f,-avx512vnni"}
ROWS = [
    Row("definition: NumPy, constriction", engine="reference", is_quick=False),
    Row("independent decoder", engine="independent", is_quick=False),
    Row("no compiler (NUMBA_DISABLE_JIT=1)", {"NUMBA_DISABLE_JIT": "1"}, is_quick=False),
    *(
        Row(f"{product}, {n} thread{'s' * (n > 1)}", {"NNCOMP_PRODUCT": product}, n)
        for product in ("tiles", "numkong", "loop")
        for n in (1, 2)
    ),
    Row("numkong, its AVX-512 and AMX off", {"NNCOMP_PRODUCT": "numkong"}, units_off=NUMKONG_UNITS),
    Row("numkong, serial", {"NNCOMP_PRODUCT": "numkong"}, units_off=(*NUMKONG_UNITS, "haswell")),
    Row("torch, CPU device", engine="torch cpu"),
]  # fmt: skip
COMPILED_ANEW = [
    Row("AVX2 (haswell)", HASWELL),
    Row("AVX2 (znver2), plain loop", {"NUMBA_CPU_NAME": "znver2", "NUMBA_CPU_FEATURES": "", "NNCOMP_PRODUCT": "loop"}),
    Row("AVX-512 without VNNI (skylake-avx512)", {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}),
    Row("SSE2 (x86-64)", {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}, 2),
]
WITHOUT_VNNI = Row("torch, CPU device, AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}, engine="torch cpu")


def environment_row(python: str) -> Row:
    """Return the row of another virtual environment, by the path of its Python."""
    code = "import platform, numba, numpy; print(f'Python {platform.python_version()}, Numba {numba.__version__}')"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Row(told.stdout.strip(), threads=2, python=python)


def gpu_rows() -> list[Row]:
    import torch

    return [Row("torch, CUDA", engine="torch cuda")] if torch.cuda.is_available() else []


# What a row does, in its own process


def _packed(row: Row, model: Any) -> Any:
    """Return the model as the compiled loops take it, with its network on the row's device if it has one."""
    from nncomp.network.device import open_outside
    from nncomp.network.engine import Network

    return open_outside(model, row.engine.split()[1]) if row.engine.startswith("torch") else Network(model)


def _models(is_long: bool) -> Any:
    from nncomp.network.model import parse_model, read_model
    from nncomp.network.registry import open_model

    if is_long:
        return read_model(open_model("default"))
    return parse_model(model_bytes(TWO), TWO, by_hash(*named_bytes(TWO)))


def _made(row: Row, is_long: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the payload of each block that a row makes: tokens in several lanes, and bytes."""
    from unittest.mock import patch

    data, size = (LONG, "long") if is_long else (SHORT, "short")
    model = _models(is_long)
    if row.engine == "reference":
        from checks.slow_block import bernoulli, encode_slowly
        from nncomp.mixing.byte_predictor_reference import probabilities

        for lanes in LANES:
            yield f"{size} {lanes}", encode_slowly(model, data, bytes([lanes, 8, 0]))[0]
        import constriction
        import numpy as np

        encoder = constriction.stream.queue.RangeEncoder()
        for bit, p1 in zip(np.unpackbits(np.frombuffer(data, np.uint8)), probabilities(data, 16), strict=True):
            encoder.encode(int(bit), bernoulli(p1))
        yield f"{size} bytes", b"\x10" + encoder.get_compressed().astype("<u4").tobytes()
        return
    import numpy as np

    from nncomp import range_coder
    from nncomp.blocks import token_payload
    from nncomp.mixing import byte_predictor

    packed = _packed(row, model)
    for lanes in LANES:
        with (
            patch.object(token_payload, "lanes_log2", return_value=lanes),
            patch.object(token_payload, "lines_log2", return_value=8),
        ):
            yield f"{size} {lanes}", token_payload.encode_tokens(packed, data, row.threads)[0]
    raw = np.frombuffer(data, np.uint8)
    yield (
        f"{size} bytes",
        b"\x10" + range_coder.words_to_bytes(range_coder.encode(np.unpackbits(raw), byte_predictor.probabilities(raw, 16))),
    )


def _reader(row: Row, is_long: bool) -> Callable[[str, bytes, int], bytes]:
    """Return what decodes a payload of so many raw bytes, by its name."""
    if row.engine == "independent":
        from checks.independent.byte_model import decode_bytes as bytes_of
        from checks.independent.decode import decode_tokens as tokens_of
        from checks.independent.model_file import parse_model

        read = parse_model(model_bytes(TWO), *named_bytes(TWO))
        return lambda name, payload, size: bytes_of(payload, size) if "bytes" in name else tokens_of(payload, size, read)
    model = _models(is_long)
    if row.engine == "reference":
        from checks.slow_block import decode_slowly

        return lambda name, payload, size: decode_slowly(model, payload, size)
    from nncomp.blocks.byte_payload import decode_bytes
    from nncomp.blocks.token_payload import decode_tokens

    packed = _packed(row, model)
    return lambda name, payload, size: (
        decode_bytes(payload, size) if "bytes" in name else decode_tokens(packed, payload, size, row.threads)
    )


def _work(row: Row) -> dict[str, Any]:
    """Make files, or read those on standard input; return what is to be told."""
    for unit in row.units_off:
        import numkong

        numkong.disable_capability(unit)
    given = json.loads(sys.stdin.read())
    sizes = [False, True] if row.is_quick else [False]
    told: dict[str, Any] = {}
    for is_long in sizes:
        if not given and row.engine != "independent":
            told |= {name: payload.hex() for name, payload in _made(row, is_long)}
        elif given:
            read, data = _reader(row, is_long), LONG if is_long else SHORT
            for key, payload in given.items():
                if key.startswith("long") == is_long and (row.engine != "reference" or "bytes" not in key):
                    told[key] = read(key, bytes.fromhex(payload), len(data)) == data
    import numpy as np

    heavy = [name for name in ("torch", "jax") if name in sys.modules and name not in row.engine]
    assert not heavy, heavy
    return {"files": told, "numpy": np.__version__}


# The table


def ask(row: Row, files: dict[str, str]) -> dict[str, Any]:
    """Let a row make files (none given) or read them, in a process of its own."""
    code = f"from checks.matrix import *; from checks.matrix import _work; print(json.dumps(_work({row!r})))"
    command = [row.python, "-W", "ignore", "-c", code]
    surroundings = environment() | row.variables
    result = subprocess.run(
        command, cwd=ROOT, input=json.dumps(files), capture_output=True, text=True, env=surroundings, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{row.name}: {result.stderr[-2000:]}")
    return dict(json.loads(result.stdout.splitlines()[-1]))


def digest(files: dict[str, str], size: str) -> str:
    chosen = sorted((name, payload) for name, payload in files.items() if name.startswith(size))
    return hashlib.sha256(repr(chosen).encode()).hexdigest()[:12] if chosen else "-"


def fill(rows: list[Row], say: Callable[[str], None] = print) -> bool:
    """Let all rows make and read; say the table; return whether all is equal."""
    warnings.simplefilter("ignore")
    made = {row.name: ask(row, {}) for row in rows}
    distinct: dict[str, str] = {}
    for each in made.values():
        for name, payload in each["files"].items():
            distinct.setdefault(f"{name} {hashlib.sha256(payload.encode()).hexdigest()[:8]}", payload)
    say("| engine | NumPy | made: short, 1, 2, 16 lanes and bytes | made: long | read |\n|---|---|---|---|---|")
    is_equal = True
    for row in rows:
        files = made[row.name]["files"]
        read = ask(row, distinct)["files"]
        right = sum(read.values())
        short, long = digest(files, "short"), digest(files, "long")
        say(f"| {row.name} | {made[row.name]['numpy']} | {short} | {long} | {right} of {len(read)} |")
        is_equal &= right == len(read)
    for size in ("short", "long"):
        is_equal &= len({digest(each["files"], size) for each in made.values()} - {"-"}) <= 1
    return is_equal


def main() -> None:
    parser = argparse.ArgumentParser(description="Let many engines make and read the same files; print a table.")
    parser.add_argument("--python", nargs="*", default=[], metavar="PATH", help="of other virtual environments")
    parser.add_argument("--quick", action="store_true", help="without processors for which all is compiled anew")
    arguments = parser.parse_args()
    gpus = gpu_rows()
    rows = [*ROWS, WITHOUT_VNNI, *gpus, *([] if arguments.quick else COMPILED_ANEW), *map(environment_row, arguments.python)]
    is_equal = fill(rows)
    print("" if gpus else "\nnot here: a GPU (torch finds no CUDA device)")
    print("all equal" if is_equal else "NOT EQUAL")
    sys.exit(not is_equal)


if __name__ == "__main__":
    main()
