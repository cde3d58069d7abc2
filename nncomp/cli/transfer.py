"""One file in, one file out: what compress, decompress and test do, and the lines they say."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

from nncomp import pipeline, watch
from nncomp.cli.failures import say
from nncomp.cli.files import STANDARD, SUFFIX, Discard, Source, open_sink, open_source
from nncomp.cli.progress import Bar
from nncomp.codec import BlockKind
from nncomp.container import ModelReference, read_blocks
from nncomp.errors import OutputError
from nncomp.pipeline import Summary
from nncomp.registry import ModelFile, default_model, find, open_model

PREPARING = "nncomp: preparing kernels, first run only (some 20 seconds)."
UNKEPT = "nncomp: preparing kernels (some 20 seconds, each time, for the cache folder cannot be written)."


@dataclass(frozen=True)
class Options:
    """What compress, decompress and test have in common; `target` is None for a file beside each source."""

    target: str | None
    is_forced: bool
    is_quiet: bool
    is_verbose: bool
    workers: int


def listen(options: Options) -> None:
    """Say it once on stderr when functions have to be compiled before the work can begin."""

    def say_once(is_kept: bool) -> None:
        watch.on_preparing(None)
        say(PREPARING if is_kept else UNKEPT)

    watch.on_preparing(None if options.is_quiet else say_once)


def worker_count(asked: int) -> int:
    """Return how many workers there are to be: as many as cores for 0."""
    return asked or pipeline.usable_cores()


def choose_model(asked: str | None) -> ModelFile | None:
    """Return the model to compress with: the default level if it is installed, unless another one or none is asked for."""
    if asked is None:
        return default_model()
    return None if asked == "none" else open_model(asked)


def given_models(asked: str | None) -> list[ModelFile]:
    """Return the models that are searched before those that come with nncomp."""
    return [] if asked is None else [open_model(asked)]


def compress_file(name: str, model: ModelFile | None, options: Options) -> None:
    """Compress one file and say what came out."""
    target = options.target or (STANDARD if name == STANDARD else name + SUFFIX)
    if target == STANDARD and sys.stdout.isatty():
        raise OutputError("Compressed bytes are not for a terminal; redirect them, or give a file with -o.")
    with (
        open_source(name) as source,
        open_sink(target, options.is_forced, source.status) as sink,
        Bar(name, source.size, options.is_quiet) as bar,
    ):
        summary = pipeline.compress(source, sink, model, options.workers, bar.update)
    if not options.is_quiet:
        say(f"{name}: {describe(summary)}")
    if options.is_verbose:
        used = f"{model.path} ({model.hash8.hex()})" if model else "none, so no network is used"
        say(f"{name}: {describe_blocks(summary)}; model: {used}")


def decompress_file(name: str, given: list[ModelFile], options: Options) -> None:
    """Decompress one file."""
    target = options.target or (STANDARD if name == STANDARD else name.removesuffix(SUFFIX))
    if target == name and name != STANDARD:
        raise OutputError(f"Its name does not end in {SUFFIX}, so there is no name for the result; give one with -o, or use -c.")
    find_model = _finder(given)
    with open_source(name) as source:
        _find_models(source, find_model)
        with open_sink(target, options.is_forced, source.status) as sink, Bar(name, source.size, options.is_quiet) as bar:
            summary = pipeline.decompress(source, sink, find_model, options.workers, bar.update)
    if not options.is_quiet:
        say(f"{name}: {summary.raw_bytes:,} bytes")
    if options.is_verbose:
        say(f"{name}: {describe_blocks(summary)}")


def test_file(name: str, given: list[ModelFile], options: Options) -> None:
    """Decompress one file to nowhere."""
    with open_source(name) as source, Bar(name, source.size, options.is_quiet) as bar:
        summary = pipeline.decompress(source, Discard(), _finder(given), options.workers, bar.update)
    if not options.is_quiet:
        say(f"{name}: whole, {summary.raw_bytes:,} bytes")
    if options.is_verbose:
        say(f"{name}: {describe_blocks(summary)}")


def _finder(given: list[ModelFile]) -> pipeline.FindModel:
    @cache  # to find a model takes reading the files it may be, and each block asks
    def find_model(reference: ModelReference) -> ModelFile:
        return find(reference.model_id, reference.content_hash, given)

    return find_model


def _find_models(source: Source, find_model: pipeline.FindModel) -> None:
    """Raise ModelError before there is any output when a model is missing that a block of the file needs.

    A pipe cannot be read twice: there the block itself, when its turn comes, finds its model missing.
    """
    if source.status is None:
        return
    for found in read_blocks(source):
        if found.model and found.block.kind == BlockKind.TOKENS:
            find_model(found.model)
    source.stream.seek(0)


def describe(summary: Summary) -> str:
    """Return sizes, ratio, bits per byte, cross-entropy and what the file takes above it.

    >>> describe(Summary(raw_bytes=1000, packed_bytes=250, cost_bits=1880.0))
    '1,000 -> 250 bytes, ratio 4.00, 2.000 bpb; cross-entropy 1.880 bpb, file 15 bytes above it'
    """
    sizes = f"{summary.raw_bytes:,} -> {summary.packed_bytes:,} bytes"
    if not summary.raw_bytes:
        return sizes
    ratio = summary.raw_bytes / summary.packed_bytes
    bpb = 8 * summary.packed_bytes / summary.raw_bytes
    above = summary.packed_bytes - summary.cost_bits / 8
    return (
        f"{sizes}, ratio {ratio:.2f}, {bpb:.3f} bpb; "
        f"cross-entropy {summary.cost_bits / summary.raw_bytes:.3f} bpb, file {above:,.0f} bytes above it"
    )


def describe_blocks(summary: Summary) -> str:
    """Return how many blocks of each kind there are.

    >>> from collections import Counter
    >>> describe_blocks(Summary(kinds=Counter(xz=2, stored=1)))
    '3 blocks (xz: 2, stored: 1)'
    """
    count = summary.kinds.total()
    kinds = ", ".join(f"{kind}: {n}" for kind, n in summary.kinds.most_common())
    return f"{count} block{'' if count == 1 else 's'} ({kinds})"
