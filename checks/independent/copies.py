"""*Copies*: the list of a block's copies, and literals and copies to the block's bytes."""

from __future__ import annotations

from checks.independent.layout import Bytes
from checks.independent.refused import demand

LEAST_BYTES = 32
MOST_COPIES = 65_536

Copy = tuple[int, int, int]  # literals before it since the last copy, length, the place of its source in the frame's literals


def parse_list(data: bytes, literal_bytes: int, copied_bytes: int, before: int) -> list[Copy]:
    """Return the copies of a list, of a block before which the frame has so many literals."""
    source = Bytes(data)
    count = source.varint()
    demand(1 <= count <= MOST_COPIES, "no copies, or too many")
    runs = [source.varint() for _ in range(count)]
    lengths = [source.varint() + LEAST_BYTES for _ in range(count)]
    steps = [source.varint() for _ in range(count)]
    demand(source.position == len(data), "a list that goes on after its end")
    demand(sum(runs) <= literal_bytes, "runs of more literals than there are")
    demand(sum(lengths) == copied_bytes, "copies of another length than the block says")
    copies = []
    at = before
    for run, length, step in zip(runs, lengths, steps, strict=True):
        at += run + (step // 2 if step % 2 == 0 else -(step + 1) // 2)
        copies.append((run, length, at))
        at += length
    return copies


def put_together(earlier: bytes, literals: bytes, copies: list[Copy], window_bytes: int, reference: bytes = b"") -> bytes:
    """Return the bytes of a block; `earlier` are the frame's literals before it, `window_bytes` is 0 for the only block."""
    text = earlier + literals
    place = len(earlier)
    raw = bytearray()
    for run, length, source in copies:
        raw += text[place : place + run]
        place += run
        if source < 0 and reference:
            demand(-source <= len(reference) and source + length <= 0, "a copy that is not within the reference")
            first = len(reference) + source
            raw += reference[first : first + length]
            continue
        demand(source >= 0, "a copy from before the beginning")
        demand(source < place, "a copy from what comes after it")
        demand(window_bytes == 0 or place - source <= window_bytes, "a copy from before the window")
        unit = text[source : min(place, source + length)]
        raw += (unit * (length // len(unit) + 1))[:length]
    return bytes(raw + text[place:])
