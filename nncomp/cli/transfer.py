"""What compress, decompress, cat and --recover do with a file, and the lines they print."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.blocks.compressed_already import compressed_kind
from nncomp.cli.failures import say
from nncomp.cli.file_options import Input, Options
from nncomp.cli.hashed import HashedSink, HashedSource, digest_of, new_hash
from nncomp.cli.model_choice import require_models
from nncomp.cli.names import STANDARD, SUFFIX, shown
from nncomp.cli.result_line import describe_blocks, describe_sizes
from nncomp.cli.sinks import Discard, Sink, make_folder, open_sink, status_of
from nncomp.cli.sources import FOLDER, Source, is_folder, open_source, remove_source
from nncomp.cli.streams import is_terminal
from nncomp.errors import DataError, FormatError, NncompError, OutputError
from nncomp.format.frame_reader import TrailingError
from nncomp.network.registry import ModelFile, installed_models
from nncomp.stream import pipeline, storage
from nncomp.stream.pipeline import Summary
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import Coding, Finder, finder

if TYPE_CHECKING:
    from nncomp.stream.recovery import Loss


def packed_name(name: str) -> str:
    """Return the name of the result of compressing a file.

    >>> packed_name("notes.txt")
    'notes.txt.nnc'
    """
    return name + SUFFIX


def unpacked_name(name: str) -> str:
    """Return the name of the result of decompressing a file; raises OutputError if that would be the same.

    >>> unpacked_name("notes.txt.nnc")
    'notes.txt'
    """
    if not name.endswith(SUFFIX):
        if name and is_folder(name):
            raise DataError(FOLDER)
        raise OutputError(f"The name does not end in {SUFFIX}. Name the result with -o, or write to standard output with -c.")
    return name.removesuffix(SUFFIX)


def compress_file(name: str, model: ModelFile | None, options: Options) -> Summary | None:
    """Compress one file and print a line about the result; return its figures, or None if the file is left as it is."""
    with open_source(name) as source:
        return compress_source(Input(name, source), model, options)


def compress_source(file: Input, model: ModelFile | None, options: Options) -> Summary | None:
    """Do what `compress_file` does with a source that is open."""
    name, source = file.name, file.source
    target = options.target_of(name, packed_name)
    if target == STANDARD and is_terminal(sys.stdout):
        raise OutputError(_NO_TERMINAL)
    _check_suffix(name, options)
    kind = kind_of(source)
    if kind and options.is_skipping:
        if options.is_verbose:
            say(f"{shown(name)}: {_already(kind)}, so it is skipped.")
        return None
    coding = coding_of(kind, model, options)
    _check_reference(source, target, options)
    with open_result(target, source, options) as sink:
        if sink.is_terminal:
            raise OutputError(_NO_TERMINAL)
        _check_removable(name, source, sink, options)
        summary, digest = _coded(file, sink, coding, options)
        if source.has_changed() and not options.is_quiet:
            say(f"{shown(name)}: the file changed while it was read; the result holds what was read.")
        if options.is_verified:
            _verify(sink, digest, model, options)
    if options.is_removed and source.status:
        remove_source(name, source.status)
    if options.says_result(name == target == STANDARD):
        verified = "; verified" if options.is_verified else ""
        say(f"{shown(name)}: {describe_sizes(summary)}{verified}")
    if options.is_verbose:
        used = f"{model.path} ({model.hash8.hex()})" if model else "none, so no network is used"
        stored = f"{shown(name)}: {_already(kind)}, so it is stored." if kind else ""
        say(stored or f"{shown(name)}: {describe_blocks(summary)}; model: {used}")
    return summary


def _coded(file: Input, sink: Sink, coding: Coding, options: Options) -> tuple[Summary, bytes]:
    """Write a source compressed; return its figures and the digest of what was read."""
    if file.made:
        sink.write(file.made.data)
        return file.made.summary, digest_of(file.data)
    read, summary = HashedSource(file.source, sink.flush_to_reader), Summary()
    with options.bar(file.name, file.source.size, summary) as bar:
        workers, memory = options.fitting_workers([coding.model] if coding.model else [], is_coding=True), options.memory
        pipeline.compress(read, sink, coding, workers, bar.update, summary=summary, memory=memory)
    return summary, read.digest()


def _check_suffix(name: str, options: Options) -> None:
    """Raise OutputError for a file that is named as a result, unless that is meant."""
    if name.endswith(SUFFIX) and options.target is None and not options.is_forced:
        raise OutputError(f"The name ends in {SUFFIX} already. Compress it once more with -f, or name the result with -o.")


def kind_of(source: Source) -> str | None:
    """Return the kind of compressed file that a source is already; None for any other, and for what can be read only once."""
    return compressed_kind(source.stream, source.status.st_size) if source.status else None


def coding_of(kind: str | None, model: ModelFile | None, options: Options) -> Coding:
    """Return how a file is coded: as it is, if it is of a kind that is compressed already."""
    if kind:
        return Coding(None, replace(options.effort, is_stored=True))
    return Coding(model, options.effort, options.reference)


def _already(kind: str) -> str:
    return f"compressed already ({kind})"


def decompress_file(name: str, find_model: Finder, options: Options) -> Summary | None:
    """Decompress one file or a range of its bytes; return its figures."""
    options.target_of(name, unpacked_name)
    with open_source(name) as source:
        return decompress_source(Input(name, source), find_model, options)


def decompress_source(file: Input, find_model: Finder, options: Options) -> Summary | None:
    """Do what `decompress_file` does with a source that is open."""
    name, source = file.name, file.source
    target = options.target_of(name, unpacked_name)
    _check_reference(source, target, options)
    if options.part or options.is_recovered:
        return (_decompress_part if options.part else recover_file)(name, source, target, find_model, options)
    if not file.made:
        require_models(source, find_model, is_passing=target == STANDARD)
    with open_result(target, source, options) as sink:
        _check_removable(name, source, sink, options)
        written, summary, after = HashedSink(sink), Summary(), list[TrailingError]()
        if file.made:
            written.write(file.made.data)
            summary = file.made.summary
        else:
            with options.bar(name, source.size, summary, target) as bar, _put_off(after):
                workers, memory = options.fitting_workers(find_model.given), options.memory
                pipeline.decompress(source, written, find_model, workers, bar.update, summary=summary, memory=memory)
        if options.is_verified:
            with sink.written() as stream:
                if hashlib.file_digest(stream, new_hash).digest() != written.digest():
                    raise OutputError(_UNEQUAL)
    if options.is_removed and source.status and not after:
        remove_source(name, source.status)
    if options.says_result(target == STANDARD):
        say(f"{shown(name)}: {summary.raw_bytes:,} bytes")
    if options.is_verbose:
        say(f"{shown(name)}: {describe_blocks(summary)}")
    if after:
        raise after[0]
    return summary


def _decompress_part(name: str, source: Source, target: str, find_model: Finder, options: Options) -> Summary:
    """Write a part of the content and print a line about it."""
    from nncomp.stream.ranges import decompress_range

    assert options.part is not None
    with open_result(target, source, options) as sink, options.bar(name, None, Summary(), target) as bar:
        workers, memory = options.fitting_workers(find_model.given), options.memory
        count = decompress_range(source.stream, sink, find_model, workers, options.part, bar.update, memory)
    if options.says_result(target == STANDARD):
        say(f"{shown(name)}: {count:,} bytes")
    return Summary(raw_bytes=count)


def recover_file(name: str, source: Source, target: str, find_model: Finder, options: Options) -> Summary:
    """Write the undamaged blocks of a file and print the lost ranges.

    Raises FormatError, after the result is complete, if bytes are lost or may be wrong.
    """
    from nncomp.stream.recovery import recover

    if not source.is_seekable:
        raise DataError("Recovery reads a file from both ends, and this input can be read only once. Give a file.")
    others = [*find_model.given, *installed_models()]
    with open_result(target, source, options) as sink:
        with options.bar(name, source.size, Summary(), target) as bar:
            workers = options.fitting_workers(find_model.given)
            result = recover(source.stream, sink, find_model, others, workers, options.memory, bar.update)
        if not result.kept_blocks:
            raise FormatError("Nothing can be recovered: no block is undamaged.")
    kept = f"{result.kept_bytes:,} bytes in {result.kept_blocks} block{'' if result.kept_blocks == 1 else 's'}"
    for loss in result.lost:
        say(f"{shown(name)}: {_describe_loss(loss)}: {loss.why}")
    for start, stop in result.mixed:
        say(f"{shown(name)}: from byte {start:,} to {stop:,} each block is right, but together they have another checksum.")
    if result.lost and not any(loss.is_sure for loss in result.lost):
        raise FormatError(f"Part of the file may be lost. {kept} are written.")
    if result.lost:
        raise FormatError(f"Part of the file is lost. {kept} are written, with zeros in place of lost bytes between them.")
    if result.mixed:
        raise FormatError(f"Blocks may be missing, exchanged or of another file, or the checksum is damaged. {kept} are written.")
    if options.says_result(target == STANDARD):
        say(f"{shown(name)}: nothing lost, {kept}")
    if result.after:
        raise result.after
    return Summary(raw_bytes=result.kept_bytes)


def _describe_loss(loss: Loss) -> str:
    if loss.is_followed or not loss.is_sure:
        return f"at byte {loss.start:,} an unknown number of bytes {'is' if loss.is_sure else 'may be'} lost"
    end = "the end" if loss.end is None else f"{loss.end:,}"
    return f"lost from byte {loss.start:,} to {end}"


@contextmanager
def open_result(target: str, source: Source, options: Options) -> Iterator[Sink]:
    """Open the result of a source, and say afterwards what of the source's metadata it could not be given."""
    if options.places and not storage.is_url(target):
        make_folder(Path(target).parent)
    with open_sink(target, options.is_forced, source) as sink:
        sink.is_sparse = options.is_sparse
        yield sink
    if sink.missing and not options.is_quiet:
        say(f"{shown(target)}: {' and '.join(sink.missing)} of the source could not be taken over.")


