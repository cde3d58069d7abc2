"""The golden files that must be refused: one of each way to be wrong, made from the good ones."""

from __future__ import annotations

import io
import lzma
from dataclasses import replace
from pathlib import Path

from nncomp.format.frames import Block, ModelReference, checksum, read_blocks, varint
from nncomp.format.numbers import BLOCK_BYTES, BLOCK_UNIT_BYTES, MAGIC, SPLIT_BYTES
from tests.golden.good_files import frame, lzma_block, reference, stored
from tests.golden.models import CODED, EXTREME, SMALL

File = tuple[str, str, bytes, str, str]  # what it is about, the model it is given or "", the file, the error, its sentence

HEAD = MAGIC + b"\x10"
UNITS = MAGIC + b"\x14"
LZMA1 = [{"id": lzma.FILTER_LZMA1, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]


def files(folder: Path) -> dict[str, File]:
    """Return each bad file by its name; the good ones are read from `folder`."""
    good = {path.name: path.read_bytes() for path in (folder / "good").glob("*.nnc")}
    made = {f"bad/{name}.nnc": ("", *rest) for name, rest in (_layout(good) | _sizes() | _index(good)).items()}
    made |= {f"bad/{name}.nnc": ("", *rest) for name, rest in (_lzma() | _bytes(good["bytes.nnc"])).items()}
    made |= {f"bad/{name}.nnc": rest for name, rest in _tokens(good["tokens.nnc"]).items()}
    made |= {f"bad/{name}.nnc": rest for name, rest in _code(good["tokens-code.nnc"]).items()}
    return {name: (about, model, data, error, sentence) for name, (model, about, data, error, sentence) in made.items()}


Row = tuple[str, bytes, str, str]
CUT = ("TruncatedError", "truncated")


def _changed(data: bytes, at: int, put: bytes) -> bytes:
    at %= len(data)
    return data[:at] + put + data[at + len(put) :]


def _layout(good: dict[str, bytes]) -> dict[str, Row]:
    whole, several = good["stored.nnc"], good["lzma-long.nnc"]
    other_block = MAGIC + b"\x11\x01" + bytes(8)
    return {
        "no-bytes": ("a file without a frame", b"", "FormatError", "The file is empty"),
        "cut-magic": ("it ends in the magic", whole[:3], *CUT),
        "cut-version": ("it ends after the magic", whole[:4], *CUT),
        "cut-model": ("it ends in the model's name", other_block[:9], *CUT),
        "cut-block": ("it ends before the first block", whole[:5], *CUT),
        "cut-checksum": ("it ends in a checksum", whole[:12], *CUT),
        "cut-payload": ("it ends in a payload", whole[:-1], *CUT),
        "cut-second-block": ("it ends after a block that is not the last", several[: len(several) // 3 + 40], *CUT),
        "cut-footer": ("it ends in the footer", several[:-1], *CUT),
        "cut-second-frame": ("its second frame ends early", whole + whole[:40], *CUT),
        "text": ("it is a text", b"Not compressed at all.\n", "FormatError", "not a .nnc file"),
        "trailing-byte": ("a byte more", whole + b"\0", "FormatError", "no part of it"),
        "trailing-text": ("a text after the frame", whole + b"more text", "FormatError", "no part of it"),
        "version-0": ("version 0", _changed(whole, 4, b"\x00"), "FormatError", "format version 0"),
        "version-2": ("version 2", _changed(whole, 4, b"\x20"), "FormatError", "format version 2"),
        "version-15": ("version 15", _changed(whole, 4, b"\xf0"), "FormatError", "format version 15"),
        "flag-1": ("reserved flag 1", _changed(whole, 4, b"\x12"), "FormatError", "header sets bits"),
        "flag-3": ("reserved flag 3", _changed(whole, 4, b"\x18"), "FormatError", "header sets bits"),
        "block-bit-3": ("reserved bit 3 of a block", _changed(whole, 5, b"\x88"), "FormatError", "first byte sets bits"),
        "block-bit-6": ("reserved bit 6 of a block", _changed(whole, 5, b"\xc0"), "FormatError", "first byte sets bits"),
        "kind-4": ("a reserved kind", HEAD + b"\x84\x03\x01" + checksum(b"abc") + b"x", "FormatError", "kind 4"),
        "kind-7": ("a reserved kind", HEAD + b"\x87\x03\x01" + checksum(b"abc") + b"x", "FormatError", "kind 7"),
        "checksum": ("another checksum", _changed(whole, 9, b"\0\0"), "FormatError", "checksum differs"),
        "payload": ("another byte in a stored payload", _changed(whole, -9, b"\0\0\0"), "FormatError", "checksum differs"),
        "second-frame": ("the second frame's checksum", whole + _changed(whole, 9, b"\0\0"), "FormatError", "checksum differs"),
    }


def _sizes() -> dict[str, Row]:
    first = lzma_block(bytes(BLOCK_BYTES), False)
    least = SPLIT_BYTES - BLOCK_BYTES
    over = "FormatError", "more than 6,291,455 bytes"
    short = "FormatError", "fewer than any writer leaves"
    shorter = frame([first, lzma_block(bytes(least - 1))])
    small = lzma_block(bytes(BLOCK_UNIT_BYTES), False)
    shorter_units = frame([small, lzma_block(bytes(SPLIT_BYTES - BLOCK_UNIT_BYTES - 1))])
    stored_head = b"\x80\x00" + checksum(b"")
    return {
        "raw-6-mib": ("a last block of 6 MiB", HEAD + b"\x80" + varint(SPLIT_BYTES), *over),
        "raw-huge": ("a last block of 2**63 - 1", HEAD + b"\x80" + varint((1 << 63) - 1), *over),
        "raw-endless": ("a varint without end", HEAD + b"\x80" + b"\xff" * 40, *over),
        "raw-long-form": ("a varint one byte too long", HEAD + b"\x80\x80\x00" + checksum(b""), "FormatError", "shortest form"),
        "payload-over-raw": ("a payload longer than the raw bytes", HEAD + b"\x81\x0a\x0b", "FormatError", "more than 10 bytes"),
        "payload-over-block": ("in a block of 3.5 MiB", UNITS + b"\x0e\x01" + varint(BLOCK_BYTES + 1), "FormatError", "3,670,016"),  # noqa: E501
        "stored-over-file": ("a stored block that is not there", HEAD + b"\x80" + varint(SPLIT_BYTES - 1) + bytes(9), *CUT),
        "last-short": ("a last block of fewer than 2.5 MiB", shorter, *short),
        "units-0": ("blocks of no bytes", UNITS + b"\x00" + stored_head, "FormatError", "blocks of 0 times 256 KiB"),
        "units-16": ("blocks of 4 MiB", UNITS + b"\x10" + stored_head, "FormatError", "blocks of 16 times 256 KiB"),
        "units-missing": ("several blocks, and no size of them", HEAD + b"\x01\x0a", "FormatError", "does not say their size"),
        "units-needless": ("one block, and a size of several", UNITS + b"\x0e" + stored_head, "FormatError", "one block says"),
        "units-cut": ("it ends before the size of its blocks", UNITS, *CUT),
        "units-last-short": ("a last block that would have been two", shorter_units, *short),
        "last-empty": ("an empty last block after another", frame([first, stored(b"")]), *short),
    }  # fmt: skip


def _index(good: dict[str, bytes]) -> dict[str, Row]:
    several = good["lzma-long.nnc"]
    wrong = "FormatError", "The index at the end does not describe"
    size = int.from_bytes(several[-4:], "little")
    return {
        "footer-total": ("another total", _changed(several, -size, bytes([several[-size] ^ 1])), *wrong),
        "footer-digest": ("another digest", _changed(several, -12, b"\0\0"), *wrong),
        "footer-size": ("another size of the footer", _changed(several, -4, b"\xff"), *wrong),
        "footer-missing": ("a frame in place of the footer", several[:-size] + good["stored.nnc"], *wrong),
        "footer-model": (
            "another model id than the footer's digest has",
            _changed(good["lzma-long-named.nnc"], 5, b"\x02"),
            *wrong,
        ),
    }


def _lzma_frame(payload: bytes, data: bytes, raw_bytes: int | None = None) -> bytes:
    return frame([Block(1, len(data) if raw_bytes is None else raw_bytes, payload, checksum(data), True)])


def _lzma() -> dict[str, Row]:
    data = b"line after line\n" * 40
    payload = lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA1)
    ends = "FormatError", "does not end where its data ends"
    holds = "FormatError", "bytes holds 640"
    bomb = lzma.compress(bytes(300_000), lzma.FORMAT_RAW, filters=LZMA1)
    return {
        "lzma-no-end": ("LZMA without its end", _lzma_frame(payload[:-6], data), *ends),
        "lzma-more": ("bytes after the end of LZMA", _lzma_frame(payload + b"\0", data), *ends),
        "lzma-empty": ("LZMA of no bytes", _lzma_frame(b"", data), *ends),
        "lzma-damaged": ("no LZMA", _lzma_frame(b"\xff" * 40, data), "FormatError", "cannot be decoded"),
        "lzma-too-short": ("fewer bytes than claimed", _lzma_frame(payload, data, 641), *holds),
        "lzma-too-long": ("more bytes than claimed", _lzma_frame(payload, data, 639), *holds),
        "lzma-bomb": ("300,000 bytes where 500 are claimed", _lzma_frame(bomb, data, 500), *ends),
        "lzma-headers": ("with the headers of .xz", _lzma_frame(lzma.compress(data), data), "FormatError", "A block coded as LZMA"),  # noqa: E501
    }  # fmt: skip


def _bytes(good: bytes) -> dict[str, Row]:
    """Return blocks of kind 2 that are not right; `good` is a file of one."""
    (found,) = read_blocks(io.BytesIO(good))
    block = found.block
    ends = "FormatError", "does not end where its data ends"

    def altered(payload: bytes | None = None, raw_bytes: int | None = None) -> bytes:
        new = replace(block, payload=block.payload if payload is None else payload)
        return frame([replace(new, raw_bytes=block.raw_bytes if raw_bytes is None else raw_bytes)])

    return {
        "bytes-empty": ("no payload", altered(b""), "FormatError", "mixing alone is empty"),
        "bytes-tables-15": ("tables of 2**15", altered(b"\x0f" + block.payload[1:]), "FormatError", "2**15"),
        "bytes-tables-27": ("tables of 2**27", altered(b"\x1b" + block.payload[1:]), "FormatError", "2**27"),
        "bytes-part-word": ("no whole number of words", altered(block.payload[:-1]), "FormatError", "not a multiple of 4"),
        "bytes-word-less": ("words that end early", altered(block.payload[:-12]), *ends),
        "bytes-words-more": ("three words too many", altered(block.payload + bytes(12)), *ends),
        "bytes-raw-less": ("fewer raw bytes than coded", altered(raw_bytes=block.raw_bytes - 100), *ends),
        "bytes-raw-more": ("more raw bytes than coded", altered(raw_bytes=block.raw_bytes + 1000), *ends),
        "bytes-one-word": (
            "another word in the middle",
            altered(_changed(block.payload, 301, b"\x55")),
            "FormatError",
            "altered",
        ),
    }


def _tokens(good: bytes) -> dict[str, tuple[str, str, bytes, str, str]]:
    """Return blocks of kind 3 that are not right, each with the model it is given."""
    (found,) = read_blocks(io.BytesIO(good))
    block, small = found.block, reference(SMALL)
    ends = "FormatError", "does not end where its data ends"

    def altered(payload: bytes | None = None, raw_bytes: int | None = None, named: ModelReference | None = small) -> bytes:
        new = replace(block, payload=block.payload if payload is None else payload)
        return frame([replace(new, raw_bytes=block.raw_bytes if raw_bytes is None else raw_bytes)], named)

    header, words = block.payload[:3], block.payload[3:]
    other = ModelReference(255, bytes(range(8)))
    of_level, inside = replace(other, model_id=1), _inside_a_token(block)
    rows = {
        "tokens-unnamed": ("the frame names no model", altered(named=None), "FormatError", "names no model"),
        "tokens-other-model": ("a model that is not there", altered(named=other), "ModelError", "0001020304050607"),
        "tokens-default-model": ("the model default with another hash", altered(named=of_level), "ModelError", "the model default"),  # noqa: E501
        "tokens-short": ("a payload of 6 bytes", altered(block.payload[:6]), "FormatError", "too short"),
        "tokens-lanes": ("32 lanes", altered(b"\x05" + block.payload[1:]), "FormatError", "2**5 lanes"),
        "tokens-lanes-255": ("2**255 lanes", altered(b"\xff" + block.payload[1:]), "FormatError", "2**255 lanes"),
        "tokens-lines-7": ("2**7 lines", altered(header[:1] + b"\x07\0" + words), "FormatError", "2**7 lines"),
        "tokens-lines-23": ("2**23 lines", altered(header[:1] + b"\x17\0" + words), "FormatError", "2**23 lines"),
        "tokens-flags": ("a code, and a model without", altered(header[:2] + b"\x01" + words), "FormatError", "its model knows none"),  # noqa: E501
        "tokens-part-word": ("no whole number of words", altered(block.payload[:-1]), "FormatError", "not a multiple of 4"),
        "tokens-word-less": ("words that end early", altered(block.payload[:-12]), *ends),
        "tokens-words-more": ("three words too many", altered(block.payload + bytes(12)), *ends),
        "tokens-overflow": ("a token that goes beyond the block", altered(raw_bytes=inside), "FormatError", "does not fit"),
        "tokens-raw-more": ("more raw bytes than coded", altered(raw_bytes=block.raw_bytes + 1000), *ends),
        "tokens-other-lanes": ("two lanes for one", altered(b"\x01" + block.payload[1:]), "FormatError", "altered"),
    }  # fmt: skip
    given = {name: (SMALL, *row) for name, row in rows.items()}
    given["tokens-wrong-given"] = (EXTREME, "another model is given", altered(), "ModelError", small.content_hash.hex())
    given["tokens-none-given"] = ("", "no model is given", altered(), "ModelError", small.content_hash.hex())
    return given


def _code(good: bytes) -> dict[str, tuple[str, str, bytes, str, str]]:
    """Return blocks with a code that are not right; `good` is a file of one."""
    (found,) = read_blocks(io.BytesIO(good))
    block = found.block

    def altered(payload: bytes, model: str = CODED) -> bytes:
        return frame([replace(block, payload=payload)], reference(model))

    header, words = block.payload[:2], block.payload[3:]
    return {
        "code-unflagged": (CODED, "a code that the flags deny", altered(header + b"\0" + words), "FormatError", "altered"),
        "code-flag-7": (CODED, "a reserved flag", altered(header + b"\x81" + words), "FormatError", "flags 0x81"),
        "code-other-model": (SMALL, "it has no code", altered(block.payload, SMALL), "FormatError", "its model knows none"),
        "code-first-word": (CODED, "another first word", altered(header + b"\1\x55" + words[1:]), "FormatError", "altered"),
        "code-top-word": (CODED, "another code", altered(_changed(block.payload, 6, b"\xff")), "FormatError", "altered"),
        "code-no-words": (CODED, "a code, and no words after it", altered(block.payload[:7]), "FormatError", "altered"),
    }  # fmt: skip


def _inside_a_token(block: Block) -> int:
    """Return a number of raw bytes that ends inside the coded text's first token of several bytes."""
    from tests.golden.good_files import MIXED, packed

    vocabulary = packed(SMALL).model.vocabulary
    end = 0
    for token in vocabulary.encode(MIXED).tolist():
        end += len(vocabulary.tokens[token])
        if end - 1 > len(block.payload) and len(vocabulary.tokens[token]) > 1:
            break
    return end - 1
