"""Recovery: a damaged block costs that block only, wherever the damage is; what is lost is said to the byte."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nncomp.blocks.memory import Memory
from nncomp.errors import MemoryLimitError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, FrameWriter, ModelReference, checksum
from nncomp.format.numbers import BLOCK_MAGIC, CHECKSUM_BYTES, LAST, MAGIC, BlockKind
from nncomp.format.payloads import BytesHead
from nncomp.format.varints import varint
from nncomp.stream.recovery import Loss, recover
from tests.blocks import frame, lzma_block, stored, stored_block
from tests.conftest import Run
from tests.recovery import BLOCK_BYTES, COUNT, altered, end, long_frame, no_model, part, places, recovered, spans, start, without


def test_nothing_is_lost_of_a_whole_file() -> None:
    packed = long_frame() + stored(b"more") + stored(b"")
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
    packed = altered(len(long_frame()) - 50, bytes(50))
    content, result = recovered(altered(places()[number][0], b"\x77" * 13, packed))
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
    for packed in (long_frame(), stored(b"alone")):
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
        long_frame()[:middle] + long_frame()[middle + 20 :],
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
    packed = stored(b"first ") + altered(places()[1][1] + 99, b"\0\0\0") + b"no frame" + stored(b"last")
    content, result = recovered(packed)
    assert content == b"first " + without(1) + b"last"
    assert result.lost[0] == Loss(6 + start(1), 6 + end(1), result.lost[0].why)
    assert [(loss.end, loss.is_followed) for loss in result.lost[1:]] == [(None, True)]


@pytest.mark.parametrize("number", range(3))
def test_the_magic_of_any_of_several_frames_may_be_damaged(number: int) -> None:
    frames = [stored(b"a small frame"), long_frame(), stored(b"x")]
    at = sum(map(len, frames[:number]))
    content, result = recovered(altered(at, b"\0", b"".join(frames)))
    assert (content, result.lost, result.after) == (b"a small frame" + without() + b"x", [], None)


def test_a_later_frame_without_its_beginning_keeps_its_other_blocks() -> None:
    content, result = recovered(stored(b"first") + altered(0, bytes(places()[0][1])))
    assert content == b"first" + without(0)
    assert spans(result) == [(5, 5 + end(0))]


def test_no_small_frame_is_taken_for_a_part_of_its_neighbours() -> None:
    """A header with a model and a reference would be as long as the first frame and the beginning of the second."""
    packed = stored(b"xy") * 3
    frame_bytes = len(packed) // 3
    for at in range(len(packed)):
        content, result = recovered(altered(at, bytes([packed[at] ^ 0x40]), packed))
        assert content == b"xy" * 3 or result.lost, f"byte {at % frame_bytes} of frame {at // frame_bytes}"


def with_model() -> tuple[bytes, bytes]:
    """Return a frame of three blocks that names a model, and its content."""
    parts = [part(0), part(2)[:700], part(4)]
    content = b"".join(parts)
    return frame([lzma_block(data, i == 2) for i, data in enumerate(parts)], ModelReference(255, bytes(8)), content), content


def test_any_frame_header_may_be_damaged() -> None:
    packed, data = with_model()
    assert recovered(packed)[0] == data
    for damage in (b"\x99" * 5, MAGIC + b"\x10", MAGIC + b"\x14"):
        for index in (packed, packed[:-9]):
            content, result = recovered(altered(0, damage, index))
            assert (content, result.lost) == (data, [])
    content, result = recovered(altered(14, b"\x0f", packed))
    assert (content, result.lost) == (data, [])


def test_a_wrong_place_moves_nothing_that_follows_at_once() -> None:
    """A block's place is not in its checksum. Without an index, only the order of blocks tells."""
    packed = altered(len(long_frame()) - 50, bytes(50))
    place = places()[2][0] + len(BLOCK_MAGIC) + 1
    content, result = recovered(altered(place, b"\x81", packed))
    assert (content, [loss for loss in result.lost if loss.end]) == (without(), [])


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("missing", [(1,), (2,), (1, 2), (3,), (2, 3)])
def test_blocks_that_are_cut_out_as_a_whole_are_lost(missing: tuple[int, ...], index: bool) -> None:
    packed = long_frame() if index else altered(len(long_frame()) - 50, bytes(50))
    content, result = recovered(packed[: places()[missing[0]][0]] + packed[places()[missing[-1]][2] :])
    assert content == without(*missing)
    assert spans(result)[0] == (start(missing[0]), end(missing[-1]))
    assert spans(result)[1:] == ([] if index else [(end(COUNT - 1), None)] * len(result.lost[1:]))


