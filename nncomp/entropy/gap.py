"""The bound of a text, and the parts of a `.nnc` file above the bound. They add up to the file, to the bit.

Each part is the difference of two sums of bits. From the bound up to the file no sum is below the one before:

    bound       the lowest figure for the whole text: network and mixing on tokens in one lane, with the strongest models;
                or mixing alone on bytes; either after a primer, if a block begins with one; or any of the sums below
    + blocks    the same block by block: each block begins anew
    + kind      the kind of block and the model that the file has, in one lane; LZMA and stored blocks at their size
    + lanes     the surprisal of the file's tokens, in the lanes that the file has, with its size of tables
    + code_z    the bytes of the codes, beyond what they save
    + coder     the words of the range coder: its rounding, and the last words of each block
    + container headers, sizes, checksums, index

A code is a byte. A block that has one is estimated twice: without the code, and with the code and its byte. Where the code makes
the estimate lower, its byte is part of the bound. A whole text of several blocks is estimated without codes. Mixing begins anew
in the bound too, so what it takes to learn a new text is no part of the gap.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nncomp.blocks import levels
from nncomp.blocks.codec import Codec, decode_list, verify_block
from nncomp.entropy.estimate import (
    CODE_BITS,
    Estimate,
    EstimateTask,
    bits_of_bytes,
    open_network,
    rounded,
    tokens_after,
    unit_bits,
)
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import HEAD_SIZES, BytesHead, TokensHead
from nncomp.machine.forks import once
from nncomp.network.registry import ModelFile, installed_model
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding, Finder, FindModel, decode_task
from nncomp.stream.workers import FEW_BYTES, Sized, run_in_order

if TYPE_CHECKING:
    from nncomp.blocks.token_payload import Predicted

PARTS = "bound", "blocks", "kind", "lanes", "code_z", "coder", "container"
WHOLE_BYTES = 16 << 20  # a text of several blocks is also estimated as one piece, up to this size

Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # called with how many bytes are done, and of how many


class Decoded(NamedTuple):
    """A decoded block."""

    data: bytes
    bits: float  # surprisal of what was coded, and the byte of the code
    code: int = 0  # 0 for none

    @property
    def code_bits(self) -> float:
        """The byte of the code; 0 for none."""
        return CODE_BITS if self.code else 0.0


@dataclass(frozen=True)
class DecodeTask:
    """A block of a file to decode, and to find the surprisal of."""

    block: Block
    model: ModelFile | None
    primer: bytes = field(default=b"", repr=False)  # what the block begins with

    @property
    def raw_bytes(self) -> int:
        """Bytes that are decoded: literals."""
        return self.block.literal_bytes

    @property
    def input_bytes(self) -> int:
        """Bytes that progress counts."""
        return self.block.literal_bytes

    def run(self) -> Decoded:
        """Return the decoded block; raises FormatError when it is altered, by its checksum too. The tokens are the file's."""
        kind, payload, raw_bytes = self.block.kind, self.block.payload, self.block.literal_bytes
        copies = self.block.copies
        listed = decode_list(copies.kind, copies.payload, copies.list_bytes) if copies else b""
        if kind == BlockKind.TOKENS and self.model:
            data, predict = self._decoded_tokens(self.model, head := TokensHead.parse(payload))
            verify_block(listed, data, self.block.checksum)
            if not data:
                return Decoded(data, 0.0)
            p = predict()
            bits = float(unit_bits(p.decisions, p.p1, open_network(self.model).model.vocabulary.bits).sum())
            return Decoded(data, bits + (CODE_BITS if head.code else 0.0), head.code)
        data = Codec().decode_block(kind, payload, raw_bytes, primer=self.primer)
        verify_block(listed, data, self.block.checksum)
        if kind == BlockKind.BYTES:
            return Decoded(data, float(bits_of_bytes(data, BytesHead.parse(payload).table_bits, self.primer).sum()))
        return Decoded(data, 8.0 * len(payload))

    def _decoded_tokens(self, model: ModelFile, head: TokensHead) -> tuple[bytes, Callable[[], Predicted]]:
        """Return the raw bytes of a block of tokens, and what predicts its tokens, those of the file."""
        from nncomp.blocks.primed_tokens import decode_tokens_after, predict_after
        from nncomp.blocks.token_payload import decode_lanes, model_start, predict_tokens

        payload, raw_bytes = self.block.payload, self.block.literal_bytes
        if self.primer:
            after = tokens_after(model, self.primer, head.lines_log2)
            data, ids = decode_tokens_after(after, payload, raw_bytes)
            return data, partial(predict_after, after, data, ids)
        network = open_network(model)
        data, lane_ids = decode_lanes(network, payload, raw_bytes)
        return data, partial(predict_tokens, network, data, model_start(network), head, lane_ids=lane_ids)


