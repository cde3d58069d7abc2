"""The bound of a text, and the parts of a `.nnc` file above it: they add up to the file, to the bit.

The parts are differences of levels, each at least as high as the one before, from the bound up to the file:

    bound       the lowest figure there is for the whole text: network and mixing on tokens, in one lane, with the
                strongest models, or mixing alone on bytes, or any of the figures below
    + blocks    the same for each block on its own: each starts cold
    + kind      the kind of block, and the model, that the file took, in one lane; xz and stored blocks at their size
    + lanes     the surprisal of the tokens that were coded, in as many lanes as the file has, with the tables it has
    + code_z    the bits of the codes z that tell the lanes what text it is, as far as they do not save as many
    + coder     the words of the range coder: its rounding, and the last words of each block
    + container headers, sizes, checksums, index

A block with a code is estimated untold, and told that code, which is charged: where told is lower, the code's bits are in the
bound. A whole text of several blocks is told none. What mixing spends on learning a new text is no part of the gap: the bound is
mixing that starts cold too. (A second pass with what a first one has learned would say how much it is, but such a pass has seen
the text it is asked to predict.)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

from nncomp.blocks.codec import Codec, verify_block
from nncomp.entropy.estimate import Estimate, EstimateTask, open_packed, rounded, unit_bits
from nncomp.errors import FormatError
from nncomp.format.frames import Block, FrameBlock, read_blocks
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import BytesHead, TokensHead
from nncomp.network.registry import ModelFile
from nncomp.stream import pipeline
from nncomp.stream.pipeline import FindModel
from nncomp.stream.workers import Sized, run_in_order

PARTS = "bound", "blocks", "kind", "lanes", "code_z", "coder", "container"
_SMALL_BYTES = 64_000  # done within moments, and quicker than processes start
WHOLE_BYTES = 16 << 20  # a text of several blocks is estimated as one piece too, up to this size
_STREAM_STARTS = {BlockKind.BYTES: 1, BlockKind.TOKENS: 3}  # bytes of a payload before the coder's words

Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # told how many bytes are done, and of how many


class Coded(NamedTuple):
    """What a block holds, and in bits its surprisal and the part of it that is a code's; and that code."""

    data: bytes
    bits: float
    code_bits: float = 0.0
    code: tuple[int, ...] = ()


@dataclass(frozen=True)
class CodedTask:
    """A block of a file: what it holds, and the surprisal of what was coded in it."""

    block: Block
    model: ModelFile | None

    @property
    def raw_bytes(self) -> int:
        return self.block.raw_bytes

    @property
    def input_bytes(self) -> int:
        return self.block.raw_bytes

    def run(self) -> Coded:
        """Return what was coded; the raw bytes are verified.

        Raises FormatError when the block is altered.
        """
        kind, payload, raw_bytes = self.block.kind, self.block.payload, self.block.raw_bytes
        if kind == BlockKind.TOKENS and self.model:
            from nncomp.blocks.token_payload import code_cost_bits, decode_lanes, model_start, predict_tokens

            packed = open_packed(self.model)
            data, ids, code = decode_lanes(packed, payload, raw_bytes)
            verify_block(data, self.block.checksum)
            if not data:
                return Coded(data, 0.0)
            p = predict_tokens(packed, data, model_start(packed), TokensHead.parse(payload), lane_ids=ids, code=code)
            code_bits = rounded(code_cost_bits(packed, code))
            bits = float(unit_bits(p.decisions, p.p1, packed.model.vocabulary.bits).sum())
            return Coded(data, code_bits + bits, code_bits, tuple(code.tolist()))
        data = Codec().decode_block(kind, payload, raw_bytes)
        verify_block(data, self.block.checksum)
        if kind == BlockKind.BYTES:
            import numpy as np

            from nncomp.mixing import byte_predictor

            raw = np.frombuffer(data, np.uint8)
            return Coded(
                data,
                float(
                    unit_bits(np.unpackbits(raw), byte_predictor.encode_bytes(raw, BytesHead.parse(payload).table_bits), 8).sum()
                ),
            )
        return Coded(data, 8.0 * len(payload))


