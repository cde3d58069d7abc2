"""Files changed on purpose: cut, flipped, spliced, and with a lie in any field of the layout. The same for the same seed."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import FrameBlock
from nncomp.format.numbers import BLOCK_MAGIC, HAS_COPIES, LAST
from nncomp.format.varints import varint

_SIZES = [0, 1, 2, 7, 8, 127, 128, 255, 256, 16_383, 16_384, 1 << 20, (1 << 21) - 1, 1 << 21, 4 << 20, (4 << 20) + 1]
_SIZES += [(6 << 20) - 1, 6 << 20, (1 << 31) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, 1 << 70]
_LENGTHS = [4096, 65_535, 65_536, 100_000]  # of copies, less 32
_BYTES = [0, 1, 2, 3, 4, 0x0F, 0x10, 0x1A, 0x7F, 0x80, 0x81, 0xFE, 0xFF]


def size_lie(chance: random.Random, truth: int) -> int:
    """Return a size that is often not the true one: near it, or one of those where something changes."""
    near = max(0, truth + chance.choice([-100, -8, -4, -2, -1, 1, 2, 4, 8, 100]))
    return chance.choice([near, near, chance.choice(_SIZES), chance.randrange(2 * truth + 2)])


@dataclass
class Block:
    """A block in parts, as they stand in the file; those that it does not have are empty."""

    magic: bytes
    first: bytes
    raw_before: bytes  # its place: raw bytes, and literals, before it
    literals_before: bytes
    literals: bytes  # their number
    payload_size: bytes
    list_kind: bytes
    copied: bytes
    list_size: bytes
    list_payload_size: bytes
    checksum: bytes
    list_payload: bytes
    payload: bytes

    def header(self) -> bytes:
        return b"".join(list(vars(self).values())[:-2])

    def pack(self) -> bytes:
        return b"".join(vars(self).values())


_NUMBERS = ["raw_before", "literals_before", "literals", "payload_size", "copied", "list_size", "list_payload_size"]


@dataclass
class Frame:
    """A frame in parts: the header, the blocks, the footer."""

    header: bytes
    blocks: list[Block] = field(default_factory=list)
    footer: list[bytes] = field(
        default_factory=list
    )  # total, count, three numbers a block, checksum of the content, digest, size

    def refresh_footer(self) -> None:
        """Let digest and size of the footer fit the rest: a lie that a checksum does not find."""
        if self.footer:
            index = b"".join(self.footer[:-2])
            headers = b"".join(block.header() for block in self.blocks)
            digest = hashlib.blake2b(self.header + headers + index, digest_size=8).digest()
            self.footer[-2:] = [digest, (len(index) + 12).to_bytes(4, "little")]

    def refresh_places(self) -> None:
        """Let places, total and entries fit the blocks, as far as these can be understood."""
        raw = literals = 0
        entries = []
        for i, block in enumerate(self.blocks):
            if i:
                block.raw_before, block.literals_before = varint(raw), varint(literals)
            here, copied = _number(block.literals), _number(block.copied)
            entries += [varint(len(block.pack()) << 3 | block.first[0] & 7), varint(here), varint(copied)]
            raw, literals = raw + here + copied, literals + here
        if self.footer:
            self.footer[:-3] = [varint(raw), varint(len(self.blocks)), *entries]

    def pack(self) -> bytes:
        return self.header + b"".join(block.pack() for block in self.blocks) + b"".join(self.footer)


def _number(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data[:9]))


def take_apart(data: bytes) -> list[Frame]:
    """Return the frames of a good file in parts."""
    frames: list[Frame] = []
    at = 0
    contents: dict[int, bytes] = {}
    for found in read_blocks(io.BytesIO(data), contents.__setitem__):
        if found.number == 0:
            if frames:
                at = _end(frames[-1], contents.get(found.frame - 1), at)
            frames.append(Frame(data[at : found.offset]))
        frames[-1].blocks.append(_parts(found))
        at = found.end
    _end(frames[-1], contents.get(len(frames) - 1), at)
    assert b"".join(frame.pack() for frame in frames) == data
    return frames


def _end(frame: Frame, content: bytes | None, at: int) -> int:
    """Give a frame the footer that it has, if any; return where the frame ends if its last block ends at a place."""
    if content is not None:
        frame.footer = [content, b"", b""]
        frame.refresh_places()
        frame.refresh_footer()
    return at + sum(map(len, frame.footer))


def _parts(found: FrameBlock) -> Block:
    """Return a block in parts, without its place."""
    block, copies, kind = found.block, found.block.copies, found.block.kind
    first = bytes([kind | (HAS_COPIES if copies else 0) | (LAST if block.is_last else 0)])
    parts = dict.fromkeys(Block.__dataclass_fields__, b"")
    parts |= {"magic": BLOCK_MAGIC if found.number else b"", "first": first, "literals": varint(block.literal_bytes)}
    parts |= {"payload_size": varint(len(block.payload)) if kind else b"", "checksum": block.checksum, "payload": block.payload}
    if copies:
        parts |= {"list_kind": bytes([copies.kind]), "copied": varint(copies.copied_bytes), "list_payload": copies.payload}
        parts |= {"list_size": varint(copies.list_bytes)}
        parts |= {"list_payload_size": varint(len(copies.payload)) if copies.kind else b""}
    return Block(**parts)


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


def _lie_header(chance: random.Random, frame: Frame, block: Block) -> None:
    at = chance.randrange(len(frame.header))
    frame.header = frame.header[:at] + bytes([chance.choice([*_BYTES, chance.randrange(256)])]) + frame.header[at + 1 :]


def _lie_kind(chance: random.Random, frame: Frame, block: Block) -> None:
    block.first = bytes([chance.choice([chance.randrange(4), chance.randrange(256)]) | (block.first[0] & 0x88)])


def _lie_flag(chance: random.Random, frame: Frame, block: Block) -> None:
    """Deny that a block is the last or that it has copies, or say it."""
    block.first = bytes([block.first[0] ^ chance.choice([0x80, HAS_COPIES])])


def _lie_number(chance: random.Random, frame: Frame, block: Block) -> None:
    """Write another number than the true one; the places of other blocks, and the footer, may agree with it."""
    name = chance.choice([name for name in _NUMBERS if getattr(block, name)])
    setattr(block, name, varint(size_lie(chance, _number(getattr(block, name)))))
    if chance.random() < 0.5:
        frame.refresh_places()


def _lie_form(chance: random.Random, frame: Frame, block: Block) -> None:
    """Write a number in a longer form, or without an end."""
    name = chance.choice([name for name in _NUMBERS if getattr(block, name)])
    truth = getattr(block, name)
    longer = truth[:-1] + bytes([truth[-1] | 0x80]) + b"\x80" * chance.choice([0, 1, 9, 60])
    setattr(block, name, longer + chance.choice([b"\0", b"\x01", b""]))


def _lie_checksum(chance: random.Random, frame: Frame, block: Block) -> None:
    block.checksum = chance.choice([bytes(8), chance.randbytes(8), hashlib.blake2b(block.payload, digest_size=8).digest()])


def _lie_payload(chance: random.Random, frame: Frame, block: Block) -> None:
    """Change what the payload says of itself (its first bytes), or its length, with a size that agrees."""
    head = bytes(chance.choice([*_BYTES, chance.randrange(256)]) for _ in range(chance.randrange(4)))
    longer = chance.choice([b"", bytes(4), chance.randbytes(4), bytes(12), b"\xff" * 8])
    block.payload = (head + block.payload[len(head) :])[: chance.choice([None, None, -1, -4, -8])] + longer
    if block.payload_size:
        block.payload_size = varint(len(block.payload))


def _lie_list(chance: random.Random, frame: Frame, block: Block) -> None:
    """Give a block another list of copies, with sizes and a checksum that agree, if its literals are stored."""
    if block.first[0] & 7:
        return
    count = chance.choice([0, 1, 1, 2, 3, 9])
    most = len(block.payload)
    runs = [chance.choice([0, 1, chance.randrange(most + 2) // max(1, count)]) for _ in range(count)]
    lengths = [chance.choice([0, 1, 8, chance.randrange(300), chance.choice(_LENGTHS)]) for _ in range(count)]
    steps = [chance.choice([0, 1, 2, 2 * most, chance.randrange(2 * most + 2), chance.choice(_SIZES)]) for _ in range(count)]
    listed = b"".join(map(varint, (chance.choice([count] * 20 + [*_SIZES]), *runs, *lengths, *steps)))
    if chance.random() < 0.1:
        listed = chance.choice([listed[:-1], listed + b"\0", listed + b"\x80"])
    copied = sum(lengths) + 32 * count
    block.first = bytes([block.first[0] | HAS_COPIES])
    block.list_kind, block.list_payload_size, block.list_payload = b"\0", b"", listed
    block.copied, block.list_size = varint(size_lie(chance, copied) if chance.random() < 0.1 else copied), varint(len(listed))
    block.checksum = hashlib.blake2b(listed + block.payload, digest_size=8).digest()
    frame.refresh_places()


def _lie_blocks(chance: random.Random, frame: Frame, block: Block) -> None:
    """Leave a block out, repeat it, or take it to another place."""
    frame.blocks.remove(block)
    for _ in range(chance.choice([0, 1, 2]) if frame.blocks else chance.choice([1, 2])):
        frame.blocks.insert(chance.randrange(len(frame.blocks) + 1), replace(block))
    if chance.random() < 0.5:
        for i, each in enumerate(frame.blocks):
            each.magic = BLOCK_MAGIC if i else b""
            each.first = bytes([each.first[0] & 0x7F | (LAST if i == len(frame.blocks) - 1 else 0)])
            each.raw_before = each.literals_before = b""
        frame.refresh_places()


def _lie_footer(chance: random.Random, frame: Frame, block: Block) -> None:
    if frame.footer:
        at = chance.randrange(len(frame.footer))
        other = chance.choice([varint(size_lie(chance, 3)), chance.randbytes(len(frame.footer[at])), b""])
        frame.footer[at] = other
    else:
        numbers = [800, 1000, 0] * len(frame.blocks)
        frame.footer = [varint(2000), varint(1), *map(varint, numbers), bytes(8), b"", b""]


_LIES = [_lie_header, _lie_kind, _lie_flag, _lie_number, _lie_number, _lie_number, _lie_form, _lie_checksum, _lie_payload]
_LIES += [_lie_payload, _lie_list, _lie_list, _lie_blocks, _lie_footer]
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
