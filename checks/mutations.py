"""Files changed on purpose: cut, flipped, spliced, and with a lie in any field of the layout. The same for the same seed."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from nncomp.format.frame_reader import read_blocks
from nncomp.format.varints import varint

_SIZES = [0, 1, 2, 7, 8, 127, 128, 255, 256, 16_383, 16_384, 1 << 20, (1 << 21) - 1, 1 << 21, 4 << 20, (4 << 20) + 1]
_SIZES += [(6 << 20) - 1, 6 << 20, (1 << 31) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, 1 << 70]
_BYTES = [0, 1, 2, 3, 4, 0x0F, 0x10, 0x1A, 0x7F, 0x80, 0x81, 0xFE, 0xFF]


def size_lie(chance: random.Random, truth: int) -> int:
    """Return a size that is often not the true one: near it, or one of those where something changes."""
    near = max(0, truth + chance.choice([-100, -8, -4, -2, -1, 1, 2, 4, 8, 100]))
    return chance.choice([near, near, chance.choice(_SIZES), chance.randrange(2 * truth + 2)])


@dataclass
class Frame:
    """A frame in parts: the header, [first byte, raw size, payload size, checksum, payload] of each block, the footer."""

    header: bytes
    blocks: list[list[bytes]] = field(default_factory=list)
    footer: list[bytes] = field(default_factory=list)  # total, count, an entry a block, digest, size

    def refresh_footer(self) -> None:
        """Let digest and size of the footer fit the rest: a lie that a checksum does not find."""
        if self.footer:
            index = b"".join(self.footer[:-2])
            headers = b"".join(b"".join(block[:4]) for block in self.blocks)
            digest = hashlib.blake2b(self.header + headers + index, digest_size=8).digest()
            self.footer[-2:] = [digest, (len(index) + 12).to_bytes(4, "little")]

    def pack(self) -> bytes:
        return self.header + b"".join(b"".join(block) for block in self.blocks) + b"".join(self.footer)


def take_apart(data: bytes) -> list[Frame]:
    """Return the frames of a good file in parts."""
    frames: list[Frame] = []
    entries: list[bytes] = []
    raw_bytes = 0
    at = 0
    for found in read_blocks(io.BytesIO(data)):
        block = found.block
        if found.number == 0:
            frames.append(Frame(data[at : found.offset]))
            entries, raw_bytes = [], 0
        raw = varint(block.raw_bytes) if block.is_last else b""
        size = varint(len(block.payload)) if block.kind else b""
        frames[-1].blocks.append([data[found.offset : found.offset + 1], raw, size, block.checksum, block.payload])
        entries.append(varint(len(block.payload) << 3 | block.kind))
        raw_bytes += block.raw_bytes
        at = found.offset + found.header_bytes + len(block.payload)
        if block.is_last and found.number:
            index = [varint(raw_bytes), varint(found.number + 1), *entries]
            frames[-1].footer = [*index, b"", b""]
            frames[-1].refresh_footer()
            at += sum(map(len, frames[-1].footer))
    assert b"".join(frame.pack() for frame in frames) == data
    return frames


Mutate = Callable[[random.Random, Sequence[bytes]], bytes]


def cut(chance: random.Random, files: Sequence[bytes]) -> bytes:
    data = chance.choice(files)
    return data[: chance.randrange(len(data))]


def flip(chance: random.Random, files: Sequence[bytes]) -> bytes:
    data = bytearray(chance.choice(files))
    span = len(data) if chance.random() < 0.5 else min(len(data), 40)  # the headers are at the front
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        data[chance.randrange(span)] ^= 1 << chance.randrange(8)
    return bytes(data)


def put(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Put bytes that often mean something in place of some bytes."""
    data = chance.choice(files)
    at = chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 40))
    new = bytes(chance.choice(_BYTES) for _ in range(chance.randrange(5)))
    return data[:at] + new + data[at + chance.choice([len(new), len(new), 0, 1, 4]) :]