@contextmanager
def _put_off(after: list[TrailingError]) -> Iterator[None]:
    """Keep the error for bytes after the end of a whole content: the content comes first, then the complaint."""
    try:
        yield
    except TrailingError as error:
        after.append(error)


def _check_reference(source: Source, target: str, options: Options) -> None:
    """Raise if the reference is the source or would be replaced by the result: then nothing could be decoded any more."""
    if options.reference is None:
        return
    if options.reference.is_file(source.status):
        raise DataError("This file is the reference itself. It is left as it is.")
    check_reference_stays(target, options.reference)


def check_reference_stays(target: str, reference: Reference | None) -> None:
    """Raise OutputError if an output of this name would replace the reference, if there is one."""
    is_local = target != STANDARD and not storage.is_url(target)
    if reference and is_local and reference.is_file(status_of(target)):
        raise OutputError("The result would replace the reference. Give it another name.")


def _check_removable(name: str, source: Source, sink: Sink, options: Options) -> None:
    """Raise before the work begins if the source cannot be removed or the result cannot be read back."""
    if options.is_removed and Path(name).is_symlink():
        raise DataError("This is a link to a file, and --rm would remove the link only. Give the file, or leave out --rm.")
    if options.is_removed and source.status and source.status.st_nlink > 1 and not options.is_forced:
        count = source.status.st_nlink
        raise DataError(f"This file has {count} names (hard links), and --rm would remove one. Use -f, or leave out --rm.")
    if options.is_removed and source.status is None:
        raise DataError("The input is not a regular file, so it cannot be removed. Leave out --rm.")
    if options.is_verified and sink.path is None:
        raise OutputError(f"{sink.name} cannot be read back and compared. Leave out --rm and --verify.")


def _verify(sink: Sink, digest: bytes, model: ModelFile | None, options: Options) -> None:
    """Decode the result and compare it with the source by digest; raises OutputError when they differ."""
    decoded = HashedSink(Discard())
    model = replace(model, device="") if model else None  # verified by the loops that every reader has
    find_model, summary = finder([model] if model else [], options.reference), Summary()
    with sink.written() as stream, options.bar("verifying", None, summary, is_counted=False) as bar:
        try:
            workers, memory = options.fitting_workers(find_model.given), options.memory
            pipeline.decompress(stream, decoded, find_model, workers, bar.update, summary=summary, memory=memory)
        except NncompError as error:
            raise OutputError(f"{_UNEQUAL} ({error})") from error
    if decoded.digest() != digest:
        raise OutputError(_UNEQUAL)


_NO_TERMINAL = "Compressed data is not written to a terminal. Redirect standard output, or give a file with -o."
_UNEQUAL = "The result was read back and is wrong. It is not kept, and the source is not removed. Please report this."
