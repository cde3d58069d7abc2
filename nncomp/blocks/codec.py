"""How a block becomes bytes and back: the only place where the kinds of block meet.

A codec tries each kind that may win and keeps the smallest. Knows nothing of files, terminals, frames or processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from nncomp.blocks.levels import USUAL, Effort
from nncomp.blocks.lzma_payload import decode_lzma, encode_lzma, quick_lzma_bytes
from nncomp.errors import FormatError
from nncomp.format.frames import block_checksum
from nncomp.format.numbers import BlockKind
from nncomp.format.varints import varint
from nncomp.network.registry import ModelFile

if TYPE_CHECKING:
    from nncomp.network.engine import Network

_SAMPLE_BYTES = 1 << 16  # a sample tells whether a block is random, and whether bytes or tokens are smaller
# Bytes are coded beside tokens in sixteen parts, and given up once they are larger. Bytes catch up only where long repeats
# come often. So after 2, 4 and 8 parts, where the quickest LZMA leaves at least this share of the block, bytes are given up
# if the later half of these parts takes this much more than as tokens (docs/log/speed.md).
_LOOKS, _TOKENS_LEAD = {2: 0.3, 4: 0.3, 8: 0.2}, 1.1
_LZMA_MARGIN = 1.3  # LZMA is coded in full when its quickest setting leaves at most this much more than the best so far


@dataclass(frozen=True)
class CodedBlock:
    """A payload of some kind, and the surprisal of what was coded in it, in bits."""

    kind: BlockKind
    payload: bytes = field(repr=False)
    cost_bits: float
    part_bits: tuple[float, ...] = ()  # of tokens and bytes: the surprisal of each sixteenth of the raw bytes


class Codec:
    """Encodes and decodes blocks, with the network of one model or with none; `effort` is what encoding may cost."""

    def __init__(self, model: ModelFile | None = None, effort: Effort = USUAL) -> None:
        self.model, self.effort = model, effort

    def encode_block(self, data: bytes, threads: int = 1) -> CodedBlock:
        """Return the smallest coding of `data` among those tried; the same for any number of `threads`.

        >>> Codec().encode_block(b"").kind.name
        'STORED'
        """
        best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
        quick_bytes = quick_lzma_bytes(data)
        if self.model and data:
            from nncomp.mixing import byte_predictor

            byte_predictor.prepare_beside()  # while this process prepares tokens
        kinds = self._worth_coding(data, quick_bytes)
        left_share = quick_bytes / len(data) if len(data) > _SAMPLE_BYTES else 0.0
        if threads > 1 and left_share < _LOOKS[4] and kinds == [BlockKind.TOKENS, BlockKind.BYTES]:
            best = self._encode_side_by_side(best, data, left_share)
        else:
            for kind in kinds:
                if kind == BlockKind.BYTES:
                    coded = _encode_bytes(data, partial(_is_lost, best, left_share))
                else:
                    coded = self._encode(kind, data, threads)
                best = _smaller(best, coded) if coded else best
        return _smaller(best, _encode_lzma(data)) if quick_bytes <= _LZMA_MARGIN * len(best.payload) else best

    def _encode_side_by_side(self, best: CodedBlock, data: bytes, left_share: float) -> CodedBlock:
        """Return what tokens and then bytes would give, coded in a thread each: tokens gain less from a second thread."""
        from concurrent.futures import ThreadPoolExecutor

        least_bits = best.cost_bits
        with ThreadPoolExecutor(1) as other:
            as_bytes = other.submit(_encode_bytes, data, lambda part_bits: sum(part_bits) > least_bits)
            try:
                best = _smaller(best, self._encode(BlockKind.TOKENS, data))
                least_bits = best.cost_bits
            except BaseException:
                least_bits = 0.0  # the other thread gives up soon
                raise
            coded = as_bytes.result()
        is_kept = coded and not any(_is_lost(best, left_share, list(coded.part_bits[:parts])) for parts in _LOOKS)
        return _smaller(best, coded) if coded and is_kept else best

    def _encode(self, kind: BlockKind, data: bytes, threads: int = 1) -> CodedBlock:
        if kind == BlockKind.LZMA:
            return _encode_lzma(data)
        if kind == BlockKind.BYTES:
            coded = _encode_bytes(data)
            assert coded is not None  # nothing bounds it
            return coded
        from nncomp.blocks.token_payload import encode_tokens

        found = encode_tokens(self._network, data, threads, self.effort)
        return CodedBlock(BlockKind.TOKENS, found.payload, found.cost_bits, tuple(found.part_bits.tolist()))

    def _worth_coding(self, data: bytes, quick_bytes: int) -> list[BlockKind]:
        """Return which of tokens and bytes to code, in this order: both, or with little effort the smaller one on a sample.

        A block is random where neither the quickest LZMA (`quick_bytes`) nor mixing on a sample makes it smaller: none.
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
    def _network(self) -> Network:
        """The network of the model, which is read and checked against its hash when the network is first needed."""
        from nncomp.network.device import open_outside
        from nncomp.network.engine import Network
        from nncomp.network.model import parse_model

        assert self.model is not None
        model = parse_model(self.model.read(), str(self.model.path), self.model.read_base())
        return open_outside(model, self.model.device) if self.model.device else Network(model)

    def decode_block(self, kind: int, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
        """Return the `raw_bytes` bytes of a payload; raises FormatError when it does not hold exactly so many."""
        if kind == BlockKind.STORED:
            data = payload
        elif kind == BlockKind.LZMA:
            data = decode_lzma(payload, raw_bytes)
        elif kind == BlockKind.BYTES:
            from nncomp.blocks.byte_payload import decode_bytes

            data = decode_bytes(payload, raw_bytes)
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

        return decode_tokens(self._network, payload, raw_bytes, threads)


def encode_list(data: bytes) -> CodedBlock:
    """Return the smallest coding of a block's list of copies: stored, as LZMA or as bytes."""
    best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
    as_bytes = _encode_bytes(data)
    assert as_bytes is not None  # nothing bounds it
    return _smaller(_smaller(best, _encode_lzma(data)), as_bytes)


def decode_list(kind: int, payload: bytes, list_bytes: int) -> bytes:
    """Return a block's list of copies, of `list_bytes` bytes; raises FormatError when the payload does not hold it."""
    return Codec().decode_block(kind, payload, list_bytes)


def verify_block(copy_list: bytes, literals: bytes, expected: bytes) -> None:
    """Raise FormatError unless a block's list of copies and its literals have the checksum that was written with them."""
    if block_checksum(copy_list, literals) != expected:
        raise FormatError("A block decodes to other bytes than were compressed (its checksum differs); the file is altered.")


def _size(coded: CodedBlock) -> int:
    """Return the bytes that a block takes for its payload and the payload's size; a stored block does not write its size."""
    size_bytes = 0 if coded.kind == BlockKind.STORED else len(varint(len(coded.payload)))
    return size_bytes + len(coded.payload)


def _smaller(best: CodedBlock, other: CodedBlock) -> CodedBlock:
    return other if _size(other) < _size(best) else best


def _from_middle(data: bytes, count: int) -> bytes:
    start = (len(data) - count) // 2
    return data[start : start + count]


def _encode_lzma(data: bytes) -> CodedBlock:
    payload = encode_lzma(data)
    return CodedBlock(BlockKind.LZMA, payload, 8.0 * len(payload))


def _encode_bytes(data: bytes, is_lost: Callable[[list[float]], bool] = lambda _: False) -> CodedBlock | None:
    from nncomp.blocks.byte_payload import encode_bytes

    found = encode_bytes(data, is_lost)
    return CodedBlock(BlockKind.BYTES, found.payload, sum(found.part_bits), found.part_bits) if found else None


def _is_lost(best: CodedBlock, left_share: float, part_bits: list[float]) -> bool:
    """Return whether bytes are given up for `best`; `part_bits` are the bits of their parts so far.

    `left_share` is the share of the block that the quickest LZMA leaves.
    """
    parts = len(part_bits)
    if parts in _LOOKS and left_share >= _LOOKS[parts] and best.kind == BlockKind.TOKENS:
        later = slice(parts // 2, parts)
        if sum(part_bits[later]) >= _TOKENS_LEAD * sum(best.part_bits[later]):
            return True
    return sum(part_bits) > best.cost_bits