@dataclass(frozen=True)
class BlockFigures:
    """What one block takes. Of the bits from `stream_bits` to `best_bits`, none is above the one before."""

    kind: BlockKind
    raw_bytes: int
    payload_bytes: int
    stream_bits: float  # the coder's words and the byte of the code; of LZMA and stored blocks, the payload
    coded_bits: float  # surprisal, and the byte of the code
    untold_bits: float  # surprisal without the byte of the code, unless `own_bits` has the code too
    own_bits: float  # the block's kind and model in one lane; with its code or after its primer where that is lower
    best_bits: float  # the lowest of any kind and model, in one lane
    code_bits: float  # the byte of the code; 0 for none
    code: int  # 0 for none
    primer_bytes: int  # what the block begins with; 0 for nothing


@dataclass(frozen=True, eq=False)
class Analysis:
    """A text, a file that holds it, and what the bits of the file are for. Of a file with copies the text is the literals."""

    data: bytes = field(repr=False)
    file_bytes: int
    blocks: list[BlockFigures]
    estimates: list[Estimate] = field(repr=False)  # the lowest estimate of each piece of the text, in order
    whole: Estimate | None = field(repr=False)  # of the text as one piece; None if it has one block or is over WHOLE_BYTES
    copied_bytes: int = 0  # of the content, beside the literals
    reference: str = ""  # what the file names its reference by, in hexadecimal digits; "" for a file that names none

    @property
    def raw_bytes(self) -> int:
        """The bytes of the content: literals and copies."""
        return len(self.data) + self.copied_bytes

    @once
    def sums_bits(self) -> list[float]:
        """The sums that parts are the differences of, from the bound to the file: never falling."""
        whole = self.whole.total_bits if self.whole else float("inf")
        sums = [whole, *(sum(getattr(b, name) for b in self.blocks) for name in _SUMS), 8.0 * self.file_bytes]
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = min(sums[i - 1], sums[i])
        return sums

    @property
    def bound_bits(self) -> float:
        """The estimated bound."""
        return self.sums_bits[0]

    @property
    def parts(self) -> dict[str, float]:
        """Bits of each part, multiples of 2**-16: their sum == 8 * file_bytes."""
        sums = self.sums_bits
        return dict(zip(PARTS, [sums[0], *(b - a for a, b in pairwise(sums))], strict=True))

    @property
    def estimate_bits(self) -> float:
        """The sum of all estimates. It is the bound, unless the file has smaller blocks (LZMA, say)."""
        return sum(estimate.total_bits for estimate in self.estimates)

    @property
    def source(self) -> str:
        """What the bound is the figure of, in words."""
        if self.estimate_bits > self.bound_bits:
            return "the file itself" if not self.estimates else "the file's own blocks, where no estimate is lower"
        found = {estimate.kind for estimate in self.estimates}
        if not found:
            return "copies alone" if self.raw_bytes else "an empty text"
        kinds = {BlockKind.TOKENS: "network and mixing", BlockKind.BYTES: "mixing alone"}
        pieces = "" if len(self.estimates) == 1 else f", {len(self.estimates)} pieces"
        told = ", with a code" if any(estimate.code for estimate in self.estimates) else ""
        told += ", knowing the reference" if any(estimate.primer for estimate in self.estimates) else ""
        return " and ".join(kinds[kind] for kind in sorted(found, reverse=True)) + ", one lane" + told + pieces


def strongest_model() -> ModelFile | None:
    """Return the strongest model that comes with nncomp, that of the last level, or None when it is not installed."""
    return installed_model(levels.level(levels.LAST).model)


_SUMS = "best_bits", "own_bits", "untold_bits", "coded_bits", "stream_bits"