@dataclass(frozen=True)
class BlockFigures:
    """What one block takes, in bits: each figure up to `best_bits` is at least as high as the next."""

    kind: BlockKind
    raw_bytes: int
    payload_bytes: int
    stream_bits: float  # the coder's words; of xz and stored blocks, the payload
    coded_bits: float  # surprisal, of a code too
    untold_bits: float  # surprisal less a code's bits, unless they are in `own_bits`, too
    own_bits: float  # in one lane, told the block's code if that is lower
    best_bits: float  # of any kind and model
    code_bits: float  # of a code; 0 for none


@dataclass(frozen=True, eq=False)
class Analysis:
    """A text, a file that holds it, and how the bits of the file come about."""

    data: bytes = field(repr=False)
    file_bytes: int
    blocks: list[BlockFigures]
    estimates: list[Estimate] = field(repr=False)  # of the text, piece by piece: the lowest there are
    whole: Estimate | None = field(repr=False)  # of the text as one piece, when it has several and they were not too long

    @cached_property
    def levels(self) -> list[float]:
        """Bits of the levels between the parts, from the bound to the file: never falling."""
        whole = self.whole.total_bits if self.whole else float("inf")
        sums = [whole, *(sum(getattr(b, name) for b in self.blocks) for name in _LEVELS), 8.0 * self.file_bytes]
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = min(sums[i - 1], sums[i])
        return sums

    @property
    def bound_bits(self) -> float:
        return self.levels[0]

    @property
    def parts(self) -> dict[str, float]:
        """Bits of each part, multiples of 2**-16: their sum == 8 * file_bytes."""
        levels = self.levels
        return dict(zip(PARTS, [levels[0], *(b - a for a, b in pairwise(levels))], strict=True))

    @property
    def estimate_bits(self) -> float:
        """The sum of all estimates: the bound, unless the file has blocks (of xz, say) that are smaller."""
        return sum(estimate.total_bits for estimate in self.estimates)

    @property
    def source(self) -> str:
        """What the bound is made of, in words."""
        if self.estimate_bits > self.bound_bits:
            return "the file itself" if not self.estimates else "the file's own blocks, where no estimate is lower"
        found = {estimate.kind for estimate in self.estimates}
        if not found:
            return "an empty text"
        kinds = {BlockKind.TOKENS: "network and mixing", BlockKind.BYTES: "mixing alone"}
        pieces = "" if len(self.estimates) == 1 else f", {len(self.estimates)} pieces"
        told = ", told a code" if any(estimate.code for estimate in self.estimates) else ""
        return " and ".join(kinds[kind] for kind in sorted(found, reverse=True)) + ", one lane" + told + pieces


_LEVELS = "best_bits", "own_bits", "untold_bits", "coded_bits", "stream_bits"


def analyse(
    packed: bytes, find_model: FindModel, strongest: ModelFile | None, workers: int, progress: Progress | None = None
) -> Analysis:
    """Return the analysis of a `.nnc` file; `strongest` is a model to estimate with beside those the file was made with.

    Raises FormatError for bytes that are not as a writer makes them, ModelError when a model that is needed is missing.
    """
    tasks = [CodedTask(found.block, model) for found, model in _with_models(packed, find_model)]
    models = list(dict.fromkeys(task.model for task in tasks if task.model))
    if strongest and strongest.content_hash not in {model.content_hash for model in models}:
        models.append(strongest)
    workers = 0 if sum(task.raw_bytes for task in tasks) <= _SMALL_BYTES else workers
    tell = _Told(progress, (2 + len(models)) * sum(task.raw_bytes for task in tasks))
    coded = list(tell.each(tasks, run_in_order(tasks, CodedTask.run, workers, tell.begun)))
    wanted = [_ways(each.data, models) for each in coded]
    for task, each, ways in zip(tasks, coded, wanted, strict=True):
        if each.code:
            tell.more(len(each.data))
            ways.append(EstimateTask(each.data, task.model, each.code))
    chosen: list[Estimate] = []
    blocks = []
    for task, each, found in zip(tasks, coded, _estimates(wanted, workers, tell), strict=True):
        blocks.append(_figures(task, each, found))
        if each.data:
            chosen.append(min(found, key=lambda estimate: estimate.total_bits))
    text = b"".join(each.data for each in coded)
    whole = None
    if len(chosen) > 1 and len(text) <= WHOLE_BYTES:
        tell.more((1 + len(models)) * len(text))
        (found,) = _estimates([_ways(text, models)], workers, tell)
        whole = min(found, key=lambda estimate: estimate.total_bits)
        if whole.total_bits <= sum(estimate.total_bits for estimate in chosen):
            chosen = [whole]
    return Analysis(text, len(packed), blocks, chosen, whole)


