"""Files and models made to do harm: `python -m checks.hostile --count 100000`.

Each case is a golden file changed by `checks.mutations`, decoded in this process. It must give what its blocks held
before, or a named error; within a time and a memory that what it claims allows. Case n is the same on every machine:
`--first n --count 1` runs it again.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import io
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from checks.independent import layout
from checks.independent.copies import parse_list, put_together
from checks.independent.refused import RefusedError
from checks.mutations import MUTATIONS, lie_in_model
from nncomp.blocks.codec import decode_list
from nncomp.blocks.lzma_payload import encode_lzma
from nncomp.errors import FormatError, ModelError, NncompError, NoReferenceError
from nncomp.format.copies import Copy, pack_copies
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import Block, CopyList, FrameWriter, ModelReference, block_checksum
from nncomp.format.numbers import MAX_COPIES, MAX_LITERAL_BYTES, MAX_RAW_BYTES, MIN_COPY_BYTES, BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream import pipeline
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import Finder, FindModel, decode_task
from tests.golden import texts
from tests.golden.manifest import good_rows
from tests.golden.models import FOLDER, NAMES, model_bytes, named_bytes

if sys.platform != "win32":
    import resource

BASE = texts.base()
MODEL_SHARE = 0.04  # of the cases are about a hostile model
SHORT_BYTES = 3000
LARGEST_BYTES = 10_000_000  # of a file that is changed
LONG_SHARE = 0.02  # about files of more than that: of several blocks, of several lanes
ADDRESS_BYTES = 400 << 20  # more than the process has at the start
LIMIT_S, LIMIT_BYTES_S = 5.0, 20_000.0  # a case may take that, and a second for so many bytes that it claims


class Model(ModelFile):
    """A model file that is in memory only."""

    def __new__(cls, data: bytes, *named: bytes) -> Model:
        made = super().__new__(cls)
        object.__setattr__(made, "data", data)
        return made

    def __init__(self, data: bytes, *named: bytes) -> None:
        """Take the file's bytes, and those of its n-gram table and of its second network, if it has them."""
        ngrams, second, *_ = [*map(Model, named), None, None]
        super().__init__(Path("hostile"), 255, hashlib.sha256(data).digest(), second=second, ngrams=ngrams)

    @property
    def size_bytes(self) -> int:
        return len(self.read())

    def read(self) -> bytes:
        data: bytes = self.__dict__["data"]
        return data


Key = tuple[int, int, bytes]  # of a block: bytes of its list, literals, checksum


@dataclass
class Corpus:
    """The golden files, what their blocks hold, and the models by the hash in a frame."""

    short: list[bytes] = field(default_factory=list)
    long: list[bytes] = field(default_factory=list)
    tokens: list[tuple[bytes, str]] = field(default_factory=list)  # files that need a model, and which
    held: dict[Key, tuple[bytes, bytes]] = field(default_factory=dict)  # the list of copies, and the literals
    models: dict[bytes, ModelFile] = field(default_factory=dict)


class CaseError(Exception):
    """A file did what no file may do."""


def read_corpus() -> Corpus:
    """Return the corpus; each golden file is decoded once, so that what its blocks hold is known."""
    corpus = Corpus()
    for name in NAMES:
        model = Model(model_bytes(name), *named_bytes(name))
        corpus.models[model.hash8] = model
    for row in good_rows():
        if row.raw_bytes > LARGEST_BYTES:
            continue
        data = (FOLDER / row.file).read_bytes()
        content = _decode(data, finder(corpus.models))
        assert hashlib.sha256(content).hexdigest() == row.raw_sha256
        for found, block in zip(read_blocks(io.BytesIO(data)), layout.blocks(data), strict=True):
            literals = decode_task(found.block, found.head, finder(corpus.models)).run().literals
            coded = found.block.copies
            listed = decode_list(coded.kind, coded.payload, coded.list_bytes) if coded else b""
            corpus.held[_key(block)] = listed, literals
        assert _expected(corpus, data) == content
        (corpus.short if row.raw_bytes <= SHORT_BYTES else corpus.long).append(data)
        if row.model and row.raw_bytes <= SHORT_BYTES:
            corpus.tokens.append((data, row.model))
    return corpus


def _key(block: layout.Block) -> Key:
    return block.copies.list_bytes if block.copies else 0, block.literal_bytes, block.checksum


