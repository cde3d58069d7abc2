"""How a block becomes bytes and back: the only place where the kinds of block meet.

A codec tries each kind that may win and keeps the smallest. Knows nothing of files, terminals, frames or processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from nncomp.blocks.compressed_already import looks_random
from nncomp.blocks.levels import USUAL, Effort, lines_log2
from nncomp.blocks.lzma_payload import decode_lzma, encode_lzma, quick_lzma_bytes
from nncomp.blocks.primers import MAX_PRIMED_BYTES, PRIMED_LINES_LOG2, PRIMER, Primers, table_bits
from nncomp.errors import FormatError
from nncomp.format.frames import block_checksum
from nncomp.format.numbers import REFERENCE_HASH_BYTES, BlockKind
from nncomp.format.payloads import BytesHead, Payload, TokensHead, asked_primer_bytes
from nncomp.format.varints import varint
from nncomp.machine.forks import once
from nncomp.network.registry import ModelFile

if TYPE_CHECKING:
    from nncomp.blocks import primed_tokens
    from nncomp.mixing import byte_predictor
    from nncomp.network.engine import Network

_SAMPLE_BYTES = 1 << 16  # a sample tells whether a block is random, and whether bytes or tokens are smaller
# Bytes are coded beside tokens in PARTS, and given up once they are larger. Bytes catch up only where long repeats come often.
# So after 2 parts (of a long block), 4, 8 and 16, where the quickest LZMA leaves at least a share of the block, bytes are given
# up if the later half of these parts takes so much more than as tokens (docs/log/format.md).
_LOOKS = {2: (0.3, 1.2), 4: (0.3, 1.1), 8: (0.3, 1.1), 16: (0.2, 1.1)}  # by parts: the share, and how much more
_TELLING_BYTES = 2 << 20  # two parts of a shorter block are too little text to tell
# Of plain text bytes are not tried: it has few digits, and tokens take at most half of what the quickest LZMA leaves. Where
# tokens take next to nothing, as of Roman numerals in their order, bytes may take still less (docs/log/speed.md).
_DIGITS, _MOST_DIGITS, _MOST_OF_LZMA, _LEAST_OF_RAW = b"0123456789", 0.05, 0.5, 0.1
_LZMA_MARGIN = 1.3  # LZMA is coded in full when its quickest setting leaves at most this much more than the best so far


@dataclass(frozen=True)
class CodedBlock:
    """A payload of some kind, and the surprisal of what was coded in it, in bits."""

    kind: BlockKind
    payload: bytes = field(repr=False)
    cost_bits: float
    part_bits: tuple[float, ...] = ()  # of tokens: the surprisal of each of PARTS of the raw bytes; of bytes also of fewer


class Codec:
    """Encodes and decodes blocks, with the network of one model or with none; `effort` is what encoding may cost."""

    def __init__(self, model: ModelFile | None = None, effort: Effort = USUAL) -> None:
        self.model, self.effort = model, effort
        self._primers = Primers()
        self._ahead: dict[Payload, bytes] = {}  # what was decoded ahead of its block

    def encode_block(self, data: bytes, threads: int = 1, primer: bytes = b"") -> CodedBlock:
        """Return the smallest coding of `data` among those tried; the same for any number of `threads`.

        It may begin with what is known after the `primer`, the last bytes of a reference.

        >>> Codec().encode_block(b"").kind.name
        'STORED'
        """
        best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
        if self.effort.is_stored or (len(data) > _SAMPLE_BYTES and looks_random(data)):
            return best
        if self.model and data:
            from nncomp.mixing import byte_predictor

            byte_predictor.prepare_beside()  # while this process prepares tokens
        quick_bytes, kinds = self._worth_coding(data, threads)
        left_share = quick_bytes / len(data) if len(data) > _SAMPLE_BYTES else 0.0
        for kind in kinds:
            if kind == BlockKind.BYTES:
                is_plain = best.kind == BlockKind.TOKENS and _is_plain_text(data, len(best.payload), quick_bytes)
                coded = None if is_plain else _encode_bytes(data, partial(_is_lost, best, left_share, len(data)))
            else:
                coded = self._encode(kind, data, threads, self.effort.for_share(left_share))
            best = _smaller(best, coded) if coded else best
        best = _smaller(best, _encode_lzma(data)) if quick_bytes <= _LZMA_MARGIN * len(best.payload) else best
        for kind in kinds if primer and len(data) <= MAX_PRIMED_BYTES else []:
            coded = self._encode_primed(kind, data, primer, threads)
            primed_bytes = _size(coded) + (0 if asked_primer_bytes(best.kind, best.payload) else REFERENCE_HASH_BYTES)
            best = coded if primed_bytes < _size(best) else best
        return best

    def prepare(self, data: bytes) -> None:
        """Code `data` (a few bytes) as each kind that runs kernels, and back, so that all kernels are compiled."""
        if self.model:
            from nncomp.mixing import byte_predictor

            byte_predictor.prepare_beside()
        for kind in self._kinds:
            coded = self._encode(kind, data)
            assert self.decode_block(kind, coded.payload, len(data)) == data

    def _encode(self, kind: BlockKind, data: bytes, threads: int = 1, effort: Effort | None = None) -> CodedBlock:
        if kind == BlockKind.BYTES:
            return _whole_bytes(data)
        from nncomp.blocks.token_payload import encode_tokens

        found = encode_tokens(self._network, data, threads, effort or self.effort)
        return CodedBlock(BlockKind.TOKENS, found.payload, found.cost_bits, tuple(found.part_bits.tolist()))

    def _encode_primed(self, kind: BlockKind, data: bytes, primer: bytes, threads: int) -> CodedBlock:
        """Return the coding of a block, of tokens or bytes, that begins with a primer.

        What is known of the primer is of use again for another block where its tables are as large.
        """
        if kind == BlockKind.BYTES:
            from nncomp.blocks.byte_payload import encode_bytes

            bits = table_bits(len(primer))
            after = self._primed_bytes(primer, len(data), bits)
            coded = encode_bytes(data, head=BytesHead(bits, PRIMER), after=after)
            assert coded is not None  # nothing bounds it
            return CodedBlock(kind, coded.payload, sum(coded.part_bits), coded.part_bits)
        from nncomp.blocks.primed_tokens import encode_after

        most = min(PRIMED_LINES_LOG2, self.effort.max_lines_log2)
        head = TokensHead(0, lines_log2(2 * max(len(primer), len(data)), most), primer=PRIMER)
        found = encode_after(self._primed_tokens(primer, head.lines_log2), data, head, threads)
        return CodedBlock(kind, found.payload, found.cost_bits, tuple(found.part_bits.tolist()))

    def _primed_tokens(self, primer: bytes, lines_log2: int) -> primed_tokens.Primed:
        from nncomp.blocks.primed_tokens import prime

        return self._primers.get(BlockKind.TOKENS, (primer, lines_log2), lambda: prime(self._network, primer, lines_log2))

    def _primed_bytes(self, primer: bytes, raw_bytes: int, table_bits: int) -> byte_predictor.Primed:
        from nncomp.mixing.byte_predictor import primed, sizes

        size = sizes(len(primer) + raw_bytes, table_bits)
        return self._primers.get(BlockKind.BYTES, (primer, size), lambda: primed(primer, size))

    @property
    def _kinds(self) -> list[BlockKind]:
        return [*([BlockKind.TOKENS] if self.model else []), BlockKind.BYTES]

    def _worth_coding(self, data: bytes, threads: int) -> tuple[int, list[BlockKind]]:
        """Return the size by the quickest LZMA, and which of tokens and bytes to code.

        That is both, or with little effort the one that makes a sample smaller. A block is random where neither the quickest
        LZMA nor mixing on a sample makes it smaller: none.
        """
        kinds, quick, sample = self._kinds, partial(quick_lzma_bytes, data), _sample(data)
        if len(data) <= _SAMPLE_BYTES:
            return quick(), kinds if data else []
        tried = [] if self.effort.is_thorough else kinds
        quick_bytes, *sizes = _at_once([quick, *(partial(self._encoded_bytes, kind, sample) for kind in tried)], threads)
        if quick_bytes >= len(data) and self._encoded_bytes(BlockKind.BYTES, sample) >= len(sample):
            return quick_bytes, []
        return quick_bytes, [kinds[sizes.index(min(sizes))]] if sizes else kinds

    def _encoded_bytes(self, kind: BlockKind, sample: bytes) -> int:
        return len(self._encode(kind, sample).payload)

    @once
    def _network(self) -> Network:
        """The network of the model, which is read and checked against its hash when the network is first needed."""
        from nncomp.network.device import open_outside
        from nncomp.network.engine import Network
        from nncomp.network.model import read_model

        assert self.model is not None
        model = read_model(self.model)
        return open_outside(model, self.model.device) if self.model.device else Network(model)

    def decode_ahead(self, payloads: list[Payload], in_hand: int) -> None:
        """Decode short blocks of tokens, so many in step, where that is quicker; until `forget`, `decode_block` has them."""
        from nncomp.blocks.several_blocks import decode_several

        self._ahead = decode_several(self._network, payloads, in_hand) if self.model else {}

    def forget(self) -> None:
        """Let go of what was decoded ahead."""
        self._ahead = {}

    def decode_block(self, kind: int, payload: bytes, raw_bytes: int, threads: int = 1, primer: bytes = b"") -> bytes:
        """Return the `raw_bytes` bytes of a payload; raises FormatError when it does not hold exactly so many.

        `primer` is what the block begins with: as many of the last bytes of the reference as its head says.
        """
        if asked_primer_bytes(kind, payload) and not primer:
            raise FormatError("A block begins with a reference, but its frame names none; the file is altered.")
        if kind == BlockKind.STORED:
            data = payload
        elif kind == BlockKind.LZMA:
            data = decode_lzma(payload, raw_bytes)
        elif kind == BlockKind.BYTES:
            from nncomp.blocks.byte_payload import decode_bytes

            after = self._primed_bytes(primer, raw_bytes, BytesHead.parse(payload).table_bits) if primer else None
            data = decode_bytes(payload, raw_bytes, after)
        elif kind == BlockKind.TOKENS:
            data = self._decode_tokens(payload, raw_bytes, threads, primer)
        else:
            raise FormatError(f"A block is of kind {kind}, which this nncomp cannot read; use a newer one.")
        if len(data) != raw_bytes:
            raise FormatError(f"A block of {raw_bytes:,} bytes holds {len(data):,}; the file is altered.")
        return data

    def _decode_tokens(self, payload: bytes, raw_bytes: int, threads: int, primer: bytes) -> bytes:
        if self.model is None:
            raise FormatError("A block needs a model, but the file names none; the file is altered.")
        if primer:
            from nncomp.blocks.primed_tokens import decode_after

            return decode_after(self._primed_tokens(primer, TokensHead.parse(payload).lines_log2), payload, raw_bytes, threads)
        from nncomp.blocks.token_payload import decode_tokens

        if known := self._ahead.get(Payload(payload, raw_bytes)):
            return known
        return decode_tokens(self._network, payload, raw_bytes, threads)


def encode_list(data: bytes) -> CodedBlock:
    """Return the smallest coding of a block's list of copies: stored, as LZMA or as bytes."""
    best = CodedBlock(BlockKind.STORED, data, 8.0 * len(data))
    return _smaller(_smaller(best, _encode_lzma(data)), _whole_bytes(data))


