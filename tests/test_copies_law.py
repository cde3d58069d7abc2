"""What a file with copies may not cost: the time and memory of a block follow from the bytes that it gives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from checks.mutations import take_apart
from nncomp.errors import FormatError
from nncomp.format.copies import Copy
from nncomp.format.frames import ModelReference
from nncomp.format.index import Place, locate_blocks, read_index
from nncomp.format.numbers import MAX_COPIES
from nncomp.format.varints import varint
from nncomp.network.registry import ModelFile
from nncomp.stream import assembly, ranges, recovery
from nncomp.stream.history import History
from nncomp.stream.ranges import Literals
from nncomp.stream.tasks import Decoded
from tests.golden.good_files import Piece, frame_of, stored
from tests.golden.models import FOLDER


def no_model(reference: ModelReference) -> ModelFile:
    raise AssertionError(reference)


def test_many_short_copies_take_no_more_than_they_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy is of one byte again and again: no more is made of it than the copy has."""
    made: list[int] = []

    def watched(data: Any) -> memoryview:
        made.append(len(data))
        return memoryview(data)

    monkeypatch.setattr(assembly, "memoryview", watched, raising=False)
    copies = [Copy(1, 32, 1)] + [Copy(0, 32, 1)] * (MAX_COPIES - 1)
    content = b"".join(assembly.put_together(b"a", copies, None))
    assert content == b"a" * (1 + 32 * MAX_COPIES)
    assert sum(made) <= 2 * len(content)


class Watched(list[Place]):
    """Counts how often all of it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[Place]:
        self.times += 1
        return super().__iter__()


def never(place: Place) -> Decoded:
    raise AssertionError(f"the block at {place.offset} is not to be decoded")


def places_of(packed: bytes) -> Watched:
    return Watched(locate_blocks(io.BytesIO(packed)))


def test_the_places_of_literals_are_looked_up_without_going_through_all_blocks() -> None:
    places = places_of((FOLDER / "good/copies-frames.nnc").read_bytes())
    literals = Literals(places, never)
    assert [place.literal_bytes for place in places] == [300, 300, 1, 0, 200, 200]
    before = places.times
    of_second = [literals.numbers(places[4], at, at + 1) for at in (0, 299, 300, 301, 500)]
    assert of_second == [range(1, 2), range(1, 2), range(2, 3), range(4, 5), range(4, 5)]
    assert literals.numbers(places[1], 0, 301) == range(1, 3) and literals.numbers(places[5], 0, 200) == range(5, 6)
    assert places.times == before


def test_blocks_without_literals_are_no_source_of_a_range() -> None:
    """A copy from over many of them, 3,000 times: each of them is looked at once, and none of them is decoded."""
    empty = [(stored, b"", [Copy(0, 32, 1)])] * 2000
    pieces: list[Piece] = [(stored, b"a" * 40, []), *empty, (stored, b"b" * 40, []), (stored, b"", [Copy(0, 60, 70)] * 3000)]
    packed, content = frame_of(pieces)
    places = places_of(packed)
    needed, sources = ranges._needed(io.BytesIO(packed), Literals(places, never), len(content) - 100, len(content))
    assert needed == [0, 2001, 2002] and len(sources) == 2
    spans = {(2, 9), (0, 4), (3, 5), (20, 21)}
    assert list(ranges._within_spans(spans)) == [*range(9), 20]
    sink = io.BytesIO()
    ranges.decompress_range(io.BytesIO(packed), sink, no_model, 0, (len(content) - 100_000, None))
    assert sink.getvalue() == content[-100_000:]


def test_a_range_has_the_blocks_before_a_damaged_list() -> None:
    packed, content = frame_of([(stored, bytes(range(40)), []), (stored, b"b" * 40, [Copy(0, 60, 40)])])
    place = places_of(packed)[1]
    at = packed.index(b"b" * 40, place.offset) - 4  # the count of copies
    assert packed[at] == 1
    for wrong in (0, 2):
        sink = io.BytesIO()
        with pytest.raises(FormatError):
            ranges.decompress_range(io.BytesIO(packed[:at] + bytes([wrong]) + packed[at + 1 :]), sink, no_model, 0, (5, None))
        assert sink.getvalue() == content[5:40]


def test_recovery_takes_a_copy_from_before_the_window_for_lost() -> None:
    """Such a copy is in no right file; it is no bytes of another place, and no error."""
    literals = recovery._Literals()
    literals._history = History(64)
    literals.keep(bytes(range(100)))
    decoded = Decoded(b"new", [Copy(3, 32, 80), Copy(0, 80, 70), Copy(0, 32, 60)])
    parts = [part if isinstance(part, int) else bytes(part) for part in literals.put_together(decoded)]
    joined = b"".join(bytes(part) if isinstance(part, int) else part for part in parts)
    old = bytes(range(100)) + b"new"
    kept = bytes(36) + old[36:]
    assert sum(part for part in parts if isinstance(part, int)) == 13 + 80  # of the second, which is short, all
    assert joined == b"new" + kept[23:55] + bytes(80) + kept[43:75]


def test_a_place_that_is_wrong_is_seen_by_the_index_too() -> None:
    """The footer's digest fits the lie: only the blocks before it tell."""
    (frame,) = take_apart((FOLDER / "good/copies-across.nnc").read_bytes())
    frame.blocks[2].raw_before = varint(691)
    frame.refresh_footer()
    for read in (read_index, locate_blocks):
        with pytest.raises(FormatError, match="another place in the content"):
            read(io.BytesIO(frame.pack()))
