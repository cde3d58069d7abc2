"""The golden files that must be refused: one of each way to be wrong, made from the good ones."""

from __future__ import annotations

import io
import lzma
from dataclasses import replace
from pathlib import Path

from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, ModelReference, checksum
from nncomp.format.numbers import MAGIC, MAX_COPIES, MAX_LIST_BYTES, MAX_LITERAL_BYTES, MAX_RAW_BYTES, BlockKind
from nncomp.format.varints import unsigned, varint
from tests.golden.good_files import (
    BASE,
    MIXED,
    ONE,
    frame,
    lzma_block,
    primed_bytes_block,
    primed_tokens_block,
    reference,
    stored,
    with_list,
)
from tests.golden.models import CODED, EXTREME, SMALL

File = tuple[str, str, bytes, str, str]  # what it is about, the model it is given or "", the file, the error, its sentence

HEAD = MAGIC + b"\x10"
WINDOW = MAGIC + b"\x14"
LZMA1 = [{"id": lzma.FILTER_LZMA1, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]


def files(folder: Path) -> dict[str, File]:
    """Return each bad file by its name; the good ones are read from `folder`."""
    good = {path.name: path.read_bytes() for path in (folder / "good").glob("*.nnc")}
    made = {f"bad/{name}.nnc": ("", *rest) for name, rest in (_layout(good) | _sizes() | _index(good) | _copies()).items()}
    made |= {f"bad/{name}.nnc": ("", *rest) for name, rest in (_lzma() | _bytes(good["bytes.nnc"])).items()}
    made |= {f"bad/{name}.nnc": ("", *rest) for name, rest in _references().items()}
    made |= {f"bad/{name}.nnc": rest for name, rest in _primed().items()}
    made |= {f"bad/{name}.nnc": rest for name, rest in _tokens(good["tokens.nnc"]).items()}
    made |= {f"bad/{name}.nnc": rest for name, rest in _code(good["tokens-code.nnc"]).items()}
    return {name: (about, model, data, error, sentence) for name, (model, about, data, error, sentence) in made.items()}


Row = tuple[str, bytes, str, str]
CUT = ("TruncatedError", "truncated")


def _changed(data: bytes, at: int, put: bytes) -> bytes:
    at %= len(data)
    return data[:at] + put + data[at + len(put) :]


def _layout(good: dict[str, bytes]) -> dict[str, Row]:
    whole, several = good["stored.nnc"], good["blocks-named.nnc"]
    other_block = MAGIC + b"\x11\x01" + bytes(8)
    return {
        "no-bytes": ("a file without a frame", b"", "FormatError", "The file is empty"),
        "cut-magic": ("it ends in the magic", whole[:3], *CUT),
        "cut-version": ("it ends after the magic", whole[:4], *CUT),
        "cut-model": ("it ends in the model's name", other_block[:9], *CUT),
        "cut-window": ("it ends before the window", several[:14], *CUT),
        "cut-block": ("it ends before the first block", whole[:5], *CUT),
        "cut-checksum": ("it ends in a checksum", whole[:12], *CUT),
        "cut-payload": ("it ends in a payload", whole[:-1], *CUT),
        "cut-second-block": ("it ends after a block that is not the last", several[: 15 + 1 + 2 + 8 + 300], *CUT),
        "cut-block-magic": ("it ends in a block's magic", several[: 15 + 1 + 2 + 8 + 303], *CUT),
        "cut-footer": ("it ends in the footer", several[:-1], *CUT),
        "cut-second-frame": ("its second frame ends early", whole + whole[:40], *CUT),
        "text": ("it is a text", b"Not compressed at all.\n", "FormatError", "not a .nnc file"),
        "trailing-byte": ("a byte more", whole + b"\0", "TrailingError", "no part of it"),
        "trailing-text": ("a text after the frame", whole + b"more text", "TrailingError", "no part of it"),
        "version-0": ("version 0", _changed(whole, 4, b"\x00"), "FormatError", "format version 0"),
        "version-2": ("version 2", _changed(whole, 4, b"\x20"), "FormatError", "format version 2"),
        "version-15": ("version 15", _changed(whole, 4, b"\xf0"), "FormatError", "format version 15"),
        "flag-1": ("reserved flag 1", _changed(whole, 4, b"\x12"), "FormatError", "header sets bits"),
        "cut-reference": ("it ends in the reference's name", good["reference-copies.nnc"][:12], *CUT),
        "block-bit-4": ("reserved bit 4 of a block", _changed(whole, 5, b"\x90"), "FormatError", "first byte sets bits"),
        "block-bit-6": ("reserved bit 6 of a block", _changed(whole, 5, b"\xc0"), "FormatError", "first byte sets bits"),
        "block-magic": ("another block magic", _changed(several, 15 + 11 + 300, MAGIC), "FormatError", "its magic number"),
        "block-place": ("another place", _changed(several, 15 + 11 + 300 + 5, b"\xad"), "FormatError", "another place"),
        "block-literals": ("another place in the literals", _changed(several, 15 + 11 + 300 + 7, b"\xab"), "FormatError", "another place"),  # noqa: E501
        "kind-4": ("a reserved kind", HEAD + b"\x84\x03\x01" + checksum(b"abc") + b"x", "FormatError", "kind 4"),
        "kind-7": ("a reserved kind", HEAD + b"\x87\x03\x01" + checksum(b"abc") + b"x", "FormatError", "kind 7"),
        "checksum": ("another checksum", _changed(whole, 9, b"\0\0"), "FormatError", "checksum differs"),
        "payload": ("another byte in a stored payload", _changed(whole, -9, b"\0\0\0"), "FormatError", "checksum differs"),
        "second-frame": ("the second frame's checksum", whole + _changed(whole, 9, b"\0\0"), "FormatError", "checksum differs"),
    }  # fmt: skip


def _sizes() -> dict[str, Row]:
    over = "FormatError", "more than 18,874,367 bytes"
    window = "FormatError", "the exponent is 16 to 32"
    empty = frame([stored(b"x", False), stored(b"")], None, b"x")
    alone = b"\x80\x00" + checksum(b"")
    return {
        "literals-18-mib": ("a block of 18 MiB", HEAD + b"\x80" + varint(MAX_LITERAL_BYTES + 1), *over),
        "literals-huge": ("a block of 2**63 - 1", HEAD + b"\x80" + varint((1 << 63) - 1), *over),
        "literals-endless": ("a varint without end", HEAD + b"\x80" + b"\xff" * 40, *over),
        "literals-long-form": ("a varint one byte too long", HEAD + b"\x80\x80\x00" + checksum(b""), "FormatError", "shortest form"),  # noqa: E501
        "literals-missing": ("a stored block that is not there", HEAD + b"\x80" + varint(MAX_LITERAL_BYTES) + bytes(9), *CUT),
        "payload-over": ("a payload longer than its literals", HEAD + b"\x81\x0a\x0b", "FormatError", "more than 10 bytes"),
        "copied-over": ("a block of 64 MiB and a byte", HEAD + b"\x88\x0a\x00" + varint(MAX_RAW_BYTES - 9), "FormatError", "67,108,854"),  # noqa: E501
        "list-over": ("a list of 1 MiB and a byte", HEAD + b"\x88\x0a\x00\x20" + varint(MAX_LIST_BYTES + 1), "FormatError", "1,048,576"),  # noqa: E501
        "list-payload-over": ("a list's payload longer than it", HEAD + b"\x88\x0a\x01\x20\x05\x06", "FormatError", "more than 5 bytes"),  # noqa: E501
        "list-kind-3": ("a list coded as tokens", HEAD + b"\x88\x0a\x03\x20\x05\x05", "FormatError", "coded as kind 3"),
        "window-15": ("a window of 2**15", WINDOW + b"\x0f" + alone, *window),
        "window-33": ("a window of 2**33", WINDOW + b"\x21" + alone, *window),
        "window-missing": ("several blocks, and no window", HEAD + b"\x00\x01", "FormatError", "several blocks says no window"),
        "window-needless": ("one block, and a window", WINDOW + b"\x10" + alone, "FormatError", "one block says a window"),
        "block-empty": ("an empty block after another", empty, "FormatError", "A block of several is empty"),
    }  # fmt: skip


def _index(good: dict[str, bytes]) -> dict[str, Row]:
    several, across = good["blocks-named.nnc"], good["copies-across.nnc"]
    wrong = "FormatError", "The index at the end does not describe"
    size = int.from_bytes(several[-4:], "little")
    blocks = [stored(ONE, False), stored(b"y")]
    return {
        "footer-total": ("another total", _changed(several, -size, bytes([several[-size] ^ 1])), *wrong),
        "footer-entry": ("another size in an entry", _changed(several, -size + 3, bytes([several[-size + 3] ^ 8])), *wrong),
        "footer-copied": ("other copied bytes in an entry", _changed(across, -21, bytes([across[-21] ^ 1])), *wrong),
        "footer-digest": ("another digest", _changed(several, -12, b"\0\0"), *wrong),
        "footer-size": ("another size of the footer", _changed(several, -4, b"\xff"), *wrong),
        "footer-missing": ("a frame in place of the footer", several[:-size] + good["stored.nnc"], *wrong),
        "footer-model": ("another model id than the footer's digest has", _changed(several, 5, b"\x02"), *wrong),
        "content": ("another checksum of the content", frame(blocks, None, ONE + b"z"), "FormatError", "The content is not that"),
        "content-first": (
            "the first frame's checksum of the content",
            frame(blocks, None, ONE) + good["copies-across.nnc"],
            "FormatError",
            "The content is not that",
        ),
    }  # fmt: skip


def _list(count: int, *values: int) -> bytes:
    """Return a list as it may be: a count, then runs, lengths less 32, and steps without sign."""
    return b"".join(map(varint, (count, *values)))


def _copies() -> dict[str, Row]:
    """Return files with copies that are not right; each block is what its checksum says."""

    def alone(listed: bytes, copied_bytes: int = 40) -> bytes:
        return frame([with_list(stored(ONE), ONE, listed, copied_bytes)])

    def later(listed: bytes, first: Block, before: bytes = b"x" * 80_000) -> bytes:
        second = with_list(stored(ONE), ONE, listed, 40)
        return frame([first, second], None, before + ONE)

    adds = "FormatError", "does not add up"
    outside = "FormatError", "from before the window or the beginning"
    after = "FormatError", "text that comes after it"
    count = "FormatError", "and there are 1 to 65,536"
    long = lzma_block(b"x" * 80_000, False)
    most = _list(MAX_COPIES + 1, *[300, *[0] * MAX_COPIES], *[0] * (MAX_COPIES + 1), *[1, *[0] * MAX_COPIES])
    packed = frame([with_list(stored(ONE), ONE, most, 32 * (MAX_COPIES + 1), BlockKind.LZMA)])
    right = _list(1, 100, 8, unsigned(-90))
    as_lzma = with_list(stored(ONE), ONE, bytes(90), 40, BlockKind.LZMA)
    listed = as_lzma.copies
    assert listed is not None
    other = replace(as_lzma, copies=replace(listed, payload=b"\xff" * 20))
    longer = replace(as_lzma, copies=replace(listed, list_bytes=91))
    swapped = frame([replace(with_list(stored(ONE), ONE, right, 40), checksum=checksum(ONE + right))])
    return {
        "copies-none": ("a list of no copies", alone(_list(0), 0), *count),
        "copies-too-many": ("65,537 copies", packed, *count),
        "copies-no-list": ("a list of no bytes", alone(b""), "FormatError", "ends within a number"),
        "copies-list-cut": ("a list without its last step", alone(right[:-2]), "FormatError", "ends within a number"),
        "copies-list-more": ("a byte after the list", alone(right + b"\0"), "FormatError", "goes on after its end"),
        "copies-list-form": ("a number one byte too long", alone(_list(1, 100) + b"\x88\0" + right[3:]), "FormatError", "shortest form"),  # noqa: E501
        "copies-list-endless": ("a number without end", alone(_list(1) + b"\xff" * 30), "FormatError", "too large"),
        "copies-list-lzma": ("a list that is no LZMA", frame([other]), "FormatError", "LZMA"),
        "copies-list-short": ("a list of fewer bytes than claimed", frame([longer]), "FormatError", "of 91 bytes holds 90"),
        "copies-list-checksum": ("the list is not in the checksum", frame([replace(as_lzma, checksum=checksum(ONE))]), "FormatError", "checksum differs"),  # noqa: E501
        "copies-list-order": ("a checksum of literals, then the list", swapped, "FormatError", "checksum differs"),
        "copies-runs-over": ("runs of more literals than there are", alone(_list(1, 301, 8, unsigned(-200))), *adds),
        "copies-runs-huge": ("a run of 2**63 - 1", alone(_list(1, (1 << 63) - 1, 8, unsigned(-200))), *adds),
        "copies-fewer": ("copies of fewer bytes than claimed", alone(right, 41), *adds),
        "copies-more": ("copies of more bytes than claimed", alone(right, 39), *adds),
        "copies-claim-64-mib": ("40 bytes where 64 MiB are claimed", alone(right, MAX_RAW_BYTES - 300), *adds),
        "copies-length-huge": ("a copy of 2**62 bytes", alone(_list(1, 100, 1 << 62, unsigned(-90))), *adds),
        "copies-here": ("a copy from its own place", alone(_list(1, 100, 8, 0)), *after),
        "copies-future": ("a copy from a place after it", alone(_list(1, 100, 8, unsigned(50))), *after),
        "copies-future-second": ("the second copy is from after it", alone(_list(2, 100, 9, 1, 1, unsigned(-90), unsigned(62)), 66), *after),  # noqa: E501
        "copies-before": ("a copy from before the beginning", alone(_list(1, 100, 8, unsigned(-101))), *outside),
        "copies-before-huge": ("a copy from 2**62 bytes before", alone(_list(1, 100, 8, (1 << 63) - 1)), *outside),
        "copies-before-frame": (
            "a copy from the frame before",
            frame([stored(ONE)]) + alone(_list(1, 100, 8, unsigned(-250))),
            *outside,
        ),
        "copies-before-blocks": ("a copy from before several blocks", later(_list(1, 9, 8, unsigned(-11)), stored(b"x", False), b"x"), *outside),  # noqa: E501
        "copies-before-window": ("a copy from a byte before the window", later(_list(1, 9, 8, unsigned(-65_537)), long), *outside),  # noqa: E501
        "copies-no-literals": ("a copy where there are no literals", frame([with_list(stored(b""), b"", _list(1, 0, 8, 1), 40)]), *outside),  # noqa: E501
        "copies-content": ("copies that give another content", later(_list(1, 9, 8, unsigned(-18)), long), "FormatError", "The content is not that"),  # noqa: E501
    }  # fmt: skip


def _references() -> dict[str, Row]:
    """Return files that name a reference and are not right; the reference is at hand."""

    def alone(source: int, length: int) -> bytes:
        listed = _list(1, 100, length - 32, unsigned(source - 100))
        return frame([with_list(stored(ONE), ONE, listed, length)], base=BASE)

    def listed(first: bytes) -> bytes:
        block = with_list(stored(ONE), ONE, bytes(400), 40, BlockKind.LZMA)
        assert block.copies is not None
        return frame([replace(block, copies=replace(block.copies, kind=BlockKind.BYTES, payload=first + bytes(40)))], base=BASE)

    outside = "FormatError", "not within the reference"
    primed = "FormatError", "begins with a reference"
    return {
        "reference-other": ("another reference", frame([stored(ONE)], base=b"x"), "NoReferenceError", "2d711642b726b044"),
        "reference-before": ("a copy from before the reference", alone(-len(BASE) - 1, 40), *outside),
        "reference-over-end": ("a copy from the reference into the literals", alone(-39, 40), *outside),
        "reference-short": ("a copy of one byte of it again and again", alone(-1, 40), *outside),
        "reference-unnamed": ("a copy of a reference that is not named", frame([with_list(stored(ONE), ONE, _list(1, 100, 8, unsigned(-150)), 40)]), "FormatError", "or the beginning"),  # noqa: E501
        "reference-bytes-unnamed": ("a primer, and no reference is named", frame([primed_bytes_block(MIXED[:400])]), *primed),
        "reference-list": ("a list of copies with a primer", listed(b"\x30"), *primed),
        "reference-tables": ("a primer, and tables of 2**15", frame([replace(primed_bytes_block(MIXED[:400]), payload=b"\x2f" + bytes(40))], base=BASE), "FormatError", "2**15"),  # noqa: E501
    }  # fmt: skip


def _primed() -> dict[str, tuple[str, str, bytes, str, str]]:
    """Return blocks of tokens with a primer that are not right."""
    block, small = primed_tokens_block(MIXED[:400]), reference(SMALL)
    words = block.payload[3:]

    def altered(head: bytes, base: bytes = BASE) -> bytes:
        return frame([replace(block, payload=head + words)], small, base=base)

    lanes = "FormatError", "several lanes or a code"
    return {
        "primer-unnamed": (SMALL, "a primer, and no reference is named", altered(b"\x20\x0a\0", b""), "FormatError", "begins with a reference"),  # noqa: E501
        "primer-lanes": (SMALL, "a primer, and two lanes", altered(b"\x21\x0a\0"), *lanes),
        "primer-code": (SMALL, "a primer, and a code", altered(b"\x20\x0a\1"), *lanes),
        "primer-denied": (SMALL, "a primer that the head denies", altered(b"\0\x0a\0"), "FormatError", "altered"),
        "primer-lines": (SMALL, "a primer, and other lines", altered(b"\x20\x08\0"), "FormatError", "altered"),
    }  # fmt: skip


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
        return frame([replace(new, literal_bytes=block.literal_bytes if raw_bytes is None else raw_bytes)])

    return {
        "bytes-empty": ("no payload", altered(b""), "FormatError", "mixing alone is empty"),
        "bytes-tables-15": ("tables of 2**15", altered(b"\x0f" + block.payload[1:]), "FormatError", "2**15"),
        "bytes-tables-27": ("tables of 2**27", altered(b"\x1b" + block.payload[1:]), "FormatError", "2**27"),
        "bytes-part-word": ("no whole number of words", altered(block.payload[:-1]), "FormatError", "not a multiple of 4"),
        "bytes-word-less": ("words that end early", altered(block.payload[:-12]), *ends),
        "bytes-words-more": ("three words too many", altered(block.payload + bytes(12)), *ends),
        "bytes-raw-less": ("fewer raw bytes than coded", altered(raw_bytes=block.literal_bytes - 100), *ends),
        "bytes-raw-more": ("more raw bytes than coded", altered(raw_bytes=block.literal_bytes + 1000), *ends),
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
        return frame([replace(new, literal_bytes=block.literal_bytes if raw_bytes is None else raw_bytes)], named)

    header, words = block.payload[:3], block.payload[3:]
    other = ModelReference(255, bytes(range(8)))
    of_level, inside = replace(other, model_id=1), _inside_a_token(block)
    rows = {
        "tokens-unnamed": ("the frame names no model", altered(named=None), "FormatError", "names no model"),
        "tokens-other-model": ("a model that is not there", altered(named=other), "ModelError", "0001020304050607"),
        "tokens-default-model": ("the model default with another hash", altered(named=of_level), "ModelError", "the model default"),  # noqa: E501
        "tokens-short": ("a payload of 6 bytes", altered(block.payload[:6]), "FormatError", "too short"),
        "tokens-lanes": ("32 lanes", altered(b"\x05" + block.payload[1:]), "FormatError", "2**5 lanes"),
        "tokens-lanes-31": ("2**31 lanes", altered(b"\x1f" + block.payload[1:]), "FormatError", "2**31 lanes"),
        "tokens-lines-7": ("2**7 lines", altered(header[:1] + b"\x07\0" + words), "FormatError", "2**7 lines"),
        "tokens-lines-23": ("2**23 lines", altered(header[:1] + b"\x17\0" + words), "FormatError", "2**23 lines"),
        "tokens-code": ("a code, and a model without", altered(header[:2] + b"\x01" + words), "FormatError", "its model has 0 codes"),  # noqa: E501
        "tokens-part-word": ("no whole number of words", altered(block.payload[:-1]), "FormatError", "not a multiple of 4"),
        "tokens-word-less": ("words that end early", altered(block.payload[:-100]), *ends),
        "tokens-words-more": ("three words too many", altered(block.payload + bytes(12)), *ends),
        "tokens-overflow": ("a token that goes beyond the block", altered(raw_bytes=inside), "FormatError", "does not fit"),
        "tokens-raw-more": ("more raw bytes than coded", altered(raw_bytes=block.literal_bytes + 1000), "FormatError", "altered"),
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
        "code-none": (CODED, "no code in place of one", altered(header + b"\0" + words), "FormatError", "altered"),
        "code-other": (CODED, "another code", altered(header + b"\2" + words), "FormatError", "altered"),
        "code-6": (CODED, "a code after the last", altered(header + b"\6" + words), "FormatError", "its model has 5 codes"),
        "code-255": (CODED, "the highest code", altered(header + b"\xff" + words), "FormatError", "its model has 5 codes"),
        "code-other-model": (SMALL, "it has no code", altered(block.payload, SMALL), "FormatError", "its model has 0 codes"),
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
