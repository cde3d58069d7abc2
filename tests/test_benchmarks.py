"""A benchmark computes what the product computes, to the last bit; with a part off, what the slow twin does without it."""

from __future__ import annotations

import ast
import functools
import inspect
import io
import json
import math
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import nncomp
from benchmarks import domains, front, mixing_bytes, own_model, profile, search_arms
from benchmarks.mixing_ablation import BYTE_SELECTORS, LONG_MATCH, MAPS, SHORT_MATCH, TOKEN_SELECTORS, TokenTree
from benchmarks.paper.runner import Text, block_bits
from checks import slowest_claim
from checks.slow_block import encode_slowly
from nncomp.blocks import levels, token_payload
from nncomp.blocks.codec import Codec
from nncomp.blocks.levels import STANDARD, level
from nncomp.format.numbers import MAX_TABLE_BITS, BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.mixing import byte_contexts, byte_predictor, byte_predictor_reference, mixer, token_contexts
from nncomp.network import engine
from nncomp.network.code import NO_CODE
from nncomp.network.device import open_outside
from nncomp.network.engine import Network
from nncomp.network.model import save_model
from nncomp.network.registry import open_model, shipped_path
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding
from nncomp.training.float_network import Layer
from nncomp.training.mixing_start import plain_values
from nncomp.training.trainer import Trainer, TrainingConfig
from tests.conftest import environment
from tests.models import SHAPE, TEXT, small_decoder, small_model, small_start
from tests.test_byte_predictor import some_text

