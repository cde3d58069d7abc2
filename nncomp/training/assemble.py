"""A model of parts that exist: a network, an n-gram table, a second network. Start values of mixing are learned anew for them.

Two networks that were trained apart err in other places. Mixing has both predictions, and knows by how they differ how sure it
can be. What the n-gram table expects is one more opinion. The new file names the table and the second model. The second model
must come with nncomp; the table does, or it is beside the new file as ngrams*.safetensors. A model with a second network names
the first model, too, in place of having its weights, if that comes with nncomp. Also a command:

    python -m nncomp.training.assemble default new.safetensors TEXT... --ngrams ngrams.safetensors --second fast --mb 8
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from nncomp.errors import ModelError
from nncomp.format.numbers import OWN_MODEL
from nncomp.network.model import Model, read_model, save_model
from nncomp.network.ngram_file import NgramTable, parse_ngrams
from nncomp.network.registry import open_model
from nncomp.training import command
from nncomp.training.corpus import Corpus, find_corpus, together
from nncomp.training.mixing_start import learn_start_values, values_anew
from nncomp.training.wanted import check_writable


def assembled(model: Model, ngrams: NgramTable | None, second: Model | None, corpus: Corpus, total_bytes: int) -> Model:
    """Return the model with this n-gram table and the network of `second` beside its own, if there is one.

    The start values of mixing are learned on about `total_bytes` of the corpus. Raises ModelError for models and tables of other
    tokens.
    """
    whole = replace(model, ngrams=ngrams, second=second and replace(second, ngrams=None))
    return learn_start_values(whole, corpus, total_bytes, 0, values_anew(whole))


def _read_ngrams(path: Path) -> NgramTable:
    try:
        data = path.read_bytes()
        return parse_ngrams(data, hashlib.sha256(data).hexdigest())
    except (OSError, ModelError) as error:
        sys.exit(f"{path}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a model of parts that exist.")
    parser.add_argument("model", help="a name or a file: whose network and codes the new one has")
    parser.add_argument("out", type=Path)
    parser.add_argument("text", nargs="+", help="files, folders or glob patterns; files of the same name are of one kind")
    parser.add_argument("--ngrams", type=Path, help="the file of an n-gram table, by nncomp.training.count_ngrams")
    parser.add_argument("--second", help="the name of a model, of the same tokens")
    parser.add_argument("--mb", type=float, default=8.0, help="millions of bytes of text that start values are learned on")
    asked = parser.parse_args()
    check_writable(asked.out)
    file, other = open_model(asked.model), open_model(asked.second) if asked.second else None
    if other is not None and other.model_id == OWN_MODEL:
        sys.exit(f"{other.path} does not come with nncomp, so no reader would find it; give the name of a model.")
    model, second = read_model(file), read_model(other) if other else None
    ngrams = _read_ngrams(asked.ngrams) if asked.ngrams else model.ngrams
    new = assembled(model, ngrams, second, together([find_corpus(text) for text in asked.text]), int(asked.mb * 1e6))
    base = bytes(file.read()) if second and file.can_be_base else None
    made = {"command": shlex.join(["python", "-m", "nncomp.training.assemble", *sys.argv[1:]]), "date": time.strftime("%Y-%m-%d")}
    record = (
        model.record | {"assembled": made} if second is None else {"networks": [model.record, second.record], "assembled": made}
    )
    digest = save_model(replace(new, record=record), asked.out, base, bytes(other.read()) if other else None)
    print(f"wrote {asked.out} (SHA-256 {digest})")


if __name__ == "__main__":
    command.run(main)