def splice(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Begin as one file and go on as another, or with a part of another in the middle."""
    one, other = chance.choice(files), chance.choice(files)
    at, start = chance.randrange(len(one) + 1), chance.randrange(len(other))
    end = chance.choice([len(other), chance.randrange(start, len(other) + 1)])
    return one[:at] + other[start:end] + chance.choice([b"", one[at:], one[at + end - start :]])


def repeat(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Repeat or leave out a span."""
    data = chance.choice(files)
    start = chance.randrange(len(data))
    end = chance.randrange(start, min(len(data), start + 64) + 1)
    return data[:start] + data[start:end] * chance.choice([0, 2, 3]) + data[end:]


def join(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Put whole files one after another, with or without bytes between them that belong to none."""
    between = chance.choice([b"", b"", b"\0", b"\n", b"\xd6\x1b"])
    return between.join(chance.choice(files) for _ in range(chance.choice([1, 2, 3]))) + chance.choice([b"", between])


def lie(chance: random.Random, files: Sequence[bytes]) -> bytes:
    """Let a field of the layout say what is not so; the digest of the footer may be made to agree."""
    frames = take_apart(chance.choice(files))
    for _ in range(chance.choice([1, 1, 2])):
        frame = chance.choice(frames)
        block = chance.choice(frame.blocks)
        chance.choice(_LIES)(chance, frame, block)
    for frame in frames:
        if chance.random() < 0.7:
            frame.refresh_footer()
    return b"".join(frame.pack() for frame in frames)


def _lie_header(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    at = chance.randrange(len(frame.header))
    frame.header = frame.header[:at] + bytes([chance.choice([*_BYTES, chance.randrange(256)])]) + frame.header[at + 1 :]


def _lie_kind(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    block[0] = bytes([chance.choice([chance.randrange(4), chance.randrange(256)]) | (block[0][0] & 0x80)])


def _lie_last(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    block[0] = bytes([block[0][0] ^ 0x80])


def _lie_raw(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    truth = int.from_bytes(block[1], "little") if len(block[1]) == 1 else 2000
    block[1] = varint(size_lie(chance, truth))


def _lie_payload_size(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    block[2] = varint(size_lie(chance, len(block[4])))


def _lie_form(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    """Write a size in a longer form, or without an end."""
    which = chance.choice([1, 2])
    if block[which]:
        longer = block[which][:-1] + bytes([block[which][-1] | 0x80]) + b"\x80" * chance.choice([0, 1, 9, 60])
        block[which] = longer + chance.choice([b"\0", b"\x01", b""])


def _lie_checksum(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    block[3] = chance.choice([bytes(8), chance.randbytes(8), hashlib.blake2b(block[4], digest_size=8).digest()])


def _lie_payload(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    """Change what the payload says of itself (its first bytes), or its length, with a size that agrees."""
    head = bytes(chance.choice([*_BYTES, chance.randrange(256)]) for _ in range(chance.randrange(4)))
    longer = chance.choice([b"", bytes(4), chance.randbytes(4), bytes(12), b"\xff" * 8])
    block[4] = (head + block[4][len(head) :])[: chance.choice([None, None, -1, -4, -8])] + longer
    if block[2]:
        block[2] = varint(len(block[4]))


def _lie_blocks(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    """Leave a block out, repeat it, or take it to another place."""
    frame.blocks.remove(block)
    for _ in range(chance.choice([0, 1, 2]) if frame.blocks else chance.choice([1, 2])):
        frame.blocks.insert(chance.randrange(len(frame.blocks) + 1), list(block))
    if frame.footer and chance.random() < 0.5:
        frame.footer[1] = varint(len(frame.blocks))


def _lie_footer(chance: random.Random, frame: Frame, block: list[bytes]) -> None:
    if frame.footer:
        at = chance.randrange(len(frame.footer))
        other = chance.choice([varint(size_lie(chance, 3)), chance.randbytes(len(frame.footer[at])), b""])
        frame.footer[at] = other
    else:
        frame.footer = [varint(2000), varint(1), *(varint(800) for _ in frame.blocks), b"", b""]


_LIES = [_lie_header, _lie_kind, _lie_last, _lie_raw, _lie_raw, _lie_payload_size, _lie_form, _lie_checksum, _lie_payload]
_LIES += [_lie_payload, _lie_blocks, _lie_footer]
MUTATIONS: list[Mutate] = [cut, flip, flip, put, put, splice, repeat, join, lie, lie, lie, lie]


def lie_in_model(chance: random.Random, data: bytes) -> bytes:
    """Return a model file (safetensors) with damaged bytes, or with lies in its header."""
    if chance.random() < 0.3:
        return chance.choice([cut, flip, put, repeat])(chance, [data])
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if chance.random() < 0.4:
        body = _poke(chance, header, body)
    else:
        for _ in range(chance.choice([1, 1, 2])):
            _lie_in_header(chance, header)
    if chance.random() < 0.2:
        body = chance.choice([body[:-1], body + bytes(1), body[: len(body) // 2]])
    text = json.dumps(header).encode()
    return chance.choice([len(text)] * 9 + [len(text) + 8, 1 << 40]).to_bytes(8, "little") + text + body


def _poke(chance: random.Random, header: dict[str, dict[str, list[int]]], body: bytes) -> bytes:
    """Change some bytes of one tensor."""
    name = chance.choice([name for name in header if name != "__metadata__"])
    start, end = header[name]["data_offsets"]
    changed = bytearray(body)
    for _ in range(chance.choice([1, 2, 8]) if end > start else 0):
        changed[chance.randrange(start, end)] = chance.choice([*_BYTES, chance.randrange(256)])
    return bytes(changed)


def _lie_in_header(chance: random.Random, header: dict[str, object]) -> None:
    names = list(header)
    if not names:
        return
    name = chance.choice(["__metadata__", *names])
    entry = header.get(name)
    anything: list[object] = [None, 0, -1, [], {}, "", "x", 1e300, [[]], True, 2**70]
    if name == "__metadata__" and isinstance(entry, dict):
        if chance.random() < 0.7 and isinstance(entry.get("sizes"), str):
            sizes = json.loads(entry["sizes"])
            key = chance.choice([*sizes, "more"])
            sizes[key] = chance.choice([*anything, 0, 1, 2, 3, 256, 512, 4096, 4097, 65_536, 2**31, -5])
            entry["sizes"] = json.dumps(sizes)
        else:
            entry[chance.choice(["format", "sizes", "record"])] = chance.choice(
                [*anything, "nncomp-model-2", "[1]", "{}", "[" * 5000]
            )
    elif isinstance(entry, dict) and chance.random() < 0.8:
        for part in chance.sample(["dtype", "shape", "data_offsets"], chance.choice([1, 2])):
            entry[part] = chance.choice([*anything, *_other(chance, part, entry.get(part))])
    else:
        del header[name]
        if chance.random() < 0.5:
            header[chance.choice(["x", "extra.x", "extra.mixing.weights", *names])] = entry


def _other(chance: random.Random, part: str, truth: object) -> Iterator[object]:
    """Yield what a part of a tensor's entry might as well be."""
    if part == "dtype":
        yield from ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "BF16", "F32", "F64", "BOOL", "F8_E4M3")
    elif isinstance(truth, list) and all(isinstance(number, int) for number in truth):
        yield from (truth[::-1], [*truth, 1], [1, *truth], truth[:-1], [number * 2 for number in truth], [2**40] * 4)
        yield [number + chance.choice([-1, 0, 1]) for number in truth]
        product = 1
        for number in truth:
            product *= number
        yield [product]