def analyse(
    nnc: bytes, find_model: FindModel, strongest: ModelFile | None, workers: int, progress: Progress | None = None
) -> Analysis:
    """Return the analysis of a `.nnc` file. Text is estimated with the file's models and with `strongest`.

    A block that begins with a primer is estimated without it and after it. Raises FormatError for a file that is damaged,
    ModelError for a model that is missing, and NoReferenceError for a reference, which a Finder has.
    """
    frame_blocks = list(read_blocks(io.BytesIO(nnc)))
    coded = [decode_task(found.block, found.head, find_model) for found in frame_blocks]
    tasks = [DecodeTask(task.block, task.model, task.primer) for task in coded]
    models = list(dict.fromkeys(task.model for task in tasks if task.model))
    if strongest and strongest.content_hash not in {model.content_hash for model in models}:
        models.append(strongest)
    workers = 0 if sum(task.raw_bytes for task in tasks) <= FEW_BYTES else workers
    estimated_bytes = sum(task.raw_bytes * (2 if task.primer else 1) for task in tasks) * (1 + len(models))
    count = _Count(progress, sum(task.raw_bytes for task in tasks) + estimated_bytes)
    decoded = list(count.each(tasks, run_in_order(tasks, DecodeTask.run, workers, count.begun)))
    tasks_by_block = [_estimate_tasks(each.data, models, task.primer) for task, each in zip(tasks, decoded, strict=True)]
    for task, each, estimate_tasks in zip(tasks, decoded, tasks_by_block, strict=True):
        if each.code:
            count.more(len(each.data))
            estimate_tasks.append(EstimateTask(each.data, task.model, each.code))
    lowest: list[Estimate] = []
    blocks = []
    for task, each, found in zip(tasks, decoded, _estimates(tasks_by_block, workers, count), strict=True):
        blocks.append(_figures(task, each, found))
        if each.data:
            lowest.append(min(found, key=lambda estimate: estimate.total_bits))
    text = b"".join(each.data for each in decoded)
    whole = None
    if len(lowest) > 1 and len(text) <= WHOLE_BYTES:
        whole_tasks = _estimate_tasks(text, models, max((task.primer for task in tasks), key=len))
        count.more(len(whole_tasks) * len(text))
        (found,) = _estimates([whole_tasks], workers, count)
        whole = min(found, key=lambda estimate: estimate.total_bits)
        if whole.total_bits <= sum(estimate.total_bits for estimate in lowest):
            lowest = [whole]
    copied_bytes = sum(task.block.raw_bytes - task.block.literal_bytes for task in tasks)
    reference = next((found.head.reference.hex() for found in frame_blocks if found.head.reference), "")
    return Analysis(text, len(nnc), blocks, lowest, whole, copied_bytes, reference)


def compress_and_analyse(
    data: bytes, coding: Coding, strongest: ModelFile | None, workers: int, progress: Progress | None = None
) -> Analysis:
    """Return the analysis of the file that `nncomp compress` makes of a text with this model and reference, or with none."""
    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(data), sink, coding, workers, (lambda done: progress(done, len(data))) if progress else None)

    def find_model(_named: object) -> ModelFile:
        assert coding.model is not None
        return coding.model

    return analyse(sink.getvalue(), Finder(find_model, coding.reference), strongest, workers, progress)


def _estimate_tasks(text: bytes, models: Sequence[ModelFile], primer: bytes) -> list[EstimateTask]:
    """Return the tasks that estimate a text: on bytes, and with each model; and all after a primer, too, if there is one.

    An empty text has none.
    """
    primers = [b"", primer] if primer else [b""]
    return [EstimateTask(text, model, primer=each) for each in primers for model in (None, *models)] if text else []


def _estimates(tasks_by_text: Sequence[Sequence[EstimateTask]], workers: int, count: _Count) -> Iterator[list[Estimate]]:
    """Yield the estimates of each text."""
    tasks = [task for each in tasks_by_text for task in each]
    results = iter(count.each(tasks, run_in_order(tasks, EstimateTask.run, workers, count.begun)))
    for each in tasks_by_text:
        yield [next(results) for _ in each]


def _figures(task: DecodeTask, decoded: Decoded, found: Sequence[Estimate]) -> BlockFigures:
    """Return the figures of a block, of which `found` are the estimates."""
    kind, payload_bytes = BlockKind(task.block.kind), len(task.block.payload)
    stream_bits = 8.0 * max(0, payload_bytes - HEAD_SIZES.get(kind, 0)) + decoded.code_bits
    coded_bits = min(rounded(decoded.bits), stream_bits)
    own = [(each.total_bits, each.code_bits) for each in found if each.kind == kind and each.model == task.model]
    own_bits, own_code_bits = min([*own, (coded_bits, decoded.code_bits)])
    best_bits = min([*(each.total_bits for each in found), own_bits])
    untold_bits = max(coded_bits - (decoded.code_bits - own_code_bits), own_bits)
    bits = stream_bits, coded_bits, untold_bits, own_bits, best_bits, decoded.code_bits
    return BlockFigures(kind, task.raw_bytes, payload_bytes, *bits, decoded.code, len(task.primer))


class _Count:
    """Counts how many bytes of all tasks are done, and reports it to `progress`."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0
        self.begun = self._report if progress else None  # to call with how many bytes of the tasks at work are done

    def more(self, added_bytes: int) -> None:
        """Expect so many bytes more."""
        self._total_bytes += added_bytes

    def _report(self, part_bytes: int) -> None:
        if self._progress:
            self._progress(self._done_bytes + part_bytes, self._total_bytes)

    def each(self, tasks: Sequence[Sized], results: Iterable[Result]) -> Iterator[Result]:
        """Yield the results of the tasks; count each one."""
        for task, result in zip(tasks, results, strict=True):
            self._done_bytes += task.input_bytes
            self._report(0)
            yield result
