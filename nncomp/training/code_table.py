"""The table of codes of a model: entries learned by gradient on the beginnings of texts, all weights frozen.

An entry is the state that a lane starts from, and what is added to the input of a token, which fades (`nncomp.network.code`).
Each text trains the entry that suits it best: at first that of texts with similar tokens in files of the same name, later
whichever of its own and another entry needs fewer bits for the first tokens. The network runs in float with all its roundings.
Also a command, for a model that exists:

    python -m nncomp.training.code_table models/default.safetensors new.safetensors TEXT... --codes 64 --steps 300
"""

# K entries, B texts at once, T tokens, N layers, D width, E state width

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nncomp.network.code import FADE_SHIFT, STEPS_BITS, STEPS_MAX, CodeTable
from nncomp.network.model import Model, read_model, save_model
from nncomp.network.registry import open_model
from nncomp.training import command
from nncomp.training.code_encoder import with_encoder
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.float_network import FloatNetwork, Linear
from nncomp.training.processes import use_threads
from nncomp.training.restore import restore
from nncomp.training.text_files import Report
from nncomp.training.wanted import check_writable

_NOTHING = -1  # in place of a token, after the end of a text
_FEATURES = 2048  # classes of tokens that tell which texts are similar
_ROUNDS = 15  # of k-means


@dataclass(frozen=True)
class CodePlan:
    """How a table is learned."""

    codes: int
    steps: int = 300
    seed: int = 0
    texts: int = 150  # of each file's name
    text_bytes: int = 800
    tokens: int = 112  # of a text
    batch: int = 32
    tried_tokens: int = 24  # that decide between two entries
    learning_rate: float = 0.02


def learn_codes(model: Model, corpora: list[Corpus], plan: CodePlan, report: Report = lambda line: None) -> Model:
    """Return the model with a table of codes and its encoder, learned on the beginnings of texts of the corpora."""
    random = np.random.default_rng(plan.seed)
    names, texts = zip(*_texts(corpora, plan, random), strict=True)
    ids_BT = np.full((len(texts), plan.tokens), _NOTHING, np.int64)
    for row, text in zip(ids_BT, texts, strict=True):
        ids = model.vocabulary.encode(text)[: plan.tokens]
        row[: len(ids)] = ids
    entry_B, family_K = _first_entries(ids_BT, np.unique(names, return_inverse=True)[1], plan.codes, random)
    table = _Learner(model, plan, family_K).run(ids_BT, entry_B, random, report)
    return with_encoder(replace(model, sizes=model.sizes | {"code_entries": plan.codes}, code=table), ids_BT, random)


