"""Recovery: a damaged block costs that block only, wherever the damage is; what is lost is said to the byte."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from nncomp.blocks.codec import _encode_lzma
from nncomp.blocks.memory import Memory
from nncomp.errors import MemoryLimitError, ModelError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, FrameWriter, ModelReference, checksum, split
from nncomp.format.numbers import BLOCK_BYTES, MAGIC
from nncomp.network.registry import ModelFile
from nncomp.stream.recovery import Loss, Recovered, recover
from tests.conftest import Run

COUNT = 5  # blocks of the long frame
LAST_BYTES = 3_000_000


def no_model(reference: ModelReference) -> ModelFile:
    raise ModelError("No such model is here.")


@cache
def part(number: int) -> bytes:
    """Return the raw bytes of a block: each another, and quick to code."""
    line = b"block %d, line after line after line\n" % number
    size = LAST_BYTES if number == COUNT - 1 else BLOCK_BYTES
    return (line * (size // len(line) + 1))[:size]


@cache
def long_frame() -> bytes:
    """Return a frame of five blocks: xz, stored, xz, stored, xz."""
    sink = io.BytesIO()
    writer = FrameWriter(sink)
    for i in range(COUNT):
        payload = part(i) if i % 2 else _encode_lzma(part(i)).payload
        writer.write(Block(0 if i % 2 else 1, len(part(i)), payload, checksum(part(i)), i == COUNT - 1))
    return sink.getvalue()


def short_frame(data: bytes) -> bytes:
    sink = io.BytesIO()
    writer = FrameWriter(sink)
    for each, is_last in split(io.BytesIO(data)):
        writer.write(Block(0, len(each), each, checksum(each), is_last))
    return sink.getvalue()


@cache
def places() -> list[tuple[int, int, int]]:
    """Return where each block of the long frame begins, its payload begins, and it ends."""
    found = read_blocks(io.BytesIO(long_frame()))
    return [(f.offset, f.offset + f.header_bytes, f.offset + f.header_bytes + len(f.block.payload)) for f in found]


def recovered(packed: bytes) -> tuple[bytes, Recovered]:
    sink = io.BytesIO()
    result = recover(io.BytesIO(packed), sink, no_model, [], 0, Memory())
    return sink.getvalue(), result


def without(*missing: int) -> bytes:
    """Return the content with zeros for the missing blocks, and nothing for those at the end."""
    parts = [bytes(len(part(i))) if i in missing else part(i) for i in range(COUNT)]
    while parts and len(parts) - 1 in missing:
        parts.pop()
    return b"".join(parts)


def spans(result: Recovered) -> list[tuple[int, int | None]]:
    return [(loss.start, loss.end) for loss in result.lost]


def start(number: int) -> int:
    return number * BLOCK_BYTES


def end(number: int) -> int:
    return start(number) + len(part(number))


def altered(at: int, new: bytes, packed: bytes | None = None) -> bytes:
    packed = packed or long_frame()
    return packed[:at] + new + packed[at + len(new) :]


def test_nothing_is_lost_of_a_whole_file() -> None:
    packed = long_frame() + short_frame(b"more") + short_frame(b"")
    content, result = recovered(packed)
    assert content == without() + b"more"
    assert (result.kept_bytes, result.kept_blocks, result.lost) == (len(content), COUNT + 2, [])


@pytest.mark.parametrize("number", range(COUNT))
def test_a_flipped_bit_in_a_payload_costs_its_block(number: int) -> None:
    _, payload, after = places()[number]
    at = (payload + after) // 2
    content, result = recovered(altered(at, bytes([long_frame()[at] ^ 4])))
    assert content == without(number)
    assert spans(result) == [(start(number), end(number))]
    assert result.kept_blocks == COUNT - 1
    assert result.lost[0].why.endswith("altered.")


@pytest.mark.parametrize("number", range(COUNT))
def test_a_checksum_that_is_damaged_costs_its_block(number: int) -> None:
    content, result = recovered(altered(places()[number][1] - 3, b"\x55\xaa"))
    assert content == without(number)
    assert spans(result) == [(start(number), end(number))]


@pytest.mark.parametrize("number", range(COUNT))
def test_a_kind_or_size_that_is_damaged_is_told_by_the_index(number: int) -> None:
    header, payload, _ = places()[number]
    content, result = recovered(altered(header, b"\x77" * (payload - header - 8)))
    assert (content, result.lost) == (without(), [])


@pytest.mark.parametrize("number", range(COUNT))
def test_without_index_a_damaged_header_costs_its_block(number: int) -> None:
    packed = altered(len(long_frame()) - 30, bytes(30))
    content, result = recovered(altered(places()[number][0], b"\x77" * 17, packed))
    assert content == without(number)
    if number < COUNT - 1:
        assert spans(result) == [(start(number), end(number))]
    else:
        assert spans(result) == [(start(number), None)], "nothing says how long it was"


def test_a_damaged_index_loses_nothing() -> None:
    content, result = recovered(altered(len(long_frame()) - 20, b"\x55" * 9))
    assert (content, result.lost) == (without(), [])


@pytest.mark.parametrize("header", [b"", MAGIC])
def test_a_damaged_frame_header_loses_nothing(header: bytes) -> None:
    for packed in (long_frame(), short_frame(b"alone")):
        whole, _ = recovered(packed)
        content, result = recovered(altered(0, header + b"\x99" * (5 - len(header)), packed))
        assert (content, result.lost) == (whole, [])


@pytest.mark.parametrize("number", range(1, COUNT))
def test_a_truncated_file_keeps_what_is_before(number: int) -> None:
    header, payload, after = places()[number]
    for at in (header, header + 3, payload, (payload + after) // 2):
        content, result = recovered(long_frame()[:at])
        assert content == without(*range(number, COUNT))
        assert result.lost[0].start == start(number)
        assert result.lost[-1].end in (None, end(COUNT - 1))


def test_bytes_that_are_missing_or_too_many_cost_their_block() -> None:
    _, payload, after = places()[2]
    middle = (payload + after) // 2
    for packed in (
        long_frame()[:middle] + long_frame()[middle + 100 :],
        altered(middle, b"")[:middle] + b"?" + long_frame()[middle:],
    ):
        content, result = recovered(packed)
        assert content == without(2)
        assert spans(result) == [(start(2), end(2))]


def test_several_blocks_that_are_cut_out_are_counted_by_the_index() -> None:
    first, last = places()[1][0] + 50, places()[3][1] - 2
    content, result = recovered(long_frame()[:first] + long_frame()[last:])
    assert content == without(1, 2, 3)
    assert spans(result) == [(start(1), end(3))]


def test_several_frames_and_bytes_between_them() -> None:
    packed = short_frame(b"first ") + altered(places()[1][1] + 99, b"\0\0\0") + b"no frame" + short_frame(b"last")
    content, result = recovered(packed)
    assert content == b"first " + without(1) + b"last"
    assert result.lost[0] == Loss(6 + start(1), 6 + end(1), result.lost[0].why)
    assert [loss.end for loss in result.lost[1:]] == [None]


def sized_frame(block_bytes: int) -> tuple[bytes, bytes]:
    """Return a frame of three blocks, two of this size, and its content."""
    parts = [part(i)[:block_bytes].ljust(block_bytes, b"~") for i in (0, 2)] + [part(4).ljust(6_200_000, b".")]
    sink = io.BytesIO()
    writer = FrameWriter(sink, ModelReference(255, bytes(8)))
    for i, data in enumerate(parts):
        writer.write(Block(1, len(data), _encode_lzma(data).payload, checksum(data), i == 2))
    return sink.getvalue(), b"".join(parts)


@pytest.mark.parametrize("block_bytes", [1 << 18, BLOCK_BYTES])
def test_blocks_of_other_sizes_are_found_too(block_bytes: int) -> None:
    packed, data = sized_frame(block_bytes)
    first = next(read_blocks(io.BytesIO(packed)))
    assert recovered(packed)[0] == data
    content, result = recovered(altered(first.offset + 60, b"\x55\xaa", packed))
    assert (content, spans(result)) == (bytes(block_bytes) + data[block_bytes:], [(0, block_bytes)])
    if block_bytes == 1 << 18:  # which size it was nobody can know when the header is gone; the usual one is tried
        return
    for damage in (b"\x99" * 5, MAGIC + b"\x10", MAGIC + b"\x14"):
        content, result = recovered(altered(0, damage, packed))
        assert (content, result.lost) == (data, [])
    for index in (packed, packed[:-9]):
        content, result = recovered(altered(14, b"\x0f", index))
        assert (content, [loss for loss in result.lost if loss.end]) == (data, [])


def test_what_is_no_file_of_ours_gives_nothing() -> None:
    for data in (b"", b"plain text", random.Random(5).randbytes(100_000), bytes(100_000)):
        content, result = recovered(data)
        assert (content, result.kept_blocks) == (b"", 0)


def test_a_model_that_is_missing_is_the_reason() -> None:
    sink = io.BytesIO()
    FrameWriter(sink, ModelReference(255, bytes(8))).write(Block(3, 10, b"1234567", bytes(8), True))
    content, result = recovered(sink.getvalue())
    assert (content, result.lost) == (b"", [Loss(0, 10, "No such model is here.")])


def test_the_limit_on_memory_holds_for_recovery_too() -> None:
    with pytest.raises(MemoryLimitError, match="the limit is 1 MB"):
        recover(io.BytesIO(long_frame()), io.BytesIO(), no_model, [], 0, Memory(1_000_000))


FLAWS: list[Callable[[random.Random, bytes], bytes]] = [
    lambda chance, data: altered(chance.randrange(len(data)), chance.randbytes(chance.choice([1, 512, 4096])), data),
    lambda chance, data: data[: chance.randrange(len(data))],
    lambda chance, data: (lambda at: data[:at] + data[at + chance.randrange(9000) :])(chance.randrange(len(data))),
]


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_leaves_only_right_bytes_in_their_place(seed: int) -> None:
    """Whatever is kept is a block of the content; with one small flaw at most two blocks are lost."""
    chance = random.Random(seed)
    content, result = recovered(FLAWS[seed % 3](chance, long_frame()))
    kept = 0
    for i in range(COUNT):
        here = content[start(i) : end(i)]
        assert here in (part(i), bytes(len(here)))
        kept += here == part(i)
    assert kept == result.kept_blocks
    assert seed % 3 == 1 or kept >= COUNT - 2


def test_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(altered(places()[1][1] + 99, b"\0\0\0"))
    assert run("decompress", "a.nnc").returncode == 1
    assert not (tmp_path / "a").exists()
    result = run("decompress", "--recover", "a.nnc")
    said = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert said[0].startswith("a.nnc: lost from byte 3,670,016 to 7,340,032: ")
    assert said[1].startswith("nncomp: a.nnc: Part of the file is lost. 14,010,048 bytes in 4 blocks are written")
    assert (tmp_path / "a").read_bytes() == without(1)
    (tmp_path / "b.nnc").write_bytes(long_frame())
    result = run("decompress", "--recover", "b.nnc")
    assert (result.returncode, result.stderr) == (0, b"b.nnc: nothing lost, 17,680,064 bytes in 5 blocks\n")
    (tmp_path / "c.nnc").write_bytes(b"nothing of ours")
    result = run("decompress", "--recover", "c.nnc")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"Nothing can be recovered" in result.stderr
    assert not (tmp_path / "c").exists()
    result = run("decompress", "--recover", "-c", "-", stdin=long_frame())
    assert (result.returncode, result.stdout) == (1, b"")
    assert run("decompress", "--recover", "--rm", "b.nnc").returncode == 2