def finder(models: dict[bytes, ModelFile]) -> FindModel:
    """Return what finds these models, and has the reference of the golden files."""

    def find_model(reference: ModelReference) -> ModelFile:
        if reference.content_hash not in models:
            raise ModelError("No such model is here.")
        return models[reference.content_hash]

    return Finder(find_model, Reference.of(BASE))


def _decode(data: bytes, find_model: FindModel) -> bytes:
    sink = io.BytesIO()
    pipeline.decompress(io.BytesIO(data), sink, find_model, workers=0)
    return sink.getvalue()


def _mutated(corpus: Corpus, chance: random.Random) -> tuple[str, bytes, FindModel]:
    """Return the name of what was done, the file, and how its model is found."""
    if chance.random() < MODEL_SHARE:
        data, name = chance.choice(corpus.tokens)
        model = Model(lie_in_model(chance, model_bytes(name)), *named_bytes(name))
        known = hashlib.sha256(model_bytes(name)).digest()[:8]
        return "model", data.replace(known, model.hash8), finder(corpus.models | {model.hash8: model})
    mutate = chance.choice(MUTATIONS)
    files = corpus.long if chance.random() < LONG_SHARE else corpus.short
    return mutate.__name__, mutate(chance, files), finder(corpus.models)


def run_case(corpus: Corpus, seed: int, case: int) -> tuple[str, str]:
    """Return the mutation and the outcome of a case; raises CaseError."""
    mutation, data, find_model = _mutated(corpus, random.Random(f"{seed}/{case}"))
    try:
        return mutation, judge(corpus, data, find_model)
    except CaseError as error:
        raise CaseError(f"case {case} ({mutation}): {error}") from error


def judge(corpus: Corpus, data: bytes, find_model: FindModel) -> str:
    """Decode a file; return "same", or the name of the error it gave; raises CaseError for what no file may do.

    Time is the processor's, of this process: a busy machine is not the file's fault.
    """
    started_s = time.process_time()
    try:
        content = _decode(data, find_model)
    except (FormatError, ModelError, NoReferenceError) as error:
        outcome = type(error).__name__
        if not str(error).endswith("."):
            raise CaseError(f"no sentence: {error}") from None
    except Exception as error:
        raise CaseError(f"{type(error).__name__}: {error}") from error
    else:
        outcome = "same"
        if content != _expected(corpus, data):
            raise CaseError("other bytes were accepted")
    elapsed_s = time.process_time() - started_s
    if elapsed_s > LIMIT_S + _claimed_bytes(data) / LIMIT_BYTES_S:
        raise CaseError(f"it took {elapsed_s:.1f} s of processor time")
    if _is_layout(lambda: list(read_blocks(io.BytesIO(data))), FormatError) != _is_layout(
        lambda: list(layout.blocks(data)), RefusedError
    ):
        raise CaseError("the layout is read by one decoder and refused by the other")
    return outcome


def _expected(corpus: Corpus, data: bytes) -> bytes:
    """Return what an accepted file holds, if its blocks hold what they did before it was changed; as another reader finds it."""
    frames: list[tuple[layout.Frame, bytearray]] = []
    literals = b""
    try:
        for block in layout.blocks(data):
            if not frames or frames[-1][0] is not block.frame:
                frames.append((block.frame, bytearray()))
                literals = b""
            listed, new = _held(corpus, block)
            reference = BASE if block.frame.reference_hash else b""
            copies = parse_list(listed, len(new), block.copies.copied_bytes, len(literals)) if block.copies else []
            frames[-1][1].extend(put_together(literals, new, copies, block.frame.window_bytes, reference))
            literals += new
    except RefusedError as error:
        raise CaseError(f"accepted, though it must be refused: {error}") from error
    for frame, content in frames:
        if frame.content_checksum not in (None, layout.blake2b_8(bytes(content))):
            raise CaseError("accepted with another checksum of its content")
    return b"".join(content for _, content in frames)


def _held(corpus: Corpus, block: layout.Block) -> tuple[bytes, bytes]:
    """Return the list of copies and the literals of a block that was there before, or that is right by itself."""
    copies = block.copies
    if block.kind == layout.STORED and (copies is None or copies.kind == layout.STORED):
        listed = copies.payload if copies else b""
        if layout.blake2b_8(listed + block.payload) == block.checksum:
            return listed, block.payload
    if _key(block) not in corpus.held:
        raise CaseError("a block with an unknown checksum was accepted")
    return corpus.held[_key(block)]


