"""The golden files that must always be read: one of each feature of the format."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np

from nncomp import range_coder
from nncomp.blocks import byte_payload, primed_tokens, token_payload
from nncomp.blocks.lzma_payload import encode_lzma
from nncomp.format.copies import Copy, pack_copies
from nncomp.format.frames import Block, CopyList, FrameWriter, ModelReference, block_checksum, checksum
from nncomp.format.numbers import MAX_COPIES, MAX_LITERAL_BYTES, MAX_RAW_BYTES, BlockKind
from nncomp.format.payloads import BytesHead, TokensHead, primer_bytes
from nncomp.mixing import byte_predictor
from nncomp.network.engine import Network
from nncomp.network.model import parse_model
from tests.golden import texts
from tests.golden.models import CODED, EXTREME, FEW, GRAMS, REACH, SMALL, TWO, WORDS, by_hash, model_bytes, named_bytes
from tests.models import TEXT, small_start

File = tuple[str, str, bytes, bytes]  # what it is about, its model or "", the file, the content

MIXED = (
    texts.prose(1, 350) + texts.markup(2) + texts.table(2, 6) + texts.code(2) + texts.odd()[190:420] + texts.prose(3, 150)
)  # about 1.3 KB


BASE = texts.base()  # the reference of the files that name one


@cache
def packed(model: str) -> Network:
    return Network(parse_model(model_bytes(model), model, by_hash(*named_bytes(model))))


def reference(model: str, model_id: int = 255) -> ModelReference:
    """Return how a frame names a golden model."""
    return ModelReference(model_id, hashlib.sha256(model_bytes(model)).digest()[:8])


@contextmanager
def _choice(lanes_log2: int | None, lines_log2: int | None) -> Iterator[None]:
    """Let the encoder take other lanes and lines than it would: the format lets a writer choose."""
    choices = {"lanes_log2": lanes_log2, "lines_log2": lines_log2}
    with ExitStack() as stack:
        for name, value in choices.items():
            if value is not None:
                stack.enter_context(patch.object(token_payload, name, return_value=value))
        yield


def tokens(data: bytes, model: str = SMALL, lanes_log2: int | None = None, lines_log2: int | None = None) -> Block:
    with _choice(lanes_log2, lines_log2):
        payload = token_payload.encode_tokens(packed(model), data).payload
    return Block(BlockKind.TOKENS, len(data), payload, checksum(data), True)


def coded_tokens(data: bytes, code: int, lanes_log2: int = 0) -> Block:
    """Return a block of tokens with a code: any, for a writer may send which it likes."""
    with _choice(lanes_log2, None):
        payload = token_payload.encode_and_learn(packed(CODED), data, small_start(), code=code)[0]
    return Block(BlockKind.TOKENS, len(data), payload, checksum(data), True)


def in_bytes(data: bytes, table_bits: int = 26) -> Block:
    raw = np.frombuffer(data, np.uint8)
    words = range_coder.encode(np.unpackbits(raw), byte_predictor.probabilities(raw, table_bits))
    payload = bytes([table_bits]) + range_coder.words_to_bytes(words)
    return Block(BlockKind.BYTES, len(data), payload, checksum(data), True)


def lzma_block(data: bytes, is_last: bool = True) -> Block:
    return Block(BlockKind.LZMA, len(data), encode_lzma(data), checksum(data), is_last)


def stored(data: bytes, is_last: bool = True) -> Block:
    return Block(BlockKind.STORED, len(data), data, checksum(data), is_last)


def frame(
    blocks: list[Block], named: ModelReference | None = None, content: bytes = b"", window_log2: int = 16, base: bytes = b""
) -> bytes:
    """Return a frame of blocks; of several, `content` is theirs; `base` is the reference that it names, if any."""
    sink = io.BytesIO()
    writer = FrameWriter(sink, named, window_log2, hashlib.sha256(base).digest()[:8] if base else b"")
    for block in blocks:
        assert block.kind == BlockKind.STORED or len(block.payload) <= block.literal_bytes, (block, len(block.payload))
        writer.write(block, checksum(content))
    return sink.getvalue()


def with_list(block: Block, literals: bytes, listed: bytes, copied_bytes: int, kind: int = BlockKind.STORED) -> Block:
    """Return a block of these literals with a list of copies, right or wrong, which is coded as this kind."""
    payload = listed
    if kind != BlockKind.STORED:
        payload = (lzma_block(listed) if kind == BlockKind.LZMA else in_bytes(listed, 16)).payload
        assert len(payload) <= len(listed)
    coded = CopyList(kind, copied_bytes, len(listed), payload)
    return replace(block, copies=coded, checksum=block_checksum(listed, literals))


def content_of(literals: bytes, copies: Sequence[Copy], before: bytes = b"") -> bytes:
    """Return what literals and copies give, byte for byte; `before` are the literals of earlier blocks."""
    text, content, at = before + literals, bytearray(), len(before)
    for copy in copies:
        content += text[at : at + copy.run]
        at += copy.run
        content += bytes(text[at - copy.distance + i % copy.distance] for i in range(copy.length))
    return bytes(content + text[at:])


Piece = tuple[Callable[[bytes], Block], bytes, Sequence[Copy]]  # how a block's literals are coded, the literals, the copies


def frame_of(
    pieces: Sequence[Piece],
    named: ModelReference | None = None,
    kind: int = BlockKind.STORED,
    window_log2: int = 16,
    base: bytes = b"",
) -> tuple[bytes, bytes]:
    """Return a frame of these blocks and its content; lists are coded as this kind; `base` is the reference, if any."""
    literals, content, blocks = b"", b"", list[Block]()
    for i, (code, new, copies) in enumerate(pieces):
        block = replace(code(new), is_last=i == len(pieces) - 1)
        copied_bytes = sum(copy.length for copy in copies)
        blocks.append(with_list(block, new, pack_copies(copies), copied_bytes, kind) if copies else block)
        content += content_of(new, copies, base + literals)
        literals += new
    return frame(blocks, named, content, window_log2, base), content


ONE, OTHER = texts.noise(2, 300), texts.noise(3, 200)
NEAR = [Copy(100, 60, 90), Copy(0, 32, 40), Copy(200, 299, 299)]
ACROSS: list[Piece] = [
    (stored, ONE, NEAR),
    (stored, b"x", []),
    (stored, b"", [Copy(0, 700, 301), Copy(0, 32, 1)]),
    (stored, OTHER, [Copy(0, 250, 301), Copy(60, 120, 130), Copy(140, 40, 500)]),
]  # copies from earlier blocks, from several, from an earlier one into the block's own literals; a block without literals


def copied_files() -> dict[str, File]:
    """Return the files with copies."""
    small = reference(SMALL)
    overlapping = [Copy(5, 3000, 5), Copy(0, 40, 1), Copy(0, 33, 5), Copy(290, 32, 7)]
    many = [Copy(1 + i % 2, 32 + i % 5, 1 + i % 3) for i in range(190)]
    most = [Copy(1, 32, 1)] + [Copy(0, 32, 1)] * (MAX_COPIES - 1)
    edge = [Copy(200, 65_536, 65_536), Copy(100, 100, 65_500)]
    largest = [Copy(MAX_LITERAL_BYTES, MAX_RAW_BYTES - MAX_LITERAL_BYTES, MAX_LITERAL_BYTES)]
    zeros = bytes(MAX_LITERAL_BYTES)
    largest_block = with_list(lzma_block(zeros), zeros, pack_copies(largest), largest[0].length)
    frames = [frame_of([(stored, ONE, NEAR)]), frame_of(ACROSS), frame_of([(stored, OTHER, [])])]
    rows: dict[str, tuple[str, str, tuple[bytes, bytes]]] = {
        "copies": ("one block with copies", "", frame_of([(stored, ONE, NEAR)])),
        "copies-overlapping": ("copies longer than their distance", "", frame_of([(stored, ONE, overlapping)])),
        "copies-across": ("copies from earlier blocks; a block without literals", "", frame_of(ACROSS)),
        "copies-window": (
            "a copy from as far back as the window reaches",
            "",
            frame_of([(lzma_block, texts.prose(5, 500) * 132, []), (stored, ONE, edge)]),
        ),
        "copies-list-lzma": ("a list coded as LZMA", "", frame_of([(stored, ONE, many)], kind=BlockKind.LZMA)),
        "copies-list-bytes": ("a list coded as bytes", "", frame_of([(lzma_block, ONE * 2, many)], kind=BlockKind.BYTES)),
        "copies-tokens": ("copies between tokens", SMALL, frame_of([(tokens, MIXED[:700], NEAR)], small)),
        "copies-most": ("65,536 copies of one byte", "", frame_of([(stored, b"a", most)], kind=BlockKind.LZMA)),
        "copies-largest": ("the largest block", "", (frame([largest_block]), bytes(MAX_RAW_BYTES))),
        "copies-frames": (
            "three frames: a copy is of its own",
            "",
            (b"".join(packed for packed, _ in frames), b"".join(content for _, content in frames)),
        ),
    }
    return {name: (about, model, *made) for name, (about, model, made) in rows.items()}


def primed_tokens_block(data: bytes, primer: int = 1, base: bytes = BASE) -> Block:
    """Return a block of tokens that begins with the last bytes of a reference."""
    head = TokensHead(0, 10, primer=primer)
    known = primed_tokens.prime(packed(SMALL), base[-primer_bytes(primer) :], head.lines_log2)
    return Block(BlockKind.TOKENS, len(data), primed_tokens.encode_after(known, data, head).payload, checksum(data), True)


def primed_bytes_block(data: bytes, primer: int = 1, base: bytes = BASE) -> Block:
    """Return a block of bytes that begins with the last bytes of a reference."""
    head = BytesHead(16, primer)
    text = base[-primer_bytes(primer) :]
    known = byte_predictor.primed(text, byte_predictor.sizes(len(text) + len(data), head.table_bits))
    coded = byte_payload.encode_bytes(data, head=head, after=known)
    assert coded is not None
    return Block(BlockKind.BYTES, len(data), coded.payload, checksum(data), True)


def referring_files() -> dict[str, File]:
    """Return the files that name a reference."""
    small, size = reference(SMALL), len(BASE)
    whole, inside = Copy(10, size, size + 10), Copy(50, 40, 60 + 150)
    across: list[Piece] = [
        (stored, ONE, [inside]),
        (lzma_block, texts.prose(5, 500) * 132, []),
        (stored, OTHER, [Copy(100, 90, 66_000 + 300 + 100 + size)]),
        (stored, b"", [Copy(0, 33, 66_000 + 500 + 33), Copy(0, 700, 301)]),
    ]
    text = BASE[40:240] + MIXED[300:600]
    mixed: list[Piece] = [(primed_tokens_block, text, []), (stored, b"x", []), (primed_bytes_block, text[:400], [])]
    rows: dict[str, tuple[str, str, tuple[bytes, bytes]]] = {
        "reference-copies": ("copies of a reference", "", frame_of([(stored, ONE, [whole, inside])], base=BASE)),
        "reference-across": ("copies of a reference, behind the window too", "", frame_of(across, base=BASE)),
        "reference-unused": ("a reference that no block uses", "", frame_of([(stored, ONE, NEAR)], base=BASE)),
        "reference-bytes": ("bytes after a primer", "", frame_of([(primed_bytes_block, text, [])], base=BASE)),
        "reference-tokens": ("tokens after a primer", SMALL, frame_of([(primed_tokens_block, text, [])], small, base=BASE)),
        "reference-blocks": ("blocks with primers, and one without", SMALL, frame_of(mixed, small, base=BASE)),
    }
    return {name: (about, model, *made) for name, (about, model, made) in rows.items()}


def files() -> dict[str, File]:
    """Return each golden file by its name."""
    small, extreme, coded, few, reach, words, grams, two = map(reference, (SMALL, EXTREME, CODED, FEW, REACH, WORDS, GRAMS, TWO))
    two_lanes = (TEXT[:900] * 5)[:4096]  # in the tokens that the small model has
    part, repeated, short = MIXED[:700], texts.prose(4, 120) * 12, b"A short frame after others.\n"
    all_kinds: list[Piece] = [(stored, b"x", []), (lzma_block, b"xz " * 99, []), (in_bytes, part[:300], []), (tokens, part, [])]
    named: list[Piece] = [(stored, ONE, []), (stored, b"y", []), (lzma_block, b"xz " * 99, [])]
    frames = [
        frame([tokens(part)], small),
        frame([in_bytes(part[:300])]),
        frame([stored(b"")]),
        frame([lzma_block(b"xz " * 99)]),
        frame([stored(short)]),
    ]
    rows: dict[str, File] = {
        "empty": ("nothing at all", "", frame([stored(b"")]), b""),
        "stored": ("bytes without order", "", frame([stored(texts.noise(1, 200))]), texts.noise(1, 200)),
        "lzma": ("LZMA", "", frame([lzma_block(MIXED)]), MIXED),
        "blocks": ("a block of each kind, and a footer", SMALL, *frame_of(all_kinds, small)),
        "blocks-named": (
            "a model is named that no block uses",
            "",
            *frame_of(named, ModelReference(1, bytes(8)), window_log2=32),
        ),
        "bytes": ("mixing alone", "", frame([in_bytes(MIXED)]), MIXED),
        "bytes-small-tables": ("mixing alone, the smallest tables", "", frame([in_bytes(part, 16)]), part),
        "bytes-odd": ("mixing alone on odd bytes", "", frame([in_bytes(texts.odd())]), texts.odd()),
        "tokens": ("one lane", SMALL, frame([tokens(MIXED)], small), MIXED),
        "tokens-2-lanes": ("two lanes", SMALL, frame([tokens(two_lanes, lanes_log2=1)], small), two_lanes),
        "tokens-16-lanes": ("sixteen lanes", SMALL, frame([tokens(part, lanes_log2=4)], small), part),
        "tokens-empty-lanes": ("a lane without bytes", SMALL, frame([tokens(b"a" * 15, lanes_log2=4)], small), b"a" * 15),
        "tokens-few-lines": ("the smallest table of mixing", SMALL, frame([tokens(part, lines_log2=8)], small), part),
        "tokens-extreme": ("numbers at their bounds", EXTREME, frame([tokens(repeated, EXTREME, 1)], extreme), repeated),
        "tokens-code": ("a code, one lane", CODED, frame([coded_tokens(repeated, 1)], coded), repeated),
        "tokens-code-lanes": ("a code, four lanes", CODED, frame([coded_tokens(repeated, 5, 2)], coded), repeated),
        "tokens-ngrams": ("n-gram table", GRAMS, frame([tokens(MIXED, GRAMS)], grams), MIXED),
        "tokens-ngrams-lanes": ("n-gram table, 4 lanes", GRAMS, frame([tokens(MIXED * 2, GRAMS, 2)], grams), MIXED * 2),
        "tokens-two-networks": ("two networks", TWO, frame([tokens(MIXED, TWO)], two), MIXED),
        "tokens-two-networks-lanes": ("two networks, 4 lanes", TWO, frame([tokens(MIXED * 2, TWO, 2)], two), MIXED * 2),
        "tokens-reaches": ("contexts of each reach", REACH, frame([tokens(MIXED * 2, REACH, 1)], reach), MIXED * 2),
        "tokens-words": ("contexts of three words", WORDS, frame([tokens(MIXED, WORDS, 1)], words), MIXED),
        "tokens-some-contexts": ("some parts of mixing", FEW, frame([tokens(MIXED, FEW, 2)], few), MIXED),
        "frames": ("all kinds, each in a frame", SMALL, b"".join(frames), part + part[:300] + b"xz " * 99 + short),
    }
    return {f"good/{name}.nnc": row for name, row in (rows | copied_files() | referring_files()).items()}
