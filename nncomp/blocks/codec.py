"""How a block becomes bytes and back: the only place where the kinds of block meet.

A codec tries each kind it can and keeps the smallest. Knows nothing of files, terminals, frames or processes.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING

from nncomp.blocks.levels import USUAL, Effort
from nncomp.errors import FormatError
from nncomp.format.frames import STORED, checksum, varint
from nncomp.network.registry import ModelFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nncomp.network.encoder import Encoder
    from nncomp.network.engine import Network

_SAMPLE_BYTES = 1 << 16  # that tell whether a block is random, and which kind is the smaller
# Bytes are coded after tokens in so many parts, and given up once they are the larger. Few long repeats come where the quickest
# LZMA leaves much: after so many parts, where it leaves so much of the block, bytes do not catch up if the later half of these
# parts takes so much more than as tokens (docs/log/format.md).
_PARTS = 16
_LOOKS, _TOKENS_LEAD = {2: 0.3, 4: 0.3, 8: 0.2}, 1.1
_XZ_MARGIN = 1.3  # xz is coded in full when its quickest setting needs at most this much more than the best so far


class BlockKind(IntEnum):
    """What a block's payload is; the numbers are part of the format."""

    STORED = STORED  # the raw bytes
    LZMA = 1  # without the headers of xz
    BYTES = 2  # mixing alone, on bytes
    TOKENS = 3  # network and mixing, on tokens


@dataclass(frozen=True)
class CodedBlock:
    """A payload of some kind, and the surprisal of what was coded in it, in bits."""

    kind: BlockKind
    payload: bytes = field(repr=False)
    cost_bits: float
    part_bits: tuple[float, ...] = ()  # of tokens and bytes: the surprisal of each sixteenth of the raw bytes


# The filter is part of the format (docs/FORMAT.md): text has no four-byte alignment, hence pb = 0.
_LZMA_FILTERS = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 8 << 20,
        "lc": 3,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "mf": lzma.MF_BT4,
        "nice_len": 273,
        "depth": 512,
    }
]