DATA = some_text(400) + TEXT[:400]
SHORT = b"the fox, <b>the fox</b>\n"  # for what is not compiled
ALL_SOURCES = tuple(sorted(token_contexts.context(source, source % 8) for source in range(token_contexts.SOURCES)))
NOTHING: frozenset[str] = frozenset()
BYTES_OFF = ((), (MAPS,), ("word",), (LONG_MATCH, SHORT_MATCH), (BYTE_SELECTORS[5],))
TOKENS_OFF = ((), (MAPS,))
STARTS = {
    "plain": plain_values(tuple(range(20))),
    "all sources": plain_values(ALL_SOURCES),
    "two sets": plain_values((1, 2, 12, 17), (1, 3)),
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(small_model(), path)
    return path


@functools.cache
def packed() -> Network:
    return Network(small_model())


def p1_of_product(data: bytes, start: dict[str, Any]) -> list[int]:
    """Return what the product codes a block of tokens with, in one lane."""
    p1: list[int] = token_payload.predict_tokens(packed(), data, start, TokensHead(0, levels.lines_log2(len(data)))).p1.tolist()
    return p1


@functools.cache
def p1_of_network(data: bytes) -> NDArray[np.uint16]:
    """Return what the torch engine says of the network: nothing is compiled for it."""
    ids = small_model().vocabulary.encode(data)
    return open_outside(small_model(), "cpu").probabilities(ids, np.array([0, len(ids)]), NO_CODE)


def p1_of_tree(data: bytes, start: dict[str, Any], off: Iterable[str] = ()) -> list[int]:
    """Return what the ablation codes a block of tokens with."""
    tree = TokenTree(packed(), start)
    tree.known_p1[data] = p1_of_network(data)
    p1: list[int] = tree(data, frozenset(off))[1].tolist()
    return p1


@pytest.mark.parametrize("name", STARTS)
def test_the_token_tree_with_nothing_off_is_the_product(name: str) -> None:
    assert p1_of_tree(DATA, STARTS[name]) == p1_of_product(DATA, STARTS[name])


def test_a_context_or_a_set_that_is_off_is_as_if_the_model_did_not_use_it() -> None:
    start = STARTS["all sources"]
    names = TokenTree(packed(), start).contexts
    for i in (0, 7, len(ALL_SOURCES) - 1):
        others = ALL_SOURCES[:i] + ALL_SOURCES[i + 1 :]
        assert p1_of_tree(DATA, start, [names[i]]) == p1_of_product(DATA, plain_values(others))
    for i in range(len(TOKEN_SELECTORS)):
        sets = tuple(k for k in range(len(TOKEN_SELECTORS)) if k != i)
        found, without = p1_of_tree(DATA, STARTS["plain"], [TOKEN_SELECTORS[i]]), plain_values(tuple(range(20)), sets)
        share = mixer.WEIGHT_ONE // len(TOKEN_SELECTORS)  # of the mean, rounded down; so is what the others get of it
        without["final_weights"][:] = share + share // len(sets)
        assert found == p1_of_product(DATA, without)


def test_each_part_of_the_token_tree_that_is_off_changes_what_is_coded() -> None:
    start = STARTS["all sources"]
    base = p1_of_product(DATA, start)
    for name in TokenTree(packed(), start).names:
        assert name == MAPS or p1_of_tree(DATA, start, [name]) != base, name


@pytest.fixture(scope="module")
def not_compiled(model_file: Path) -> dict[str, list[int]]:
    """Return what the ablation codes a short text with. The loops that it would compile for itself run as plain Python."""
    script = f"""
import json, sys
from pathlib import Path
from benchmarks.mixing_ablation import Bytes, TokenTree
from nncomp.blocks.token_payload import model_start
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.registry import open_model
network = Network(read_model(open_model(Path(sys.argv[1]))))
tree = TokenTree(network, model_start(network))
found = {{"bytes" + str(off): Bytes()({SHORT!r}, frozenset(off)) for off in {BYTES_OFF!r}}}
found |= {{"tokens" + str(off): tree({SHORT!r}, frozenset(off)) for off in {TOKENS_OFF!r}}}
print(json.dumps({{name: p1.tolist() for name, (_, p1) in found.items()}}))
"""
    variables = {**environment(), "NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run([sys.executable, "-c", script, str(model_file)], capture_output=True, env=variables, check=False)
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, list[int]] = json.loads(result.stdout)
    return found


predict_slowly = byte_predictor_reference.Mixer.predict


def predict_without_apms(slow: byte_predictor_reference.Mixer, *known: Any) -> int:
    """Return what the mixer predicts before its APMs refine it."""
    predict_slowly(slow, *known)
    return byte_predictor_reference.squash(slow.mixed)


def test_bytes_and_what_is_off_of_them(not_compiled: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow twin does without a part where it is told to."""
    found = {off: not_compiled[f"bytes{off}"] for off in BYTES_OFF}
    assert found[()] == byte_predictor.probabilities(np.frombuffer(SHORT, np.uint8)).tolist()
    slow = functools.partial(byte_predictor_reference.probabilities, SHORT, MAX_TABLE_BITS)
    new_match, inputs, word = (
        byte_predictor_reference.Match.__init__,
        byte_predictor_reference.BitHistories.inputs,
        2 * byte_contexts.CONTEXT_NAMES.index("word"),
    )

    def never_met(*of: Any) -> list[int]:
        found = inputs(*of)
        found[word : word + 2] = byte_predictor_reference.stretch(32768), 0
        return found

    def long_already(match: byte_predictor_reference.Match, *sizes: int) -> None:
        new_match(match, *sizes)
        match.length = match.least

    with monkeypatch.context() as patch:
        patch.setattr(byte_predictor_reference.Mixer, "predict", predict_without_apms)
        assert found[(MAPS,)] == slow()
    with monkeypatch.context() as patch:
        patch.setattr(byte_predictor_reference.BitHistories, "inputs", never_met)
        assert found[("word",)] == slow()
    with monkeypatch.context() as patch:
        patch.setattr(byte_predictor_reference.Match, "__init__", long_already)
        assert found[(LONG_MATCH, SHORT_MATCH)] == slow()
    assert len({tuple(p1) for p1 in found.values()}) == len(found)


def test_tokens_without_correction_maps(not_compiled: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytes([0, levels.lines_log2(len(SHORT)), 0])
    assert not_compiled["tokens()"] == p1_of_product(SHORT, small_start()) == encode_slowly(small_model(), SHORT, header)[1]
    monkeypatch.setattr(byte_predictor_reference.Mixer, "predict", predict_without_apms)
    without = encode_slowly(small_model(), SHORT, header)[1]
    assert not_compiled[f"tokens{(MAPS,)}"] == without != not_compiled["tokens()"]


def test_sizes_are_those_of_blocks(model_file: Path) -> None:
    codec = Codec(open_model(str(model_file)))
    tokens, in_bytes = (codec._encode(kind, DATA).payload for kind in (BlockKind.TOKENS, BlockKind.BYTES))
    assert mixing_bytes.measure(np.frombuffer(DATA, np.uint8), in_bytes[0])[0] == len(in_bytes) - 1
    assert domains.measure(codec, "text", DATA, 1)[1:] == (len(tokens), len(in_bytes))
    assert len(codec.encode_block(DATA).payload) == min(len(tokens), len(in_bytes))
    assert slowest_claim.payload_of(packed(), DATA, small_model().vocabulary.encode(DATA)) == tokens


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_files_with_a_model_of_ones_own_are_those_of_the_command(model_file: Path) -> None:
    sizes = []
    for model in (level(STANDARD).model, str(model_file)):
        sink = io.BytesIO()
        pipeline.compress(io.BytesIO(DATA), sink, Coding(open_model(model), level(STANDARD).effort), 0)
        sizes.append(len(sink.getvalue()))
    assert own_model.sizes(DATA, str(model_file)) == tuple(sizes)


@pytest.mark.skipif(not shipped_path("fast").exists(), reason="no shipped model")
def test_sizes_beside_other_compressors_are_those_of_files(tmp_path: Path) -> None:
    """Those of `benchmarks.large` come from the same function."""
    (tmp_path / "text").write_bytes(DATA)
    (ours,) = (each for each in front.compressors([1], 1) if each.name == "nncomp -1")
    assert ours.measure(tmp_path / "text", tmp_path).packed_bytes == len(nncomp.compress(DATA, level=1))


def calls(nodes: Iterable[ast.AST], but: set[str]) -> Counter[str]:
    """Return how often which functions are called below the nodes."""
    found = Counter[str]()
    for node in (below for each in nodes for below in ast.walk(each) if isinstance(below, ast.Call)):
        found[node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)] += 1
    return Counter({name: count for name, count in found.items() if name not in but})


def body(function: Any) -> list[ast.stmt]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(getattr(function, "py_func", function)))).body
    assert isinstance(definition, ast.FunctionDef)
    return definition.body


def test_the_profile_times_every_part_of_a_layer() -> None:
    """What it does not time alone: the second product of the MLP, and waiting for another thread."""
    (layers,) = (node for node in body(engine.feed_here) if isinstance(node, ast.For) and ast.unparse(node.target) == "n")
    nodes = (node for statement in body(profile._part) for node in ast.walk(statement))
    (timed,) = (node for node in nodes if isinstance(node, ast.For) and ast.unparse(node.target) == "n")
    not_timed = {"mlp_out", "_add_other_half", "wait_for", "pass_on"}
    not_work = {"range", "min", "int64"}
    assert calls([timed], not_work) == calls([layers], not_work | not_timed)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Have torch sum gradients in one order: else the biases of tokens differ from run to run in their last bits."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_the_base_of_the_search_is_trained_as_the_product_trains(tmp_path: Path, deterministic: None) -> None:
    steps, lanes, rate = 3, search_arms.LANES, search_arms.RATE
    ids = np.random.default_rng(0).integers(SHAPE.vocab_size, size=lanes * search_arms.STEPS * 4).astype(np.uint16)
    arm = replace(search_arms.ARMS["base"], shape=SHAPE)
    ours, theirs = (search_arms.new_network(arm, 0, SHAPE.start_token) for _ in range(2))
    clock = iter([0, *range(steps + 2)])
    tokens, _ = search_arms.train(ours, arm, ids, steps, 0, clock=lambda: next(clock))
    config = TrainingConfig(
        1e9, tokens, 0, lanes, search_arms.STEPS, rate, warmup_steps=search_arms.WARMUP_STEPS, quantized_share=0
    )
    list(Trainer(theirs, config, ids, tmp_path / "checkpoint.pt").run())
    for mine, product in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, product)


def test_a_layer_of_the_search_with_nothing_left_out_is_the_products() -> None:
    arm, x = replace(search_arms.ARMS["base"], shape=SHAPE), torch.randn(9, 2, SHAPE.width)
    ours, theirs = search_arms.ArmLayer(arm), Layer(SHAPE)
    theirs.load_state_dict(ours.state_dict())
    state = torch.zeros(2, SHAPE.state_width), torch.zeros(2, SHAPE.width)
    for mine, product in zip(ours(x, *state), theirs(x, *state), strict=True):
        assert torch.equal(mine, product)


@torch.no_grad()
def test_bits_of_a_block_are_the_decoders_losses() -> None:
    model, ids = small_decoder(), np.random.default_rng(0).integers(SHAPE.vocab_size, size=120)
    fed = torch.from_numpy(np.array([SHAPE.start_token, *ids[:-1]])[:, None])
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _ = model.hidden(fed, model.initial_state(1))
        losses = model.token_losses(hidden, torch.from_numpy(ids[:, None]))
    text = Text(ids.astype(np.uint16), np.array([120]), 120)
    assert block_bits(model, None, text, 1).net.tolist() == [float(losses.double().sum()) / math.log(2)]
