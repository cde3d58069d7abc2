"""A model whose predictions are those of two networks: of two models that exist, with start values of mixing for both.

Two networks that were trained apart err in other places. Mixing has both predictions, and knows by how they differ how sure it
can be. The new file names the second model, which must come with nncomp. If the first one does so, too, the file names it in
place of having its weights. Also a command:

    python -m nncomp.training.second_network default fast new.safetensors TEXT --mb 8
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from nncomp.network.model import Model, read_model, save_model
from nncomp.network.registry import open_model
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.mixing_start import learn_start_values, values_of_two


def with_second(model: Model, second: Model, corpus: Corpus, total_bytes: int, seed: int = 0) -> Model:
    """Return the model with the network of `second` beside its own.

    The start values of mixing are learned on about `total_bytes` of the corpus. Raises ModelError for models of other tokens.
    """
    return learn_start_values(replace(model, second=second), corpus, total_bytes, seed, values_of_two())


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a model of the networks of two models.")
    parser.add_argument("model", help="a name or a file: whose codes the new one has")
    parser.add_argument("second", help="the name of a model, of the same tokens")
    parser.add_argument("out", type=Path)
    parser.add_argument("text", help="a file, a folder or a glob pattern; files of the same name are of one kind")
    parser.add_argument("--mb", type=float, default=8.0, help="millions of bytes of text that start values are learned on")
    asked = parser.parse_args()
    files = open_model(asked.model), open_model(asked.second)
    first, second = (read_model(file) for file in files)
    model = with_second(first, second, find_corpus(asked.text), int(asked.mb * 1e6))
    base = bytes(files[0].read()) if files[0].can_be_base else None
    command = shlex.join(["python", "-m", "nncomp.training.second_network", *sys.argv[1:]])
    made = {"command": command, "date": time.strftime("%Y-%m-%d")}
    record = {"networks": [first.record, second.record], "second": made}
    digest = save_model(replace(model, record=record), asked.out, base, bytes(files[1].read()))
    print(f"wrote {asked.out} (SHA-256 {digest})")


if __name__ == "__main__":
    main()