def decode_list(kind: int, payload: bytes, list_bytes: int) -> bytes:
    """Return a block's list of copies, of `list_bytes` bytes; raises FormatError when the payload does not hold it."""
    return Codec().decode_block(kind, payload, list_bytes)


def verify_block(copy_list: bytes, literals: bytes, expected: bytes) -> None:
    """Raise FormatError unless a block's list of copies and its literals have the checksum that was written with them."""
    if block_checksum(copy_list, literals) != expected:
        raise FormatError("A block decodes to other bytes than were compressed (its checksum differs); the file is altered.")


def _at_once(calls: list[Callable[[], int]], threads: int) -> list[int]:
    """Return what each call returns; at most so many run at once. Kernels, LZMA and the tokenizer let other threads run."""
    if threads == 1 or len(calls) == 1:
        return [call() for call in calls]
    from concurrent.futures import ThreadPoolExecutor  # takes 9 ms, and a short block does without

    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def _size(coded: CodedBlock) -> int:
    """Return the bytes that a block takes for its payload and the payload's size; a stored block does not write its size."""
    size_bytes = 0 if coded.kind == BlockKind.STORED else len(varint(len(coded.payload)))
    return size_bytes + len(coded.payload)


def _smaller(best: CodedBlock, other: CodedBlock) -> CodedBlock:
    return other if _size(other) < _size(best) else best