def test_right_blocks_that_are_not_those_of_the_frame_are_told(run: Run, tmp_path: Path) -> None:
    blocks = [part(i)[:1000] for i in range(4)]
    packed = frame([stored_block(data, i == 3) for i, data in enumerate(blocks)], content=b"".join(blocks))
    found = list(read_blocks(io.BytesIO(packed)))
    one, two = (packed[block.offset : block.end] for block in found[1:3])
    other = stored_block(part(4)[:1000], False)
    header = two[: -1000 - CHECKSUM_BYTES] + other.checksum
    whole = stored(b"before") + packed + stored(b"after")
    assert (recovered(whole)[1].mixed, recovered(whole)[1].lost) == ([], [])
    for damaged in (
        whole.replace(one + two, two + one),
        whole.replace(two, two + two),
        whole.replace(two, header + other.payload),
    ):
        result = recovered(damaged)[1]
        assert result.lost or result.mixed
    assert recovered(whole.replace(two, header + other.payload))[1].mixed == [(6, 4006)]
    (tmp_path / "a.nnc").write_bytes(whole.replace(two, header + other.payload))
    told = run("decompress", "--recover", "a.nnc")
    assert told.returncode == 1 and b"from byte 6 to 4,006 each block is right, but" in told.stderr
    assert (tmp_path / "a").stat().st_size == 4011


def test_a_gap_that_cannot_be_so_large_has_no_size() -> None:
    """A block says that 2**62 bytes are missing before it: nobody knows how many are, and nothing so large is made."""
    data = part(0)[:500]
    two = frame([stored_block(data, False), stored_block(data, True)], content=data + data)
    second = list(read_blocks(io.BytesIO(two)))[1]
    header = two[second.offset :][: len(BLOCK_MAGIC) + 1] + 2 * varint(1 << 62) + varint(500) + checksum(data)
    content, result = recovered(two[: second.offset] + b"lost here" + header + data)
    assert content == data + data
    assert spans(result) == [(500, None)]


def test_what_is_no_file_of_ours_gives_nothing() -> None:
    for data in (b"", b"plain text", random.Random(5).randbytes(100_000), bytes(100_000)):
        content, result = recovered(data)
        assert (content, result.kept_blocks) == (b"", 0)


class CountedFile(io.BytesIO):
    """Bytes that count what is read of them, and how often."""

    read_bytes = reads = 0

    def read(self, count: int | None = -1, /) -> bytes:
        data = super().read(count)
        self.reads += 1
        self.read_bytes += len(data)
        return data


def frames_with_bytes_between(count: int) -> bytes:
    return (stored(part(0)[:5000]) + b"?") * count


def frame_with_damaged_headers(count: int) -> bytes:
    data = part(0)[:9000]
    packed = frame([stored_block(data, i == count - 1) for i in range(count)], content=data * count)
    found = list(read_blocks(io.BytesIO(packed)))
    for block in found[1::2]:
        packed = altered(block.offset, bytes(5), packed)
    return packed[: found[-1].offset]