def compress_and_analyse(
    data: bytes, model: ModelFile | None, strongest: ModelFile | None, workers: int, progress: Progress | None = None
) -> Analysis:
    """Return the analysis of what `nncomp compress` makes of a text with `model`, or without a network for none."""
    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(data), sink, model, workers, (lambda done: progress(done, len(data))) if progress else None)

    def find_model(_reference: object) -> ModelFile:
        assert model is not None
        return model

    return analyse(sink.getvalue(), find_model, strongest, workers, progress)


def _with_models(packed: bytes, find_model: FindModel) -> Iterator[tuple[FrameBlock, ModelFile | None]]:
    for found in read_blocks(io.BytesIO(packed)):
        needs_model = found.block.kind == BlockKind.TOKENS
        if needs_model and found.model is None:
            raise FormatError("A block is coded with a network, but its frame names no model; the file is altered.")
        yield found, find_model(found.model) if needs_model and found.model else None


def _ways(text: bytes, models: Sequence[ModelFile]) -> list[EstimateTask]:
    """Return the ways to estimate a text: with each model, and on bytes; none of an empty one."""
    return [EstimateTask(text, model) for model in (None, *models)] if text else []


def _estimates(wanted: Sequence[Sequence[EstimateTask]], workers: int, tell: _Told) -> Iterator[list[Estimate]]:
    """Yield the estimates of each text, in all ways that are wanted of it."""
    tasks = [task for ways in wanted for task in ways]
    results = iter(tell.each(tasks, run_in_order(tasks, EstimateTask.run, workers, tell.begun)))
    for ways in wanted:
        yield [next(results) for _ in ways]


def _figures(task: CodedTask, coded: Coded, found: Sequence[Estimate]) -> BlockFigures:
    kind, payload_bytes = BlockKind(task.block.kind), len(task.block.payload)
    stream_bits = 8.0 * max(0, payload_bytes - _STREAM_STARTS.get(kind, 0))
    coded_bits = min(rounded(coded.bits), stream_bits)
    own = [(each.total_bits, each.code_bits) for each in found if each.kind == kind and each.model == task.model]
    own_bits, told_bits = min([*own, (coded_bits, coded.code_bits)])
    best_bits = min([*(each.total_bits for each in found), own_bits])
    untold_bits = max(coded_bits - (coded.code_bits - told_bits), own_bits)
    return BlockFigures(
        kind, task.raw_bytes, payload_bytes, stream_bits, coded_bits, untold_bits, own_bits, best_bits, coded.code_bits
    )


class _Told:
    """Counts what is done of all tasks, for whoever watches."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0
        self.begun = self._tell if progress else None

    def more(self, count: int) -> None:
        self._total_bytes += count

    def _tell(self, part_bytes: int) -> None:
        if self._progress:
            self._progress(self._done_bytes + part_bytes, self._total_bytes)

    def each(self, tasks: Sequence[Sized], results: Iterable[Result]) -> Iterator[Result]:
        for task, result in zip(tasks, results, strict=True):
            self._done_bytes += task.input_bytes
            self._tell(0)
            yield result
