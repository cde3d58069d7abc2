"""Estimates of entropy where the truth is known, and what the experiments of the paper measure with.

That a code pays where it can: tests/test_code_training.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.paper import synthetic
from benchmarks.paper.coded_network import CodedNetwork, coded
from benchmarks.paper.runner import NoisyEncoder, Text, block_bits, new_small_encoder
from benchmarks.paper.sources import Letters, measure_letters
from benchmarks.paper.tables import DOCUMENT, filled
from benchmarks.paper.transformer import Transformer
from nncomp.training.float_network import FloatNetwork
from tests.models import SHAPE


def test_truth_of_sources() -> None:
    """The closed forms are those of simple cases, and what samples come to."""
    even = synthetic.Markov(np.full((4, 4, 4), 1 / 4))
    assert even.rate_bits == pytest.approx(2)
    certain = synthetic.Markov(np.broadcast_to(np.eye(4)[:, None, :], (4, 4, 4)).copy())  # each letter is that two before
    assert certain.rate_bits == pytest.approx(0)
    assert certain.corrupted(0.2).rate_bits == pytest.approx(synthetic.repeated_rate_bits(4, 0.2))
    source, random = synthetic.random_markov(5, 0.3, 0), np.random.default_rng(0)
    assert source.surprisal_bits(source.sample(50_000, random)).mean() == pytest.approx(source.rate_bits, rel=0.02)
    hidden = synthetic.random_topics(8, 32, 0.1, 0)
    topics, drawn = hidden.sample(300, 128, random)
    told, untold = (hidden.told_bits(topics, drawn) + 3).mean(), hidden.untold_bits(drawn, 1).mean()
    assert untold == pytest.approx(told, abs=0.1), "long enough to tell the topic: nothing is gained in one lane"
    assert hidden.untold_bits(drawn, 4).mean() == pytest.approx(told + 3 * 3, rel=0.02), "each further lane finds it out anew"


def test_an_estimate_is_within_3_percent_of_the_truth() -> None:
    source, random = synthetic.random_markov(4, 1.0, 1), np.random.default_rng(1)
    learned, held_out = source.sample(200_000, random), source.sample(60_000, random)
    letters = Letters(learned, held_out, source.rate_bits, source.surprisal_bits(held_out))
    found = measure_letters(letters, 200_000, 0)
    for name in ("network", "bound"):
        assert found["sample"] < found[name] < 1.03 * found["truth"], name
    assert found["correlation"] ** 2 > 0.9, "of each letter, not only of the mean"


def text_of(count: int, blocks: int) -> Text:
    ids = np.random.default_rng(0).integers(SHAPE.vocab_size, size=count).astype(np.uint16)
    return Text(ids, np.arange(1, blocks + 1) * (count // blocks), count)


@pytest.mark.parametrize("kind", [FloatNetwork, Transformer])
def test_bits_of_blocks_are_those_of_lanes_one_by_one(kind: type[FloatNetwork]) -> None:
    """However blocks are batched; chunks of a lane go on from each other; a transformer remembers the chunk before."""
    torch.manual_seed(0)
    model, text = kind(SHAPE), text_of(2400, 4)
    found = block_bits(model, None, text, 2).net
    for i, bits in enumerate(found):
        lanes = [Text(text.ids[600 * i + at : 600 * i + at + 300], np.array([300]), 300) for at in (0, 300)]
        assert sum(float(block_bits(model, None, lane, 1).net[0]) for lane in lanes) == pytest.approx(bits, rel=1e-3)
    whole, prefixed = block_bits(model, None, text, 1).net, block_bits(model, None, text, 1, prefix=100).net
    assert prefixed == pytest.approx(whole, rel=0.02)
    assert (prefixed != whole).all()


def test_a_transformer_sees_what_was_before_and_not_what_comes() -> None:
    torch.manual_seed(0)
    model = Transformer(SHAPE, memory=8)
    ids = torch.randint(SHAPE.vocab_size, (24, 1))
    with torch.no_grad():
        whole, _ = model.hidden(ids, model.initial_state(1))
        state, parts = model.initial_state(1), []
        for start in range(0, 24, 6):  # in chunks: the same, for each sees itself and the 8 before it
            part, state = model.hidden(ids[start : start + 6], state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4)
        changed = ids.clone()
        changed[12] = (ids[12] + 1) % SHAPE.vocab_size
        other, _ = model.hidden(changed, model.initial_state(1))
    assert torch.equal(other[:12], whole[:12])
    assert not torch.allclose(other[12:20], whole[12:20])


def test_rounding_learned_from_noise_sends_what_is_nearest() -> None:
    """In training the place moves by up to half a level and carries a gradient; what is sent does not move."""
    model = CodedNetwork(coded(SHAPE, 3, 5))
    encoder = new_small_encoder(model, 0, NoisyEncoder)
    ids = torch.randint(SHAPE.vocab_size, (6, 40), generator=torch.Generator().manual_seed(0))
    for _ in range(50):
        encoder(ids)  # the running mean and deviation settle
    told, places = encoder(ids), torch.arange(5.0)
    torch.testing.assert_close(told.sum(-1), torch.ones(6, 3))
    encoder.eval()
    still = encoder.position(ids)
    moved = (told * places).sum(-1)
    assert ((moved - still).abs() < 0.51).all() and ((moved - still).abs() > 0.01).any()
    assert not torch.equal(encoder(ids), encoder(ids)), "drawn anew each time"
    told.square().sum().backward()
    assert encoder.code_out.weight.grad is not None and encoder.code_out.weight.grad.abs().sum() > 0
    assert torch.equal(encoder.digits(ids), (still + 0.5).floor().long())
    plain = new_small_encoder(model, 0)
    plain.load_state_dict(encoder.state_dict())
    plain.eval()
    assert torch.equal(plain.digits(ids), encoder.digits(ids))


def test_the_figures_of_the_document_are_those_of_the_results() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text) == text, "python -m benchmarks.paper.tables"