@pytest.mark.parametrize("many", [frames_with_bytes_between, frame_with_damaged_headers])
def test_damage_in_many_places_takes_time_by_the_size_of_the_file(many: Callable[[int], bytes]) -> None:
    read: list[int] = []
    for count in (25, 200):
        file = CountedFile(many(count))
        result = recover(file, io.BytesIO(), no_model, [], 0, Memory())
        assert result.kept_blocks == (count if many == frames_with_bytes_between else count // 2)
        read.append(file.read_bytes)
    assert read[1] < 16 * read[0], "eight times as many; the square would be 64 times"


def test_text_after_a_frame_is_not_read_as_an_index_of_many_blocks() -> None:
    file = CountedFile(stored(b"a frame") + b"?" + varint(30_000) + b"and text, no index" * 20_000)
    assert recover(file, io.BytesIO(), no_model, [], 0, Memory()).kept_bytes == 7
    assert file.reads < 1000


def test_a_model_that_is_missing_is_the_reason() -> None:
    sink = io.BytesIO()
    FrameWriter(sink, ModelReference(255, bytes(8))).write(Block(3, 10, b"1234567", bytes(8), True))
    content, result = recovered(sink.getvalue())
    assert (content, result.lost) == (b"", [Loss(0, 10, "No such model is here.")])


def test_the_limit_on_memory_holds_for_recovery_too() -> None:
    with pytest.raises(MemoryLimitError, match="the limit is 1 MB"):
        recover(io.BytesIO(long_frame()), io.BytesIO(), no_model, [], 0, Memory(1_000_000))


def test_what_may_be_a_large_block_is_lost_with_the_reason() -> None:
    """The limit is enough for stored blocks. Something in the damage looks like a block of bytes."""
    packed = frame([stored_block(part(0), False), stored_block(part(1), True)], content=part(0) + part(1))
    second = list(read_blocks(io.BytesIO(packed)))[1].offset
    head = bytes([LAST | BlockKind.BYTES]) + 2 * varint(BLOCK_BYTES) + varint(9) + varint(5) + bytes(CHECKSUM_BYTES)
    damaged = packed[:second] + b"?" + BLOCK_MAGIC + head + BytesHead(26).pack() + b"word" + b"more"
    sink = io.BytesIO()
    result = recover(io.BytesIO(damaged), sink, no_model, [], 0, Memory(180_000_000))
    assert (sink.getvalue(), spans(result)) == (part(0), [(BLOCK_BYTES, None)])
    assert "the limit is 180 MB" in result.lost[0].why


def test_the_rest_of_another_frame_is_not_taken_for_a_damaged_index() -> None:
    packed = long_frame()
    footer_bytes = len(packed) - places()[-1][2]
    cut = packed[: places()[-1][2] + 5]
    assert recovered(cut + bytes(footer_bytes - 5))[1].lost == []
    content, result = recovered(cut + stored(b"another frame, and its end alone is left")[-footer_bytes + 4 :])
    assert (content, spans(result)) == (without(), [(end(COUNT - 1), None)])


def test_a_wrong_size_that_reaches_into_the_next_frame_hides_nothing_of_it() -> None:
    packed = stored(bytes(60)) + long_frame()
    content, result = recovered(altered(packed.index(varint(60)), varint(61), packed))
    assert (content, spans(result)) == (without(), [(0, None)])


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


@pytest.mark.parametrize(
    ("before", "between", "after", "at"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", b"", b"", [0]), (b"", b"xx", b"", [5]), (b"xx", b"xx", b"xx", [0, 5, 9])],
)
def test_bytes_around_frames_may_be_no_loss(
    run: Run, tmp_path: Path, before: bytes, between: bytes, after: bytes, at: list[int]
) -> None:
    """Whether they were a frame nobody knows, and all that follows is there."""
    packed = before + stored(b"first") + between + stored(b"last") + after
    assert [(loss.end, loss.is_sure) for loss in recovered(packed)[1].lost] == [(None, False)] * len(at)
    (tmp_path / "a.nnc").write_bytes(packed)
    result = run("decompress", "--recover", "a.nnc")
    assert (result.returncode, (tmp_path / "a").read_bytes()) == (1, b"firstlast")
    said = "an unknown number of bytes may be lost: What is there in the file is no part of a frame, or it is damaged."
    assert result.stderr.decode().splitlines() == [
        *(f"a.nnc: at byte {place} {said}" for place in at),
        "nncomp: a.nnc: Part of the file may be lost. 9 bytes in 2 blocks are written.",
    ]


def test_a_last_frame_that_is_cut_is_a_sure_loss() -> None:
    """Its header is right, and none of its blocks is there."""
    (loss,) = recovered(stored(b"first") + stored(b"last")[:-2])[1].lost
    assert (loss.start, loss.end, loss.is_sure, loss.is_followed) == (5, None, True, False)


def test_a_frame_without_its_end_before_another_is_a_sure_loss(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(long_frame()[: places()[2][0]] + stored(b"last"))
    result = run("decompress", "--recover", "a.nnc")
    assert (result.returncode, (tmp_path / "a").read_bytes()) == (1, part(0) + part(1) + b"last")
    assert result.stderr.decode().splitlines() == [
        "a.nnc: at byte 80,000 an unknown number of bytes is lost: The rest of its frame is not there.",
        "nncomp: a.nnc: Part of the file is lost. 80,004 bytes in 3 blocks are written, "
        "with zeros in place of lost bytes between them.",
    ]


def test_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(altered(places()[1][1] + 99, b"\0\0\0"))
    assert run("decompress", "a.nnc").returncode == 1
    assert not (tmp_path / "a").exists()
    result = run("decompress", "--recover", "a.nnc")
    said = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert said[0].startswith("a.nnc: lost from byte 40,000 to 80,000: ")
    assert said[1].startswith("nncomp: a.nnc: Part of the file is lost. 150,000 bytes in 4 blocks are written")
    assert (tmp_path / "a").read_bytes() == without(1)
    (tmp_path / "b.nnc").write_bytes(long_frame())
    result = run("decompress", "--recover", "b.nnc")
    assert (result.returncode, result.stderr) == (0, b"b.nnc: nothing lost, 190,000 bytes in 5 blocks\n")
    (tmp_path / "c.nnc").write_bytes(b"nothing of ours")
    result = run("decompress", "--recover", "c.nnc")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"Nothing can be recovered" in result.stderr
    assert not (tmp_path / "c").exists()
    result = run("decompress", "--recover", "-c", "-", stdin=long_frame())
    assert (result.returncode, result.stdout) == (1, b"")
    assert run("decompress", "--recover", "--rm", "b.nnc").returncode == 2
