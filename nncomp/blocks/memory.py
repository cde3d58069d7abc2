"""How much memory a block takes, from what its header says, before any of it is taken; and the limit on that.

The figures are upper bounds, held by `tests/test_memory.py` against what processes really take. Compiling, once after an
installation, is not among them. Knows the layout and the kinds of block; takes nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nncomp.blocks.levels import USUAL, Effort, lines_log2
from nncomp.errors import FormatError, MemoryLimitError
from nncomp.format.frames import Block
from nncomp.format.numbers import MAX_LINES_LOG2, MAX_LITERAL_BYTES, MAX_PRIMER, WORD_BYTES, BlockKind
from nncomp.format.payloads import TokensHead, asked_primer_bytes
from nncomp.network.registry import ModelFile

MB = 1_000_000
DEFAULT_BYTES = 1200 * MB  # the limit for each worker where none is given
_COMMAND_BYTES = 60 * MB  # the process that reads, copies and writes, beside blocks
_FINDER_BYTES = 60 * MB  # of it, where it finds repeats
_WORKER_BYTES = 110 * MB  # one that decodes or codes, with its libraries, beside blocks and models
_MODEL_FACTOR = 8  # bytes that a loaded model and its lanes take for each of its file, but for the n-gram table
_TORCH_BYTES = 700 * MB  # torch (340 MB on its CPU device; CUDA's libraries are larger), and p1 of a block from the network there
_LZMA_BYTES, _LZMA_ENCODER_BYTES = 20 * MB, 120 * MB  # the dictionary, and what searches it
_BYTES_BYTES = 11 * (1 << 22) + 27 * MB  # slots and maps of mixing on bytes, at most
_TOKENS_BYTES = 42 * MB  # mixing on tokens, beside its hash table
_TOKENS_FACTOR, _BYTES_FACTOR = 12, 6  # bytes that coding as tokens, and as bytes, takes for each raw byte
_PRIMER_FACTOR = 80  # bytes that reading a primer takes for each of it; what is known then is kept, with tables of its own
_CODER_BYTES = 60 * MB  # the range encoder's part of a block
_LIST_BYTES = 40 * MB  # the copies of a block, in both processes


@dataclass(frozen=True)
class Memory:
    """The limit on the memory of a command, all its processes together; None is DEFAULT_BYTES for each worker.

    `room_bytes` is what the system gives (None: all that there is); it counts where no limit is asked for.
    """

    limit_bytes: int | None = None
    room_bytes: int | None = field(default=None, repr=False)

    def check_decoding(self, block: Block, model: ModelFile | None) -> None:
        """Raise MemoryLimitError when one worker that decodes this block would take more than the limit."""
        size = decoding_bytes(block.kind, block.literal_bytes, block.payload[: TokensHead.SIZE], len(block.payload), model)
        if block.copies:  # their list is decoded first, then the literals
            size = _LIST_BYTES + max(size, _BYTES_BYTES if block.copies.kind == BlockKind.BYTES else 0)
        self._check(size, f"A block of {block.raw_bytes:,} bytes in the file may take", " if you trust it", model)

    def check_coding(self, raw_bytes: int, model: ModelFile | None, effort: Effort = USUAL) -> None:
        """Raise MemoryLimitError when one worker that codes so many bytes would take more than the limit."""
        what = f"To compress {raw_bytes:,} bytes at a time may take"
        or_else = " or take --model none" if model else ""
        self._check(_FINDER_BYTES + coding_bytes(raw_bytes, model, effort), what, or_else, model)

    def workers(self, asked: int, model: ModelFile | None, is_coding: bool, has_reference: bool = False) -> int:
        """Return how many workers fit within the limit whatever blocks they are given, at most as many as are asked for.

        With a reference a block may have a primer.
        """
        limit_bytes = self.room_bytes if self.limit_bytes is None else self.limit_bytes
        if limit_bytes is None or asked < 2:
            return asked
        most = MAX_LITERAL_BYTES
        largest = TokensHead(0, MAX_LINES_LOG2, primer=MAX_PRIMER if has_reference else 0).pack()
        sizes = [decoding_bytes(kind, most, largest, most, model) for kind in (BlockKind.BYTES, BlockKind.TOKENS)]
        size = coding_bytes(most, model, Effort(max_lines_log2=MAX_LINES_LOG2)) if is_coding else max(sizes)
        left = limit_bytes - _COMMAND_BYTES - (_FINDER_BYTES if is_coding else 0)
        return max(1, min(asked, left // (_WORKER_BYTES + size)))

    def in_hand(self, blocks: Sequence[Block], model: ModelFile, most: int) -> int:
        """Return how many of these blocks, whichever they are, one worker may decode in step: at least one, `most` at most."""
        limits = [DEFAULT_BYTES if self.limit_bytes is None else self.limit_bytes, self.room_bytes]
        left = min(limit for limit in limits if limit is not None) - _COMMAND_BYTES - _WORKER_BYTES - _model_bytes(model)
        heads = ((block, block.payload[: TokensHead.SIZE]) for block in blocks)
        sizes = [decoding_bytes(block.kind, block.literal_bytes, head, len(block.payload), None) for block, head in heads]
        sizes.sort(reverse=True)
        return next((count for count in range(min(most, len(sizes)), 1, -1) if sum(sizes[:count]) <= left), 1)

    def _check(self, block_bytes: int, what: str, or_else: str, model: ModelFile | None) -> None:
        needed = _COMMAND_BYTES + _WORKER_BYTES + block_bytes
        limit = DEFAULT_BYTES + _device_bytes(model) if self.limit_bytes is None else self.limit_bytes
        needed_mb = -(-needed // MB)
        if self.limit_bytes is None and self.room_bytes is not None and needed > self.room_bytes:
            raise MemoryLimitError(
                f"{what} {needed_mb:,} MB of memory, and the control group of this process (its container) has "
                f"{self.room_bytes / MB:,.0f} MB; give it more, or try with --memory-limit {needed_mb}M."
            )
        if needed > limit:
            raise MemoryLimitError(
                f"{what} {needed_mb:,} MB of memory, and the limit is {limit / MB:,.0f} MB; "
                f"give --memory-limit {needed_mb}M{or_else}."
            )


def decoding_bytes(kind: int, raw_bytes: int, head: bytes, payload_bytes: int, model: ModelFile | None) -> int:
    """Return the most bytes that decoding a block takes beside a process; `head` are the first bytes of its payload."""
    primer = asked_primer_bytes(kind, head)
    copies = 6 * raw_bytes + 7 * payload_bytes  # in both processes, on the way between them too
    if kind == BlockKind.LZMA:
        return copies + _LZMA_BYTES
    if kind == BlockKind.BYTES:
        return copies + _BYTES_BYTES + (_BYTES_BYTES + _PRIMER_FACTOR * primer if primer else 0)
    if kind == BlockKind.TOKENS:
        after = _table_bytes(head) + _TOKENS_BYTES + _PRIMER_FACTOR * primer if primer else 0
        return copies + 4 * raw_bytes + _table_bytes(head) + _TOKENS_BYTES + _model_bytes(model) + after
    return copies


def coding_bytes(raw_bytes: int, model: ModelFile | None, effort: Effort = USUAL) -> int:
    """Return the most bytes that coding so many takes beside a process: all kinds are tried, one after another."""
    with_bytes = _BYTES_BYTES + _BYTES_FACTOR * raw_bytes
    table_bytes = TokensHead(0, lines_log2(raw_bytes, effort.max_lines_log2)).table_bytes
    with_tokens = table_bytes + _TOKENS_BYTES + _model_bytes(model) + _TOKENS_FACTOR * raw_bytes
    return 6 * raw_bytes + max(_LZMA_ENCODER_BYTES, _CODER_BYTES + (max(with_bytes, with_tokens) if model else with_bytes))


def _table_bytes(head: bytes) -> int:
    """Return the bytes of the hash table that a block of tokens asks for; a head out of bounds is refused later."""
    try:
        return TokensHead.parse(head + bytes(WORD_BYTES)).table_bytes
    except FormatError:
        return TokensHead(0, MAX_LINES_LOG2).table_bytes


def _model_bytes(model: ModelFile | None) -> int:
    if model is None:
        return 0
    return _MODEL_FACTOR * (model.size_bytes - model.ngram_bytes) + model.ngram_bytes + _device_bytes(model)


def _device_bytes(model: ModelFile | None) -> int:
    return _TORCH_BYTES if model and model.device else 0
