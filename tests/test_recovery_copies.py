"""Recovery of blocks with copies: what was copied from a lost block is lost, and nothing else moves."""

from __future__ import annotations

import io
import random

import pytest

from nncomp import decompress
from nncomp.format.copies import Copy, pack_copies
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, CopyList, block_checksum
from nncomp.format.numbers import BlockKind
from nncomp.format.varints import varint
from nncomp.stream.recovery import Recovered
from tests.blocks import frame, stored_block
from tests.recovery import altered, part, recovered, spans


def copying_frame() -> tuple[bytes, bytes]:
    """Return a frame of four blocks, the last two with copies: of the first, of the second, of both and of their own literals."""
    literals = [part(i)[:1000] for i in range(4)]
    third = [Copy(300, 100, 2300), Copy(0, 200, 1350), Copy(100, 64, 10)]  # of 0, of 0 and 1, of its own
    fourth = [Copy(500, 1000, 2500), Copy(1, 5000, 500)]  # of 1, and again and again of its own
    raw = [literals[0], literals[1]]
    history = literals[0] + literals[1]
    for data, copies in ((literals[2], third), (literals[3], fourth)):
        out = bytearray()
        at = 0
        for run, length, distance in copies:
            out += data[at : at + run]
            history += data[at : at + run]
            at += run
            source = history[len(history) - distance :]
            out += (source * (length // distance + 1))[:length]
        out += data[at:]
        history += data[at:]
        raw.append(bytes(out))
    blocks = [stored_block(literals[0], False), stored_block(literals[1], False)]
    for data, copies in ((literals[2], third), (literals[3], fourth)):
        listed = pack_copies(copies)
        copy_list = CopyList(BlockKind.STORED, sum(copy.length for copy in copies), len(listed), listed)
        blocks.append(Block(0, 1000, data, block_checksum(listed, data), copies is fourth, copy_list))
    return frame(blocks, content=b"".join(raw)), b"".join(raw)


def test_a_lost_block_takes_with_it_what_was_copied_from_it_and_nothing_else() -> None:
    packed, data = copying_frame()
    assert decompress(packed) == data
    assert recovered(packed) == (data, Recovered(len(data), 4, []))
    blocks = list(read_blocks(io.BytesIO(packed)))
    copied = {0: [(2300, 2450)], 1: [(2450, 2600), (3864, 4864)], 2: []}  # bytes of the content that are copies of each block
    ends = [1000, 2000, 3364]
    for number, found in enumerate(blocks[:3]):
        content, result = recovered(altered(found.end - 50, b"\x55\xaa", packed))
        expected = [(ends[number] - found.block.raw_bytes, ends[number]), *copied[number]]
        assert spans(result) == expected
        kept = bytearray(data)
        for first, last in expected:
            kept[first:last] = bytes(last - first)
        assert content == bytes(kept)
        assert {loss.why for loss in result.lost[1:]} <= {"It is a copy of bytes that are lost."}
        assert result.kept_blocks == 3


def test_a_wrong_size_of_copies_is_told_by_the_index() -> None:
    packed, data = copying_frame()
    third = list(read_blocks(io.BytesIO(packed)))[2]
    place = packed.index(varint(364), third.offset)  # what its copies make
    content, result = recovered(altered(place, varint(365), packed))
    assert (content, result.lost) == (data, [])


def test_a_wrong_size_of_copies_is_told_by_the_list_where_there_is_no_index() -> None:
    data = part(0)[:500]
    listed = pack_copies([Copy(300, 1000, 200)])
    copy_list = CopyList(BlockKind.STORED, 1000, len(listed), listed)
    packed = frame([Block(0, 500, data, block_checksum(listed, data), True, copy_list)])
    content = decompress(packed)
    for size in (1001, 999, 999 | 1 << 13):
        found, result = recovered(altered(packed.index(varint(1000)), varint(size), packed))
        assert (found, result.lost) == (content, [])
    packed, content = copying_frame()
    third = list(read_blocks(io.BytesIO(packed)))[2]
    place = packed.index(varint(364), third.offset)
    found, result = recovered(altered(place, varint(365), packed[:-1]))
    assert (found, result.lost) == (content, [])


def test_a_long_period_that_is_lost_in_part_is_lost_there_each_time() -> None:
    """A copy of 7,000 bytes again and again, the first 1,000 of which are of a lost block."""
    first, second = (random.Random(seed).randbytes(size) for seed, size in ((1, 5000), (2, 6000)))
    unit = first[-1000:] + second
    data = first + second + (unit * 3)[:15_000]
    listed = pack_copies([Copy(6000, 15_000, 7000)])
    copy_list = CopyList(BlockKind.STORED, 15_000, len(listed), listed)
    blocks = [stored_block(first, False), Block(0, 6000, second, block_checksum(listed, second), True, copy_list)]
    packed = frame(blocks, content=data)
    assert decompress(packed) == data
    content, result = recovered(altered(1000, b"\x55\xaa", packed))
    assert spans(result) == [(0, 5000), (11_000, 12_000), (18_000, 19_000), (25_000, 26_000)]
    kept = bytearray(data)
    for begin, stop in spans(result):
        assert stop is not None
        kept[begin:stop] = bytes(stop - begin)
    assert content == bytes(kept[:25_000])


@pytest.mark.parametrize("wrong", [999, 1001])
def test_a_wrong_size_of_copies_moves_no_lost_range(wrong: int) -> None:
    literals = [part(i)[:1000] for i in range(5)]
    listed = pack_copies([Copy(300, 1000, 200)])
    copying = Block(0, 1000, literals[1], block_checksum(listed, literals[1]), False, CopyList(0, 1000, len(listed), listed))
    blocks = [copying if i == 1 else stored_block(data, i == 4) for i, data in enumerate(literals)]
    content = literals[0] + literals[1][:300] + literals[1][100:300] * 5 + literals[1][300:] + b"".join(literals[2:])
    packed = frame(blocks, content=content)
    assert decompress(packed) == content
    places = [found.offset for found in read_blocks(io.BytesIO(packed))]
    damaged = altered(packed.index(varint(1000) + varint(len(listed)), places[1]), varint(wrong), packed[:-1])
    found, result = recovered(altered(places[3], bytes(20), damaged))
    assert (found, spans(result)) == (content[:4000] + bytes(1000) + content[5000:], [(4000, 5000)])


def test_a_copy_of_a_block_that_is_cut_out_is_lost() -> None:
    packed, data = copying_frame()
    second, third = list(read_blocks(io.BytesIO(packed)))[1:3]
    content, result = recovered(packed[: second.offset] + packed[third.offset :])
    assert spans(result) == [(1000, 2000), (2450, 2600), (3864, 4864)]
    kept = bytearray(data)
    for begin, stop in spans(result):
        assert stop is not None
        kept[begin:stop] = bytes(stop - begin)
    assert content == bytes(kept)