class Codec:
    """Encodes and decodes blocks, with the network of one model or with none; `effort` is what encoding may cost."""

    def __init__(self, model: ModelFile | None = None, effort: Effort = USUAL) -> None:
        self.model, self.effort = model, effort
        self._coded: tuple[bytes, CodedBlock] | None = None  # the last block: many a long file repeats one
        self._decoded: tuple[tuple[int, bytes, int], bytes] | None = None

    def encode_block(self, data: bytes, threads: int = 1) -> CodedBlock:
        """Return the smallest coding of `data` among those tried; the same for any number of `threads`.

        >>> Codec().encode_block(b"").kind.name
        'STORED'
        """
        if self._coded and self._coded[0] == data:
            return self._coded[1]
        best = self._encode_smallest(data, threads)
        self._coded = data, best
        return best

    def _encode_smallest(self, data: bytes, threads: int) -> CodedBlock:
        best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
        quick_bytes = len(_quick_lzma(data))
        if self.model and data:
            from nncomp.mixing import byte_predictor

            byte_predictor.prepare_beside()  # while this process prepares tokens
        kinds = self._worth_coding(data, quick_bytes)
        leaves = quick_bytes / len(data) if len(data) > _SAMPLE_BYTES else 0.0
        if threads > 1 and leaves < _LOOKS[4] and kinds == [BlockKind.TOKENS, BlockKind.BYTES]:
            best = self._encode_side_by_side(best, data, leaves)
        else:
            for kind in kinds:
                if kind == BlockKind.BYTES:
                    coded = _encode_bytes(data, partial(_is_lost, best, leaves))
                else:
                    coded = self._encode(kind, data, threads)
                best = _smaller(best, coded) if coded else best
        return _smaller(best, _encode_lzma(data)) if quick_bytes <= _XZ_MARGIN * len(best.payload) else best

    def _encode_side_by_side(self, best: CodedBlock, data: bytes, leaves: float) -> CodedBlock:
        """Return what one after the other would come to, tokens and bytes in a thread each: a second one gives tokens less."""
        from concurrent.futures import ThreadPoolExecutor

        least_bits = best.cost_bits
        with ThreadPoolExecutor(1) as other:
            in_bytes = other.submit(_encode_bytes, data, lambda part_bits: sum(part_bits) > least_bits)
            try:
                best = _smaller(best, self._encode(BlockKind.TOKENS, data))
                least_bits = best.cost_bits
            except BaseException:
                least_bits = 0.0  # what is no longer wanted is given up soon
                raise
            coded = in_bytes.result()
        is_kept = coded and not any(_is_lost(best, leaves, list(coded.part_bits[:parts])) for parts in _LOOKS)
        return _smaller(best, coded) if coded and is_kept else best

    def _encode(self, kind: BlockKind, data: bytes, threads: int = 1) -> CodedBlock:
        if kind == BlockKind.LZMA:
            return _encode_lzma(data)
        if kind == BlockKind.BYTES:
            coded = _encode_bytes(data)
            assert coded is not None  # nothing bounds it
            return coded
        from nncomp.blocks.token_payload import encode_tokens
        from nncomp.network.code import NO_CODE

        encoder = self._encoder if self.effort.is_thorough else None  # for both payloads are made, with a code and without
        code = encoder.code(self._packed.model.vocabulary.encode(data)) if encoder else NO_CODE
        found = encode_tokens(self._packed, data, threads, code, self.effort.max_lanes)
        return CodedBlock(BlockKind.TOKENS, found.payload, found.cost_bits, tuple(found.part_bits.tolist()))

    def _worth_coding(self, data: bytes, quick_bytes: int) -> list[BlockKind]:
        """Return which of tokens and bytes to code, in this order: both, or with little effort the smaller one on a sample.

        What the quickest LZMA leaves as long as it was (`quick_bytes`), and mixing on a sample too, is random: none.
        """
        kinds = [*([BlockKind.TOKENS] if self.model else []), BlockKind.BYTES]
        if len(data) <= _SAMPLE_BYTES:
            return kinds if data else []
        sample = _from_middle(data, _SAMPLE_BYTES)
        if quick_bytes >= len(data) and self._encoded_bytes(BlockKind.BYTES, sample) >= len(sample):
            return []
        if not self.effort.is_thorough:
            return [min(kinds, key=lambda kind: self._encoded_bytes(kind, sample))]
        return kinds

    def _encoded_bytes(self, kind: BlockKind, sample: bytes) -> int:
        return len(self._encode(kind, sample).payload)

    @cached_property
    def _packed(self) -> Network:
        """The model, loaded and checked against its hash when it is first needed."""
        from nncomp.network.device import open_outside
        from nncomp.network.engine import Network
        from nncomp.network.model import parse_model

        assert self.model is not None
        model = parse_model(self.model.read(), str(self.model.path), self.model.read_base())
        return open_outside(model, self.model.device) if self.model.device else Network(model)

    @cached_property
    def _encoder(self) -> Encoder | None:
        """The encoder beside the model, if the model takes a code and there is one."""
        from nncomp.network.encoder import open_encoder

        assert self.model is not None
        return open_encoder(self.model.path, self._packed.model.sizes)

    def decode_block(self, kind: int, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
        """Return the `raw_bytes` bytes of a payload; raises FormatError when it does not hold exactly so many."""
        block = kind, payload, raw_bytes
        if self._decoded is None or self._decoded[0] != block:
            self._decoded = block, self._decode(*block, threads)
        return self._decoded[1]

    def _decode(self, kind: int, payload: bytes, raw_bytes: int, threads: int) -> bytes:
        if kind == BlockKind.STORED:
            data = payload
        elif kind == BlockKind.LZMA:
            data = _decode_lzma(payload, raw_bytes)
        elif kind == BlockKind.BYTES:
            data = _decode_bytes(payload, raw_bytes)
        elif kind == BlockKind.TOKENS:
            data = self._decode_tokens(payload, raw_bytes, threads)
        else:
            raise FormatError(f"A block is of kind {kind}, which this nncomp cannot read; use a newer one.")
        if len(data) != raw_bytes:
            raise FormatError(f"A block of {raw_bytes:,} bytes holds {len(data):,}; the file is altered.")
        return data

    def _decode_tokens(self, payload: bytes, raw_bytes: int, threads: int) -> bytes:
        if self.model is None:
            raise FormatError("A block needs a model, but the file names none; the file is altered.")
        from nncomp.blocks.token_payload import decode_tokens

        return decode_tokens(self._packed, payload, raw_bytes, threads)


def verify_block(data: bytes, expected: bytes) -> None:
    """Raise FormatError unless the decoded bytes have the checksum that was written with them."""
    if checksum(data) != expected:
        raise FormatError("A block decodes to other bytes than were compressed (its checksum differs); the file is altered.")


def _size(coded: CodedBlock) -> int:
    """Return the bytes a block takes for its payload and the payload's size; a stored block does not write its size."""
    size_bytes = 0 if coded.kind == BlockKind.STORED else len(varint(len(coded.payload)))
    return size_bytes + len(coded.payload)


def _from_middle(data: bytes, count: int) -> bytes:
    start = (len(data) - count) // 2
    return data[start : start + count]


def _smaller(best: CodedBlock, other: CodedBlock) -> CodedBlock:
    return other if _size(other) < _size(best) else best


def _quick_lzma(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "preset": 0}])