def _is_layout(read: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        read()
    except refusal:
        return False
    return True


def _claimed_bytes(data: bytes) -> int:
    """Return the raw bytes that a file claims in the blocks that can be read."""
    total = 0
    try:
        for found in read_blocks(io.BytesIO(data)):
            total += found.block.raw_bytes
    except NncompError:
        total += MAX_LITERAL_BYTES
    return total


def long_copies(blocks: int) -> tuple[bytes, int]:
    """Return a file of a byte and so many blocks that are one copy of it, of 64 MiB; and the bytes of its content."""
    return _copies_of_a_byte(pack_copies([Copy(0, MAX_RAW_BYTES, 1)]), MAX_RAW_BYTES, blocks)


def short_copies(blocks: int) -> tuple[bytes, int]:
    """Return a file of a byte and so many blocks that are as many copies of it as there can be, each as short as can be."""
    listed = pack_copies([Copy(0, MIN_COPY_BYTES, 1)] * MAX_COPIES)
    return _copies_of_a_byte(listed, MIN_COPY_BYTES * MAX_COPIES, blocks)


def _copies_of_a_byte(listed: bytes, copied_bytes: int, blocks: int) -> tuple[bytes, int]:
    sink, content = io.BytesIO(), hashlib.blake2b(b"a", digest_size=8)
    payload = encode_lzma(listed)
    kind = BlockKind.LZMA if len(payload) < len(listed) else BlockKind.STORED
    copies = CopyList(kind, copied_bytes, len(listed), payload if kind else listed)
    writer = FrameWriter(sink)
    writer.write(Block(BlockKind.STORED, 1, b"a", block_checksum(b"", b"a"), False))
    for number in range(blocks):
        for _ in range(copied_bytes // MIN_COPY_BYTES >> 10):
            content.update(b"a" * (MIN_COPY_BYTES << 10))
        is_last = number == blocks - 1
        writer.write(Block(BlockKind.STORED, 0, b"", block_checksum(listed, b""), is_last, copies), content.digest())
    return sink.getvalue(), 1 + blocks * copied_bytes


def limit_memory() -> None:
    """Let the process have ADDRESS_BYTES more than it has: what takes more fails with MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_BYTES, resource.RLIM_INFINITY))


def peak_mib() -> float:
    """Return the most memory this process has had so far (Linux counts it in KiB), or not a number where nobody says it."""
    if sys.platform != "linux":
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(count: int, seed: int, first: int = 0, limit_s: float | None = None) -> tuple[Counter[tuple[str, str]], float]:
    """Run cases; return how many had each outcome, and the seconds of processor time of the slowest; raises CaseError."""
    corpus = read_corpus()
    print(f"memory before the first case: {peak_mib():.0f} MiB")
    if sys.platform == "linux":
        limit_memory()
    outcomes: Counter[tuple[str, str]] = Counter()
    started_s = time.monotonic()
    slowest_s = 0.0
    for case in range(first, first + count):
        if case % 50 == 0:
            faulthandler.dump_traceback_later(600, exit=True)  # a hang in compiled code
        begun_s = time.process_time()
        outcomes[run_case(corpus, seed, case)] += 1
        slowest_s = max(slowest_s, time.process_time() - begun_s)
        if limit_s and time.monotonic() - started_s > limit_s:
            break
    faulthandler.cancel_dump_traceback_later()
    return outcomes, slowest_s


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode hostile files; each must give its bytes or a named error.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    try:
        outcomes, slowest_s = run(arguments.count, arguments.seed, arguments.first, arguments.seconds)
    except CaseError as failure:
        sys.exit(f"hostile: {failure} (seed {arguments.seed})")
    for (mutation, outcome), times in sorted(outcomes.items()):
        print(f"{mutation:8} {outcome:12} {times:8,}")
    print(
        f"{outcomes.total():,} cases in {time.monotonic() - started_s:.0f} s, the slowest {slowest_s:.2f} s of processor time, ",
        end="",
    )
    print(f"peak memory {peak_mib():.0f} MiB; each gave its bytes or a named error")


if __name__ == "__main__":
    main()
