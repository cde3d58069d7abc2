"""What a claim of size is checked against before any work: the words there are, and what they can hold at most."""

from __future__ import annotations

import io

import numpy as np
import pytest

from nncomp import range_coder
from nncomp.blocks.codec import Codec
from nncomp.errors import FormatError
from nncomp.format import index
from nncomp.format.frames import Block, FrameWriter, checksum
from nncomp.format.numbers import MAX_LITERAL_BYTES, BlockKind
from nncomp.network.registry import installed_model


def test_no_decisions_are_cheaper_than_the_bound_says() -> None:
    """The likeliest decisions there can be, as many as the bound allows for their words: the bound is met, and closely."""
    count = 3_000_000
    for p1, bit in ((65535, 1), (1, 0)):
        words = range_coder.encode(np.full(count, bit, np.uint8), np.full(count, p1, np.uint16))
        range_coder.check_claim(words, count)
        with pytest.raises(FormatError, match="claims more than"):
            range_coder.check_claim(words[: len(words) - 2], count)


@pytest.mark.parametrize("kind", [BlockKind.BYTES, BlockKind.TOKENS])
def test_a_claim_that_no_words_could_hold_is_refused_at_once(kind: BlockKind) -> None:
    model = installed_model("default")
    if kind == BlockKind.TOKENS and model is None:
        pytest.skip("no shipped model")
    payload = b"\x1a" + bytes(4 * 4) if kind == BlockKind.BYTES else b"\x00\x08\x00" + bytes(4)
    codec = Codec(model)
    with pytest.raises(FormatError, match="claims more than"):
        codec.decode_block(kind, payload, MAX_LITERAL_BYTES)


def frame_of(parts: list[bytes]) -> bytes:
    sink = io.BytesIO()
    writer = FrameWriter(sink)
    for i, part in enumerate(parts):
        writer.write(Block(0, len(part), part, checksum(part), i == len(parts) - 1), checksum(b"".join(parts)))
    return sink.getvalue()


def test_blocks_that_are_exchanged_are_seen_by_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stored blocks of one size, in each other's place: only the index's digest tells."""
    parts = [bytes([i]) * 1000 for i in (1, 2)] + [b"3" * 3000]
    packed, exchanged = frame_of(parts), frame_of([parts[1], parts[0], parts[2]])
    footer_bytes = int.from_bytes(packed[-4:], "little")
    altered = exchanged[:-footer_bytes] + packed[-footer_bytes:]
    assert len(index.read_index(io.BytesIO(packed))) == 3
    with pytest.raises(FormatError, match="does not describe"):
        index.read_index(io.BytesIO(altered))
    with pytest.raises(FormatError, match="does not describe"):
        index.locate_blocks(io.BytesIO(altered))

    # What is no file of this machine: its blocks' headers are not read beforehand.
    monkeypatch.setattr(index, "_jumps_are_cheap", lambda stream: False)
    places = index.read_index(io.BytesIO(altered))
    assert index.read_block(io.BytesIO(altered), places[2]).payload == parts[2]
