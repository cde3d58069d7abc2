"""Where each microsecond of a token goes: a block as tokens, one thread, by part. Times are of the processor, not of the clock.

    python -m benchmarks.profile FILE [--first 1000000] [--model default]

The whole is encoding and decoding the block. The network is timed alone, with the block's lanes and as many steps, and its
parts again one by one (each of them in a loop of its own, so with warmer caches than in the step); mixing alone is the loop
with a network that is known from outside; tokenizer and the coder's writing alone too. What remains of the whole is what the
parts cost each other, and a second network. Then the same text as a block of bytes, and LZMA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nncomp import range_coder
from nncomp.blocks import levels, token_payload
from nncomp.blocks.byte_payload import decode_bytes
from nncomp.blocks.codec import Codec
from nncomp.blocks.lzma_payload import encode_lzma, quick_lzma_bytes
from nncomp.blocks.token_payload import decode_tokens, encode_tokens, lanes_log2
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.machine.kernels import compiled
from nncomp.mixing import byte_predictor
from nncomp.network import engine
from nncomp.network.engine import Network
from nncomp.network.model import Model, read_model
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.products import multiply
from nncomp.network.registry import open_model
from nncomp.network.squared_relu import squared_relu
from nncomp.network.state import new_scratch, new_state, no_exchange

PARTS = "normalise", "token shift", "products of the layers", "recurrence", "residual", "groups"
LAST_PART = "squared relu, second product of the MLP (step less all of it)"


@compiled
def _steps(constants: Any, state: Any, scratch: Any, alone: Any, tokens: Any, count: int) -> None:
    for _ in range(count):
        engine.step(constants, state, scratch, alone, tokens)


@compiled
def _tokens(constants: Any, scratch: Any, count: int) -> None:
    for i in range(count):
        for lane in range(scratch.x.shape[0]):
            engine.token_frequencies(constants, scratch, lane, i % scratch.groups.shape[1])


@compiled
def _part(constants: Any, state: Any, b: Any, which: int, count: int) -> None:
    product, packed, a = constants.product, constants.packed, constants.arrays
    for _ in range(count):
        for n in range(state.h.shape[0]):
            p = 4 * n
            if which == 0:
                engine._normalise(b.x, b.y)
                engine._normalise(b.x, b.y)
            elif which == 1:
                engine._token_shift(b.y, b.rows, state.before[n], a.shift[n], b.u)
            elif which == 2:
                multiply(product, packed[p], a.gates_weight[n], b.u, b.room, b.gates)
                multiply(product, packed[p + 1], a.state_out_weight[n], b.out, b.room, b.delta)
                multiply(product, packed[p + 2], a.mlp_in_weight[n], b.y, b.room, b.wide)
            elif which == 3:
                scale, bias, state_scale = a.gates_scale[n], a.gates_bias[n], a.state_scale[n]
                engine._recur(b.gates, b.rows, scale, bias, a.sigmoid, a.silu, state_scale, state.h[n], b.out, b.gates_row)
            elif which == 4:
                engine._add(b.x, b.delta, a.state_out_scale[n])
                engine._add(b.x, b.delta, a.mlp_out_scale[n])
        if which == 5:
            p = 4 * state.h.shape[0]
            multiply(product, packed[p], a.group_in_weight, b.hidden, b.room, b.group_wide)
            squared_relu(b.group_wide, a.group_in_scale, b.group_z)
            multiply(product, packed[p + 1], a.group_out_weight, b.group_z, b.room, b.group_acc)
            for i in range(b.x.shape[0]):
                engine._frequencies(b.group_acc[i], a.group_out_scale, a.group_out_bias, a.exp2, b.groups[i])


def seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least processor time of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def network_parts(network: Network, lanes: int) -> dict[str, float]:
    """Return microseconds a token of the step, of its parts, and of the frequencies in one group."""
    constants, count = network.constants(lanes), 200
    state, scratch = new_state(network.model, lanes), new_scratch(network.model.sizes, lanes)
    tokens = np.arange(lanes, dtype=np.int32)
    unit = 1e6 / count / lanes
    found = {"step": seconds(lambda: _steps(constants, state, scratch, no_exchange(), tokens, count)) * unit}
    for which, name in enumerate(PARTS):
        found[name] = seconds(lambda which=which: _part(constants, state, scratch, which, count)) * unit  # type: ignore[misc]
    # Of real text next to all of the squared ReLU is zero, which a loop of its own would not show.
    found[LAST_PART] = found["step"] - sum(found[name] for name in PARTS)
    found["tokens of a group"] = seconds(lambda: _tokens(constants, scratch, count)) * unit
    return found


class _Silent(OutsideNetwork):
    """A network that takes no time and says nothing: what remains of the loop is mixing."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.second = _Silent(model.second) if model.second else None

    def probabilities(self, ids_N: Any, first_ids: Any, code: Any) -> Any:
        return np.full(len(ids_N) * self.model.vocabulary.bits, 1 << 15, np.uint16)


