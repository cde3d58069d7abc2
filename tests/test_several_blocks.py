"""Blocks of small files that are decoded in step: the same bytes as one after another, and no more memory than there is."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import pytest

import nncomp
from nncomp.blocks import several_blocks, token_ways
from nncomp.blocks.codec import Codec
from nncomp.blocks.memory import MB, Memory
from nncomp.blocks.several_blocks import decode_several, is_short
from nncomp.blocks.token_payload import decode_tokens, encode_tokens
from nncomp.errors import FormatError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import Payload, TokensHead
from nncomp.network.engine import Network
from nncomp.network.registry import open_model
from nncomp.network.vocabulary import MAX_TOKEN_BYTES
from nncomp.stream import small_files
from nncomp.stream.small_files import Batch, CompressTask, SmallFile, batches, decompress_task
from nncomp.stream.tasks import codec_of
from tests.golden.models import SMALL, model_bytes
from tests.models import TEXT, coded_model, small_model, two_networks

NETWORKS = {"small": Network(small_model()), "told": Network(coded_model())}
SIZES = 1, MAX_TOKEN_BYTES, 700, 1, 2500, 0, 300, 40, 1100, 5


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_ways, "_LARGE_WEIGHTS", 0)


def payloads(network: Network) -> dict[Payload, bytes]:
    """Return payloads and what they hold."""
    texts = [TEXT[37 * number :][:size] for number, size in enumerate(SIZES) if size]
    return {Payload(encode_tokens(network, text).payload, len(text)): text for text in texts}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("in_hand", [2, 3, 4, 20])
def test_the_same_bytes(name: str, in_hand: int) -> None:
    known = payloads(NETWORKS[name])
    assert decode_several(NETWORKS[name], list(known), in_hand) == known
    assert decode_several(NETWORKS[name], [*known, *known], in_hand) == known
    assert decode_several(NETWORKS[name], [], in_hand) == {}


def test_alone_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, or with a small network, nothing is won; two networks are not decoded so."""
    network = NETWORKS["small"]
    assert decode_several(network, list(payloads(network)), 1) == {}
    both = Network(two_networks())
    assert decode_several(both, list(payloads(both)), 4) == {}
    monkeypatch.setattr(token_ways, "_LARGE_WEIGHTS", 1 << 20)
    assert decode_several(network, list(payloads(network)), 4) == {}


def altered(payload: bytes, random_: random.Random) -> bytes:
    changed = bytearray(payload)
    changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed[: random_.choice((len(changed), -4))])


def test_what_is_wrong_is_left_out_and_harms_no_other() -> None:
    network, random_ = NETWORKS["told"], random.Random(5)
    known = payloads(network)
    for _ in range(12):
        wrong = [Payload(altered(each.data, random_), each.raw_bytes) for each in random_.sample(list(known), 3)]
        wrong += [Payload(each.data, each.raw_bytes + random_.choice((-1, 1, 60))) for each in random_.sample(list(known), 3)]
        mixed = [*known, *wrong]
        random_.shuffle(mixed)
        found = decode_several(network, mixed, 4)
        assert {each: found.get(each) for each in known} == known
        for payload in set(found) - set(known):
            assert decode_tokens(network, *payload) == found[payload]
        for payload in filter(is_short, set(mixed) - set(found)):
            with pytest.raises(FormatError):
                decode_tokens(network, *payload)


def test_which_blocks_are_short() -> None:
    def of(head: TokensHead, raw_bytes: int) -> bool:
        return is_short(Payload(head.pack() + bytes(8), raw_bytes))

    assert of(TokensHead(0, 13), 2000) and of(TokensHead(0, 19, code=3), 1 << 17)
    assert not of(TokensHead(1, 13), 2000), "two lanes"
    assert not of(TokensHead(0, 13, primer=1), 2000)
    assert not of(TokensHead(0, 20), 2000), "tables that no sender makes for so few bytes"
    assert not of(TokensHead(0, 13), (1 << 17) + 1)
    assert not of(TokensHead(0, 13), 0)
    assert not is_short(Payload(b"\0\0\0", 9)) and not is_short(Payload(b"", 9))


def tasks_of(files: list[bytes]) -> list[SmallFile]:
    model = open_model("default")
    found = [decompress_task(data, lambda _: model, Memory()) for data in files]
    return [task for task in found if task]


