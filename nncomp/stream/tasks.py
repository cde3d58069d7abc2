"""The work on one block of a stream: tasks that worker processes run, what they need, and what they give.

Knows blocks, models and references; nothing of streams, of processes or of the order of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nncomp.blocks.codec import Codec, decode_list, encode_list, verify_block
from nncomp.blocks.levels import USUAL, Effort
from nncomp.blocks.memory import Memory
from nncomp.blocks.primers import MAX_PRIMED_BYTES, PRIMER
from nncomp.errors import FormatError
from nncomp.format.copies import Copy, pack_copies, parse_copies
from nncomp.format.frames import Block, CopyList, FrameHeader, ModelReference, block_checksum
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import asked_primer_bytes, primer_bytes
from nncomp.network.registry import ModelFile, find
from nncomp.stream.reference import Reference, needed_reference

if TYPE_CHECKING:
    from nncomp.stream.repeats import Cut

FindModel = Callable[[ModelReference], ModelFile]


@dataclass(frozen=True)
class Finder:
    """What finds the model of a frame (it is a FindModel), and has the reference of the frames that name one."""

    find_model: FindModel
    reference: Reference | None = None
    given: tuple[ModelFile, ...] = ()  # the models that are searched before those of nncomp

    def __call__(self, named: ModelReference) -> ModelFile:
        return self.find_model(named)


def finder(given: Iterable[ModelFile], reference: Reference | None = None) -> Finder:
    """Return what finds the model of a frame among the given models and the models of nncomp, and has the reference."""
    models = list(given)

    @cache  # a search reads model files, and every block asks
    def find_model(named: ModelReference) -> ModelFile:
        return find(named.model_id, named.content_hash, models)

    return Finder(find_model, reference, tuple(models))


def reference_of(find_model: FindModel) -> Reference | None:
    """Return the reference that a FindModel has; only a Finder has one."""
    return find_model.reference if isinstance(find_model, Finder) else None


class Encoded(NamedTuple):
    """A coded block, the surprisal of what was coded in bits, and with the last block the checksum of the content.

    `needs_reference`: it has copies of the reference, or begins with it.
    """

    block: Block
    cost_bits: float
    content: bytes | None
    needs_reference: bool = False


class Decoded(NamedTuple):
    """What a block holds: literals, and the copies between them."""

    literals: bytes
    copies: list[Copy]

    @property
    def raw_bytes(self) -> int:
        return len(self.literals) + sum(copy.length for copy in self.copies)


@dataclass(frozen=True)
class EncodeTask:
    """Literals and copies to code with a model's network, or with none, in so many threads; it may begin with a primer."""

    cut: Cut
    model: ModelFile | None
    threads: int = 1
    effort: Effort = USUAL
    primer: bytes = field(default=b"", repr=False)

    @property
    def raw_bytes(self) -> int:
        """The bytes that are coded."""
        return len(self.cut.literals)

    @property
    def input_bytes(self) -> int:
        return self.cut.raw_bytes

    def run(self) -> Encoded:
        cut = self.cut
        coded = codec_of(self.model, self.effort).encode_block(cut.literals, self.threads, self.primer)
        listed = pack_copies(cut.copies) if cut.copies else b""
        copies, list_bits = None, 0.0
        if listed:
            found = encode_list(listed)
            copies = CopyList(found.kind, cut.raw_bytes - len(cut.literals), len(listed), found.payload)
            list_bits = found.cost_bits
        checksum = block_checksum(listed, cut.literals)
        block = Block(int(coded.kind), len(cut.literals), coded.payload, checksum, cut.is_last, copies)
        needs_reference = cut.has_reference or asked_primer_bytes(block.kind, block.payload) > 0
        return Encoded(block, coded.cost_bits + list_bits, cut.content, needs_reference)


@dataclass(frozen=True)
class BlockTask:
    """A task about a block: its input is the payload."""

    block: Block

    @property
    def raw_bytes(self) -> int:
        return self.block.literal_bytes

    @property
    def input_bytes(self) -> int:
        return len(self.block.payload)


@dataclass(frozen=True)
class DecodeTask(BlockTask):
    """A block to decode and verify, in so many threads; `primer` is what it begins with."""

    model: ModelFile | None
    threads: int = 1
    primer: bytes = field(default=b"", repr=False)
    is_size_sure: bool = True  # of the copies: only a frame's index confirms what the header says of it

    def run(self) -> Decoded:
        block, copies = self.block, self.block.copies
        listed = decode_list(copies.kind, copies.payload, copies.list_bytes) if copies else b""
        codec = codec_of(self.model)
        literals = codec.decode_block(block.kind, block.payload, block.literal_bytes, self.threads, self.primer)
        verify_block(listed, literals, block.checksum)
        copied_bytes = copies.copied_bytes if copies and self.is_size_sure else None
        return Decoded(literals, parse_copies(listed, len(literals), copied_bytes) if copies else [])


def codec_of(model: ModelFile | None, effort: Effort = USUAL) -> Codec:
    """Return this process's codec: it keeps the model loaded from block to block, also if blocks between need none."""
    return _codec_with(model, effort) if model else _codec_without(effort)


@lru_cache(maxsize=1)
def _codec_with(model: ModelFile, effort: Effort) -> Codec:
    return Codec(model, effort)


@lru_cache(maxsize=1)
def _codec_without(effort: Effort) -> Codec:
    return Codec(None, effort)


@dataclass(frozen=True)
class Coding:
    """What a stream is coded with: a model or none, how much effort, and a reference that its readers have too."""

    model: ModelFile | None = None
    effort: Effort = USUAL
    reference: Reference | None = None

    def task(self, cut: Cut, threads: int = 1) -> EncodeTask:
        """Return the work on what becomes a block."""
        is_primed = self.reference is not None and len(cut.literals) <= MAX_PRIMED_BYTES
        primer = self.reference.tail(primer_bytes(PRIMER)) if self.reference and is_primed else b""
        return EncodeTask(cut, self.model, threads, self.effort, primer)


def needed_model(kind: int, named: ModelReference | None, find_model: FindModel) -> ModelFile | None:
    """Return the model that a block of this kind needs, if any, in a frame that names this one."""
    if kind != BlockKind.TOKENS:
        return None
    if named is None:
        raise FormatError("A block is coded with a network, but its frame names no model; the file is altered.")
    return find_model(named)


def decode_task(
    block: Block, head: FrameHeader, find_model: FindModel, threads: int = 1, memory: Memory | None = None
) -> DecodeTask:
    """Return the work on a block of a frame with this header.

    Raises ModelError and NoReferenceError for what is missing, and MemoryLimitError for a block that takes more than `memory`.
    """
    primer = needed_primer(block, needed_reference(head, reference_of(find_model)))
    model = needed_model(block.kind, head.model, find_model)
    if memory:
        memory.check_decoding(block, model)
    return DecodeTask(block, model, threads, primer)


def needed_primer(block: Block, reference: Reference | None) -> bytes:
    """Return what a block begins with: of the reference of its frame, as much as the block asks for."""
    asked = asked_primer_bytes(block.kind, block.payload) if reference else 0
    return reference.tail(asked) if reference and asked else b""