def _sample(data: bytes) -> bytes:
    start = (len(data) - _SAMPLE_BYTES) // 2
    return data[start : start + _SAMPLE_BYTES]


def _encode_lzma(data: bytes) -> CodedBlock:
    payload = encode_lzma(data)
    return CodedBlock(BlockKind.LZMA, payload, 8.0 * len(payload))


def _encode_bytes(data: bytes, is_lost: Callable[[list[float]], bool] = lambda _: False) -> CodedBlock | None:
    from nncomp.blocks.byte_payload import encode_bytes

    found = encode_bytes(data, is_lost)
    return CodedBlock(BlockKind.BYTES, found.payload, sum(found.part_bits), found.part_bits) if found else None


def _whole_bytes(data: bytes) -> CodedBlock:
    coded = _encode_bytes(data)
    assert coded is not None  # nothing bounds it
    return coded


def _is_plain_text(data: bytes, token_bytes: int, quick_bytes: int) -> bool:
    """Return whether tokens, which take so many bytes, are sure to win; the quickest LZMA leaves `quick_bytes`."""
    if not _LEAST_OF_RAW * len(data) <= token_bytes <= _MOST_OF_LZMA * quick_bytes:
        return False
    return len(data) - len(data.translate(None, _DIGITS)) <= _MOST_DIGITS * len(data)


def _is_lost(best: CodedBlock, left_share: float, raw_bytes: int, part_bits: list[float]) -> bool:
    """Return whether bytes are given up for `best`; `part_bits` are the bits of their parts so far.

    `left_share` is the share of the block that the quickest LZMA leaves.
    """
    parts = len(part_bits)
    if parts in _LOOKS and best.kind == BlockKind.TOKENS and (parts > 2 or raw_bytes >= _TELLING_BYTES):
        (least_share, lead), later = _LOOKS[parts], slice(parts // 2, parts)
        if left_share >= least_share and sum(part_bits[later]) >= lead * sum(best.part_bits[later]):
            return True
    return sum(part_bits) > best.cost_bits
