"""What `nncomp reference` does: samples from files, and the line about the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nncomp.cli import inputs
from nncomp.cli.failures import say
from nncomp.cli.names import shown
from nncomp.cli.options import WrongUse
from nncomp.cli.sinks import open_sink
from nncomp.cli.sources import open_source
from nncomp.errors import DataError, OutputError
from nncomp.stream.reference_choice import MOST_BYTES, choose_reference


def write_reference(names: list[str], output: str, size: str, is_forced: bool, is_quiet: bool) -> None:
    """Pick a reference of at most `size` (such as 64Ki) from files and folders, write it and print a line about it."""
    most = inputs.parse_size(size)
    if not most:
        raise WrongUse("A reference has at least one byte. Give a larger --size.")
    files = [name for name, _ in inputs.expand(names, True, is_packed=False)]
    counted = [0]
    with open_sink(output, is_forced, None) as sink:
        _check_output(output, files)
        chosen = choose_reference(_samples(files, counted), most)
        sink.write(chosen)
    if not is_quiet:
        say(f"{shown(output)}: {len(chosen):,} bytes from {counted[0]:,} sample{'' if counted[0] == 1 else 's'}")


def _samples(files: list[str], counted: list[int]) -> Iterator[bytes]:
    """Yield what files hold, up to what is looked at of each, and count them."""
    for name in files:
        try:
            with open_source(name) as source:
                sample = source.read(MOST_BYTES)
        except DataError as error:
            raise DataError(f"{shown(name)}: {error}") from error
        yield sample
        counted[0] += 1


def _check_output(output: str, files: list[str]) -> None:
    """Raise OutputError if the reference would replace one of its samples."""
    path = Path(output)
    if path.is_file() and any(Path(name).exists() and path.samefile(name) for name in files):
        raise OutputError(f"The reference would replace a sample, {shown(output)}. Give another name.")