def _encode_lzma(data: bytes) -> CodedBlock:
    payload = lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
    return CodedBlock(BlockKind.LZMA, payload, 8.0 * len(payload))


def _decode_lzma(payload: bytes, raw_bytes: int) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
    try:
        # One byte more than is claimed would already be too many: a small payload cannot fill the memory.
        data = decoder.decompress(payload, raw_bytes + 1)
        if not decoder.eof and len(data) <= raw_bytes:
            data += decoder.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"A block coded as xz cannot be decoded ({error}); the file is altered.") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError("A block coded as xz does not end where its data ends; the file is altered.")
    return data


def _is_lost(best: CodedBlock, leaves: float, part_bits: list[float]) -> bool:
    """Whether bytes, whose first parts took so many bits, are given up for `best`; the quickest LZMA leaves such a share."""
    parts = len(part_bits)
    if parts in _LOOKS and leaves >= _LOOKS[parts] and len(best.part_bits) == _PARTS:
        later = slice(parts // 2, parts)
        if sum(part_bits[later]) >= _TOKENS_LEAD * sum(best.part_bits[later]):
            return True
    return sum(part_bits) > best.cost_bits


def _encode_bytes(data: bytes, is_lost: Callable[[list[float]], bool] = lambda _: False) -> CodedBlock | None:
    """Return the block as bytes; or None as soon as `is_lost` says so of what its parts took so far."""
    import numpy as np

    from nncomp import range_coder
    from nncomp.mixing import byte_predictor

    raw = np.frombuffer(data, np.uint8)
    decisions = np.unpackbits(raw)  # 8 a byte, most significant first, as the model takes them
    parts: list[NDArray[np.uint16]] = []
    part_bits: list[float] = []
    done = 0
    for p1 in byte_predictor.probabilities_in_parts(raw, -(-len(data) // _PARTS)):
        parts.append(p1)
        part_bits.append(range_coder.cost_bits(decisions[done : done + len(p1)], p1))
        done += len(p1)
        if is_lost(part_bits):
            return None
    words = range_coder.encode(decisions, np.concatenate(parts))
    payload = bytes([byte_predictor.DEFAULT_TABLE_BITS]) + range_coder.words_to_bytes(words)
    return CodedBlock(BlockKind.BYTES, payload, sum(part_bits), tuple(part_bits))


def _decode_bytes(payload: bytes, raw_bytes: int) -> bytes:
    from nncomp import range_coder
    from nncomp.mixing import byte_predictor

    if not payload:
        raise FormatError("A block of mixing alone is empty; the file is truncated or altered.")
    words = range_coder.bytes_to_words(payload[1:])
    return byte_predictor.decode_bytes(words, raw_bytes, payload[0]).tobytes()
