"""Fuzzing led by coverage, where `atheris` is installed (`pip install atheris`; it is no dependency).

`python -m checks.fuzz FOLDER tests/golden/good tests/golden/bad -max_total_time=300`: FOLDER keeps the files that reached
something new. Each file is judged as in `checks.hostile`.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzz: atheris is not installed; pip install atheris.")
    include = [f"nncomp.format.{name}" for name in ("frames", "frame_reader", "copies", "varints")]
    include += ["nncomp.blocks.codec", "nncomp.stream.assembly", "nncomp.stream.pipeline", "nncomp.stream.tasks"]
    with atheris.instrument_imports(include=include):
        from checks import hostile
    corpus = hostile.read_corpus()
    find_model = hostile.finder(corpus.models)

    def one(data: bytes) -> None:
        hostile.judge(corpus, data, find_model)  # an error that comes out of it is a find

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
