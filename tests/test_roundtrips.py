"""A few of the generated round trips on each run; an input is the same each time; and what is repeated is coded once."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from checks import roundtrips
from checks.hostile import finder
from nncomp.blocks import codec
from nncomp.blocks.codec import Codec
from nncomp.network.registry import installed_model
from nncomp.stream import pipeline, tasks
from nncomp.stream.tasks import Coding
from tests.conftest import environment


@pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")
def test_generated_inputs_come_back() -> None:
    assert roundtrips.run(33, first=10_000).total() == 33


def test_an_input_is_the_same_each_time() -> None:
    assert [roundtrips.generate(i) for i in range(30)] == [roundtrips.generate(i) for i in range(30)]
    kind, data = roundtrips.generate(roundtrips.EDGE_EVERY - 1)
    assert (kind, len(data)) == ("edge of a block", roundtrips.EDGES[0])
    kind, data = roundtrips.generate(roundtrips.COPIED_EVERY - 1)
    assert kind == "copies" and len(data) > 400_000


def test_a_trip_notices_another_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Codec.decode_block
    monkeypatch.setattr(Codec, "decode_block", lambda *given: decode(*given)[:-1] + b"?")
    monkeypatch.setattr(tasks, "verify_block", lambda copy_list, literals, expected: None)
    tasks._codec_without.cache_clear()
    with pytest.raises(AssertionError, match="does not come back"):
        roundtrips.trip(0, b"a text, a text", [None])


def test_what_is_repeated_is_coded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 MB, the same 200,000 bytes again and again: the literals are little more than these."""
    coded: list[int] = []
    encode = Codec.encode_block

    def watched(self: Codec, data: bytes, threads: int, primer: bytes) -> codec.CodedBlock:
        coded.append(len(data))
        return encode(self, data, threads, primer)

    monkeypatch.setattr(Codec, "encode_block", watched)
    data = random.Random(1).randbytes(200_000) * 40
    sink, back = io.BytesIO(), io.BytesIO()
    pipeline.compress(io.BytesIO(data), sink, Coding(), 0)
    pipeline.decompress(io.BytesIO(sink.getvalue()), back, finder({}), 0)
    assert back.getvalue() == data
    assert len(coded) == 1 and coded[0] < 210_000
    assert len(sink.getvalue()) < 210_100


@pytest.mark.slow
@pytest.mark.skipif("NNCOMP_FULL" not in os.environ, reason="takes minutes; set NNCOMP_FULL=1")
def test_five_gigabytes_through_pipes(tmp_path: Path) -> None:
    """Text that repeats itself, more than 4 GiB, with no file of its size anywhere; 80 blocks and an index."""
    nncomp = f"{sys.executable} -m nncomp -q"
    text = "yes | head -c 5368709120"
    script = f"set -o pipefail; {text} | {nncomp} --model none > t.nnc && {nncomp} -d -c t.nnc | cmp - <({text})"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment(), check=True, timeout=3600)
    assert (tmp_path / "t.nnc").stat().st_size < 1_000_000