def test_files_of_a_batch_are_what_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two equal files among them, one that is altered, one of several frames, one of bytes, an empty one."""
    texts = [TEXT[:400], TEXT[300:1500], TEXT[:400], TEXT[100:900], b"", TEXT[:1] * 5000]
    files = [nncomp.compress(text) for text in texts]
    files += [files[0] + files[3], bytes([*files[1][:-9], files[1][-9] ^ 1, *files[1][-8:]])]
    steps: list[int] = []
    go_on = several_blocks._Hand.go_on

    def counted(hand: several_blocks._Hand) -> None:
        steps.append(len(hand.blocks))
        go_on(hand)

    monkeypatch.setattr(several_blocks._Hand, "go_on", counted)
    made = Batch(tasks_of(files)).run()
    assert [each and each.data for each in made] == [*texts, texts[0] + texts[3], None]
    assert max(steps) > 1
    assert [each and each.data for each in made] == [each and each.data for each in (task.run() for task in tasks_of(files))]


def test_nothing_is_decoded_ahead_of_a_single_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Codec, "decode_ahead", lambda *_: pytest.fail("not for one file"))
    (made,) = Batch(tasks_of([nncomp.compress(TEXT[:100])])).run()
    assert made and made.data == TEXT[:100]


def test_what_is_in_hand_fits_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model("default")
    blocks = [found.block for size in (300, 2000) for found in read_blocks(io.BytesIO(nncomp.compress(TEXT[:size])))]
    assert {block.kind for block in blocks} == {BlockKind.TOKENS}
    assert Memory().in_hand(blocks * 2, model, 4) == 4
    assert Memory().in_hand(blocks, model, 4) == 2
    assert Memory().in_hand([], model, 4) == 1
    counts = [Memory(limit * MB).in_hand(blocks * 2, model, 4) for limit in range(250, 500)]
    assert counts == sorted(counts) and set(counts) == {1, 2, 3, 4}
    assert Memory(room_bytes=250 * MB).in_hand(blocks * 2, model, 4) == counts[0]
    for limit in (counts.index(2), counts.index(4)):
        Memory((250 + limit) * MB).check_decoding(blocks[1], model)
    asked: list[int] = []
    monkeypatch.setattr(Codec, "decode_ahead", lambda _, payloads, in_hand: asked.append(in_hand))
    tasks = tasks_of([nncomp.compress(TEXT[:size]) for size in (300, 2000, 1000)])
    Batch([replace(task, memory=Memory((250 + counts.index(2)) * MB)) for task in tasks]).run()
    assert asked == [2]


def test_of_two_models_nothing_is_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process keeps one codec with a model, and that has what was decoded ahead."""
    texts = [TEXT[:400], TEXT[300:1500], TEXT[100:900]]
    files = [nncomp.compress(text, level=level) for text, level in zip(texts, (1, 5, 5), strict=True)]
    models = {open_model(name).hash8: open_model(name) for name in ("default", "fast")}
    tasks = [decompress_task(data, lambda named: models[named.content_hash[:8]], Memory()) for data in files]
    calls: list[int] = []
    monkeypatch.setattr(Codec, "decode_ahead", lambda _, payloads, in_hand: calls.append(len(payloads)))
    made = Batch([task for task in tasks if task]).run()
    assert [each and each.data for each in made] == texts and calls == []
    Batch([task for task in tasks[1:] if task]).run()
    assert calls == [2]


def test_nothing_that_was_decoded_ahead_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    forget = Codec.forget

    def noted(codec: Codec) -> None:
        found.append(len(codec._ahead))
        forget(codec)

    monkeypatch.setattr(Codec, "forget", noted)
    tasks = tasks_of([nncomp.compress(TEXT[:size]) for size in (300, 2000, 1000)])
    Batch(tasks).run()
    assert found == [3] and codec_of(open_model("default"))._ahead == {}


def test_too_little_memory_to_decode_ahead_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Codec, "decode_ahead", fails)
    made = Batch(tasks_of([nncomp.compress(TEXT[:size]) for size in (300, 2000)])).run()
    assert [each and each.data for each in made] == [TEXT[:300], TEXT[:2000]]


def test_a_model_that_is_gone_fails_file_by_file(tmp_path: Path) -> None:
    """Not the whole command: each file then says it by itself."""
    path = tmp_path / "gone.safetensors"
    path.write_bytes(model_bytes(SMALL))
    model = open_model(path)
    packed = [nncomp.compress(TEXT[:size], model=path) for size in (300, 2000)]
    tasks = [decompress_task(data, lambda _: model, Memory()) for data in packed]
    path.unlink()
    codec_of(open_model("default"))  # the process keeps one codec, and it is not the model's
    assert Batch([task for task in tasks if task]).run() == [None, None]


def test_batches_are_small_where_few_files_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(files: int, workers: int, each_bytes: int = 10) -> list[int]:
        waiting = [CompressTask(bytes(each_bytes), Memory()) for _ in range(files)]
        taken = iter(lambda: waiting.pop() if waiting else None, None)
        return [len(batch.files) for batch in batches(taken, lambda: len(waiting), workers)]

    assert sizes(100, 2)[:9] == [8] * 9 and sum(sizes(100, 2)) == 100
    assert sizes(7, 2) == [2, 1, 1, 1, 1, 1]
    assert sizes(3, 2) == [1, 1, 1]
    assert sizes(20, 0) == [7, 5, 3, 2, 1, 1, 1]
    assert sizes(100, 2, 1 << 18)[:5] == [2] * 5
    assert sizes(0, 2) == []
    packed = tasks_of([nncomp.compress(bytes(1 << 19)), nncomp.compress(bytes(1 << 18))])
    assert [each.content_bytes for each in packed] == [1 << 19, 1 << 18]
    assert [len(batch.files) for batch in batches(packed * 2, lambda: 100, 2)] == [1, 2, 1], "of what is claimed"
    monkeypatch.setattr(small_files, "open_files", lambda: 36)
    assert sizes(100, 2)[:5] == [3] * 5
    monkeypatch.setattr(small_files, "open_files", lambda: 3)
    assert sizes(100, 2)[:5] == [1] * 5