def bytes_parts(data: bytes) -> dict[str, float]:
    """Return seconds of the parts of a block of bytes, and of LZMA."""
    raw = np.frombuffer(data, np.uint8)
    bits, p1 = np.unpackbits(raw), byte_predictor.probabilities(raw)
    payload = Codec()._encode(BlockKind.BYTES, data).payload
    return {
        "as bytes: mixing": seconds(lambda: byte_predictor.probabilities(raw), 2),
        "as bytes: coder": seconds(lambda: range_coder.encode(bits, p1)),
        "as bytes: decoding": seconds(lambda: decode_bytes(payload, len(data)), 2),
        "LZMA, quickest": seconds(lambda: quick_lzma_bytes(data)),
        "LZMA": seconds(lambda: encode_lzma(data)),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--first", type=int, default=1_000_000, help="bytes of the file")
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args(argv)
    file = open_model(arguments.model)
    model = Network(read_model(file))
    data = arguments.file.read_bytes()[: arguments.first]
    lanes, vocabulary = 1 << lanes_log2(len(data)), model.model.vocabulary
    tokens = len(vocabulary.encode(data))
    random = np.random.default_rng(0)
    decisions = random.integers(0, 2, tokens * vocabulary.bits).astype(np.uint8)
    p1 = random.integers(1, 65536, decisions.size).astype(np.uint16)
    payload = encode_tokens(model, data).payload
    if decode_tokens(model, payload, len(data)) != data:
        raise SystemExit("The block does not come back.")
    unit = 1e6 / tokens  # seconds of the whole -> microseconds a token
    whole = {
        "encoding": seconds(lambda: encode_tokens(model, data), 2) * unit,
        "decoding": seconds(lambda: decode_tokens(model, payload, len(data)), 2) * unit,
    }
    parts = network_parts(model, lanes)
    tokenizer, coder = seconds(lambda: vocabulary.encode(data)) * unit, seconds(lambda: range_coder.encode(decisions, p1)) * unit
    silent, start = _Silent(model.model), token_payload.model_start(model)
    sizes = lanes_log2(len(data)), levels.lines_log2(len(data))
    # The tokenizer is a part of this call.
    mixing = seconds(lambda: token_payload.predict_tokens(silent, data, start, TokensHead(*sizes)), 2) * unit - tokenizer
    network = parts["step"] + parts["tokens of a group"]
    print(f"{arguments.file}: {len(data):,} bytes, {tokens:,} tokens, {lanes} lanes, {len(payload):,} bytes coded\n")
    print("| part | microseconds a token |\n|---|---|")
    for name, each in whole.items():
        print(f"| {name} | {each:.2f} ({1000 * len(data) / tokens / each:.0f} KB/s) |")
    print(f"| network: step | {parts['step']:.2f} |")
    for name in (*PARTS, LAST_PART):
        print(f"| - {name} | {parts[name]:.2f} |")
    print(f"| network: tokens of a group | {parts['tokens of a group']:.2f} |")
    print(f"| mixing | {mixing:.2f} |\n| tokenizer | {tokenizer:.2f} |\n| coder | {coder:.2f} |")
    rest = whole["encoding"] - network - mixing - tokenizer - coder
    print(f"| what they cost each other (encoding less all of it) | {rest:.2f} |")
    for name, each in bytes_parts(data).items():
        print(f"| {name}, a byte | {each * 1e6 / len(data):.2f} |")
    arrays = model.model.arrays
    macs = arrays.gates_weight.size + arrays.state_out_weight.size
    macs += arrays.mlp_in_weight.size  # the second product of the MLP is of next to nothing
    rate = macs / parts["products of the layers"] / 1000
    print(f"\nProducts of the layers: {rate:.0f} billion a second.")


if __name__ == "__main__":
    main()