def _texts(corpora: list[Corpus], plan: CodePlan, random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Give beginnings of texts with the names of their files, as many of each name: of documents, and of lines inside."""
    for corpus in corpora:
        for name, numbers in corpus.by_name().items():
            sizes = corpus.sizes[numbers]
            inside = random.choice(numbers, plan.texts, p=sizes / sizes.sum())
            spans = []
            for i, number in enumerate(inside.tolist()):
                if i % 2:
                    number, begin = int(random.choice(numbers)), 0
                else:
                    begin = int(random.integers(0, max(1, int(corpus.sizes[number]) - plan.text_bytes)))
                spans.append((number, begin, min(2 * plan.text_bytes, int(corpus.sizes[number]) - begin)))
            for (_, begin, _), text in zip(spans, corpus.spans(spans), strict=True):
                line = text.find(b"\n", 0, plan.text_bytes) + 1 if begin else 0
                if cut := text[line : line + plan.text_bytes]:
                    yield name, cut


def _first_entries(
    ids_BT: NDArray[np.int64], name_B: NDArray[np.int64], entries: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the entry of each text, shape (B,), and the family of each entry, shape (K,): the name of its texts' files."""
    names = int(name_B.max()) + 1
    if entries < names:
        return name_B % entries, np.arange(entries)
    entry_B, family_K = np.zeros(len(ids_BT), np.int64), np.arange(entries) % names
    for name in range(names):
        (own,), (rows,) = np.nonzero(family_K == name), np.nonzero(name_B == name)
        entry_B[rows] = own[_similar(ids_BT[rows], len(own), random)]
    return entry_B, family_K


def _similar(ids_BT: NDArray[np.int64], groups: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return a group of similar texts for each text, shape (B,), by the tokens that they have (spherical k-means)."""
    x = np.zeros((len(ids_BT), _FEATURES), np.float32)
    for row, ids in zip(x, ids_BT, strict=True):
        np.add.at(row, ids[ids != _NOTHING] % _FEATURES, 1)
    x = np.sqrt(x) - np.sqrt(x).mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-6
    centre = x[random.choice(len(x), groups, replace=len(x) < groups)]
    for _ in range(_ROUNDS):
        group_B: NDArray[np.int64] = (x @ centre.T).argmax(1)
        for i in range(groups):
            if (group_B == i).any():
                centre[i] = x[group_B == i].mean(0)
                centre[i] /= np.linalg.norm(centre[i]) + 1e-6
    return group_B


class _Learner:
    """The frozen network, and the table as the sum of a part of all entries, one of the entry's family, and the entry's own."""

    def __init__(self, model: Model, plan: CodePlan, family_K: NDArray[np.int64]) -> None:
        self.plan, self.family_K, self.start = plan, torch.from_numpy(family_K), model.sizes["start_token"]
        self.network = _frozen(restore(model))
        s = model.sizes
        sizes, families = (s["layer_count"], s["state_width"]), int(family_K.max()) + 1
        self.state = [nn.Parameter(torch.zeros(count, *sizes)) for count in (1, families, plan.codes)]
        self.input = [nn.Parameter(torch.zeros(count, s["width"])) for count in (1, families, plan.codes)]

    def table(self) -> tuple[Tensor, Tensor]:
        """Return the states, shape (K, N, E), and the inputs, shape (K, D)."""
        (a, b, c), (d, e, f) = self.state, self.input
        return a + b[self.family_K] + c, d + e[self.family_K] + f

    def bits(self, ids_BT: NDArray[np.int64], entry_B: NDArray[np.int64], tokens: int) -> Tensor:
        """Return what the first tokens of texts take with their entries, in bits, shape (B,)."""
        states, inputs = (part[torch.from_numpy(entry_B)] for part in self.table())
        ids = torch.from_numpy(np.ascontiguousarray(ids_BT[:, :tokens].T))
        known, ids = ids != _NOTHING, ids.clamp_min(0)
        fed = torch.cat([torch.full_like(ids[:1], self.start), ids[:-1]])
        left_T = (1 - 2.0**-FADE_SHIFT) ** torch.arange(len(fed))
        hidden, _ = self.network.hidden(fed, self.network.coded_state(states.transpose(0, 1)), left_T[:, None, None] * inputs)
        return (self.network.token_losses(hidden, ids) * known).sum(0) / math.log(2)

    def run(
        self, ids_BT: NDArray[np.int64], entry_B: NDArray[np.int64], random: np.random.Generator, report: Report
    ) -> CodeTable:
        """Learn for the steps of the plan; return the table in integers, with an encoder of zeros. `entry_B` changes."""
        plan, order, moved = self.plan, list[int](), 0
        rate = plan.learning_rate
        optimizer = torch.optim.Adam([{"params": self.state, "lr": rate}, {"params": self.input, "lr": rate / 4}])
        first_rates = [group["lr"] for group in optimizer.param_groups]
        for step in range(plan.steps):
            share = step / plan.steps
            order = order if len(order) >= plan.batch else random.permutation(len(ids_BT)).tolist() + order
            chosen = np.array([order.pop() for _ in range(min(plan.batch, len(ids_BT)))])
            if 0.08 < share < 0.95 and plan.codes > 1:
                better = self._better(ids_BT[chosen], entry_B[chosen], step % 2 == 0, random)
                moved += int((better != entry_B[chosen]).sum())
                entry_B[chosen] = better
            loss = self.bits(ids_BT[chosen], entry_B[chosen], plan.tokens).sum() / (ids_BT[chosen] != _NOTHING).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            for group, first in zip(optimizer.param_groups, first_rates, strict=True):
                group["lr"] = first * min(1.0, (step + 1) / 10) * max(0.02, 1 - share)
            optimizer.step()
            if (step + 1) % 25 == 0:
                report(f"codes: step {step + 1}, {float(loss.detach()):.3f} bits a token, {moved} texts took another code")
        states, inputs = (_in_steps(part) for part in self.table())
        return CodeTable(inputs, states, np.zeros_like(inputs))

    @torch.no_grad()
    def _better(
        self, ids_BT: NDArray[np.int64], entry_B: NDArray[np.int64], in_family: bool, random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return for each text its entry, or a random other one (perhaps of the same family) if that takes fewer bits."""
        family_K = self.family_K.numpy()
        other_B = random.integers(0, self.plan.codes, len(entry_B))
        if in_family:
            other_B = np.array([random.choice(np.nonzero(family_K == family_K[entry])[0]) for entry in entry_B])
        own, other = (self.bits(ids_BT, each, self.plan.tried_tokens).numpy() for each in (entry_B, other_B))
        return np.where(other < own, other_B, entry_B)


def _frozen(network: FloatNetwork) -> FloatNetwork:
    """Return the network with all parameters fixed, rounded once and for all."""
    from nncomp.training.fake_int8 import fake_int8_rows

    rows = network.embedding_rows().detach()
    network.requires_grad_(requires_grad=False)
    for module in network.modules():
        if isinstance(module, Linear):
            module.weight.copy_(fake_int8_rows(module.weight))
            module.quantized = False
    network.embedding_rows = lambda: rows  # type: ignore[method-assign]
    return network


def _in_steps(table: Tensor) -> NDArray[Any]:
    steps: NDArray[Any] = np.rint(table.detach().numpy() * (1 << STEPS_BITS))
    return np.asarray(np.clip(steps, -STEPS_MAX, STEPS_MAX), np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description="Give a model a table of codes, learned on text.")
    parser.add_argument("model", help="a name or a file")
    parser.add_argument("out", type=Path)
    parser.add_argument("text", nargs="+", help="files, folders or glob patterns; files of the same name are of one kind")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=CodePlan.steps)
    parser.add_argument("--texts", type=int, default=CodePlan.texts, help="of each file's name")
    parser.add_argument("--tokens", type=int, default=CodePlan.tokens, help="of a text")
    parser.add_argument("--seed", type=int, default=CodePlan.seed)
    asked = parser.parse_args()
    check_writable(asked.out)
    use_threads(1)
    corpora = [find_corpus(text) for text in asked.text]
    plan = CodePlan(asked.codes, asked.steps, asked.seed, asked.texts, 7 * asked.tokens, asked.tokens)
    model = learn_codes(read_model(open_model(asked.model)), corpora, plan, lambda line: print(line, flush=True))
    line = shlex.join(["python", "-m", "nncomp.training.code_table", *sys.argv[1:]])
    made = {"command": line, "date": time.strftime("%Y-%m-%d"), "steps": plan.steps}
    digest = save_model(replace(model, record=model.record | {"codes": made}), asked.out)
    print(f"wrote {asked.out} (SHA-256 {digest})")


if __name__ == "__main__":
    command.run(main)
