"""A whole file: each block by its kind, its checksum compared. Also the command."""

from __future__ import annotations

import argparse
import hashlib
import lzma
import sys
from collections.abc import Sequence
from pathlib import Path

from checks.independent import layout
from checks.independent.byte_model import decode_bytes
from checks.independent.copies import Copy, parse_list, put_together
from checks.independent.model_file import Model, parse_model
from checks.independent.network import Networks
from checks.independent.primer import cut_into_tokens
from checks.independent.range_decoder import RangeDecoder
from checks.independent.refused import RefusedError, demand
from checks.independent.token_tree import LaneText, TokenTree

_FILTERS = [{"id": lzma.FILTER_LZMA1, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]


def decode(data: bytes, model_data: bytes | None = None, others: Sequence[bytes] = (), reference: bytes = b"") -> bytes:
    """Return what a file holds; raises RefusedError for whatever is not as docs/FORMAT.md says.

    `others` are the files that the model file names.
    """
    contents: list[bytearray] = []
    frames: list[layout.Frame] = []
    literals = b""  # of the frame
    for block in layout.blocks(data):
        if not frames or block.frame is not frames[-1]:
            frames.append(block.frame)
            contents.append(bytearray())
            literals = b""
        its_reference = _reference(block, reference)
        new, copies = decode_block(block, len(literals), model_data, others, its_reference)
        contents[-1] += put_together(literals, new, copies, block.frame.window_bytes, its_reference)
        literals += new
    for frame, content in zip(frames, contents, strict=True):
        if frame.content_checksum is not None:
            demand(layout.blake2b_8(bytes(content)) == frame.content_checksum, "a frame with another checksum of its content")
    return b"".join(contents)


def _reference(block: layout.Block, reference: bytes) -> bytes:
    """Return the reference of a block's frame, no bytes if it names none."""
    named = block.frame.reference_hash
    if named is None:
        return b""
    demand(len(reference) > 0, f"the frame needs the reference whose hash begins with {named.hex()}")
    demand(hashlib.sha256(reference).digest()[:8] == named, f"the frame has another reference: {named.hex()}")
    return reference


def decode_block(
    block: layout.Block, before: int, model_data: bytes | None, others: Sequence[bytes], reference: bytes = b""
) -> tuple[bytes, list[Copy]]:
    """Return the literals and the copies of a block before which its frame has so many literals."""
    coded = block.copies
    listed = _decode_payload(coded.kind, coded.payload, coded.list_bytes, b"") if coded else b""
    if block.kind == 3:
        literals = decode_tokens(block.payload, block.literal_bytes, _model(block, model_data, others), reference)
    else:
        literals = _decode_payload(block.kind, block.payload, block.literal_bytes, reference)
    demand(layout.blake2b_8(listed + literals) == block.checksum, "a block with another checksum")
    return literals, parse_list(listed, block.literal_bytes, coded.copied_bytes, before) if coded else []


def _primer(head: int, reference: bytes) -> bytes:
    """Return what a block begins with, by the byte of its head that says so."""
    q = head // 32
    demand(q == 0 or len(reference) > 0, "a primer without a reference")
    return reference[-(2 ** (13 + q)) :] if q else b""


def _decode_payload(kind: int, payload: bytes, decoded_bytes: int, reference: bytes) -> bytes:
    """Return what a payload of a kind without a network holds."""
    demand(kind <= 2, "a reserved kind")
    data = payload
    if kind == 1:
        data = _decode_xz(payload, decoded_bytes)
    elif kind == 2:
        data = decode_bytes(payload, decoded_bytes, _primer(payload[0] if payload else 0, reference))
    demand(len(data) == decoded_bytes, "a payload of another size than the block says")
    return data


def _model(block: layout.Block, model_data: bytes | None, others: Sequence[bytes]) -> Model:
    named = block.frame.model_hash
    if named is None:
        raise RefusedError("a block of tokens in a frame that names no model")
    if model_data is None or hashlib.sha256(model_data).digest()[:8] != named:
        raise RefusedError(f"the block needs the model whose hash begins with {named.hex()}")
    return parse_model(model_data, *others)


def _decode_xz(payload: bytes, raw_bytes: int) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        data = decoder.decompress(payload, raw_bytes + 1)
        if not decoder.eof and len(data) <= raw_bytes:
            data += decoder.decompress(b"", 1)  # the end marker alone may be left
    except (lzma.LZMAError, EOFError) as error:
        raise RefusedError(f"LZMA: {error}") from error
    demand(decoder.eof and not decoder.unused_data, "the LZMA stream does not end where the payload ends")
    return data


def decode_tokens(payload: bytes, raw_bytes: int, model: Model, reference: bytes = b"") -> bytes:
    """Return the bytes of a payload of kind 3."""
    demand(len(payload) >= 7, "a payload of tokens that is too short")
    lanes_log2, lines_log2, code = payload[:3]
    primer = _primer(lanes_log2, reference)
    demand(lanes_log2 < 32 or (lanes_log2 % 32 == 0 and code == 0), "a primer, and several lanes or a code")
    lanes_log2 %= 32
    demand(lanes_log2 <= 4 and 8 <= lines_log2 <= 22, "lanes or lines that mean nothing")
    demand(code == 0 or (bool(model.code) and code <= len(model.code["code_state"])), "a code that the model does not have")
    decoder = RangeDecoder(payload[3:])
    count = 2**lanes_log2
    ends = [(i + 1) * raw_bytes // count for i in range(count)]
    texts = [LaneText(i, i * raw_bytes // count) for i in range(count)]
    networks = [Networks(model, code) for _ in range(count)]
    tree = TokenTree(model, lines_log2, len(primer) + raw_bytes)
    _read_primer(primer, model, networks[0], tree, texts[0])
    rooms = [end - lane.first_byte for end, lane in zip(ends, texts, strict=True)]
    while any(rooms):
        for i, lane in enumerate(texts):
            if not rooms[i]:
                continue
            networks[i].step(lane.tokens[-1] if lane.tokens else model.sizes["start_token"])
            token = _decode_token(decoder, networks[i], tree, lane)
            its_bytes = model.tokens[token]
            demand(len(its_bytes) <= rooms[i], "a token goes beyond its lane")
            rooms[i] -= len(its_bytes)
            tree.end_token(token, its_bytes)
    decoder.finish()
    return b"".join(bytes(lane.text.bytes) for lane in texts)[len(primer) :]


def _read_primer(primer: bytes, model: Model, network: Networks, tree: TokenTree, lane: LaneText) -> None:
    """Let the network and mixing learn the tokens of a primer."""
    for token in cut_into_tokens(primer, model):
        network.step(lane.tokens[-1] if lane.tokens else model.sizes["start_token"])
        tree.begin_token(lane)
        for depth in range(tree.bits):
            node = (1 << tree.bits | token) >> tree.bits - depth
            tree.predict(node, *network.p1(node))
            tree.learn(token >> tree.bits - 1 - depth & 1)
        tree.end_token(token, model.tokens[token])


def _decode_token(decoder: RangeDecoder, network: Networks, tree: TokenTree, lane: LaneText) -> int:
    tree.begin_token(lane)
    node = 1
    for _ in range(tree.bits):
        bit = decoder.decide(tree.predict(node, *network.p1(node)))
        tree.learn(bit)
        node = 2 * node + bit
    return node - (1 << tree.bits)


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode a .nnc file, slowly, to standard output.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, help="the model file, for blocks of tokens")
    parser.add_argument("--reference", type=Path, help="the reference that the file names, if it does")
    parser.add_argument("--other", type=Path, action="append", default=[], help="a file that the model file names")
    asked = parser.parse_args()
    try:
        others = [path.read_bytes() for path in asked.other]
        reference = asked.reference.read_bytes() if asked.reference else b""
        content = decode(asked.file.read_bytes(), asked.model.read_bytes() if asked.model else None, others, reference)
    except (RefusedError, OSError) as error:
        sys.exit(f"{asked.file}: refused: {error}")
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
