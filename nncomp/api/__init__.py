"""nncomp for programs: functions on bytes, and file objects like those of `lzma.open`.

These are the public names of `nncomp`. All work is done in the calling process, and nothing is printed.
Wrong data or models raise NncompError. Knows nothing of the command line.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Literal, TextIO, TypedDict, Unpack, cast, overload

from nncomp.api.chosen_model import (
    OF_LEVEL,
    Bytes,
    ModelName,
    ReferenceText,
    find_with,
    opened_reference,
    to_write_with,
    whole_number,
)
from nncomp.api.file_objects import FileName, NncompFile
from nncomp.api.incremental import Compressor, Decompressor
from nncomp.format.frame_reader import TrailingError
from nncomp.stream import pipeline
from nncomp.stream.tasks import Coding

__all__ = ["Compressor", "Decompressor", "NncompFile", "compress", "decompress", "open", "register_fsspec"]

ReadMode = Literal["r", "rb"]
WriteMode = Literal["w", "wb", "x", "xb", "a", "ab"]
TextMode = Literal["rt", "wt", "xt", "at"]


class TextOptions(TypedDict, total=False):
    """What `open` takes for text, as the builtin does."""

    encoding: str | None
    errors: str | None
    newline: str | None


def compress(
    data: Bytes,
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    reference: ReferenceText = None,
    block_size: int | None = None,
    workers: int = 0,
) -> bytes:
    """Return `data` compressed: the bytes of a .nnc file, the same bytes as the command writes.

    `level` is 1 (quickest) to 9 (smallest); None is 5. `model` replaces the model of the level: the name of a model of nncomp
    ("default", "fast", "max"), the path of a model file, or None for mixing without a network (quicker and larger).
    `reference` is a text that is like `data`, as bytes or the path of a file: `data` is coded knowing it, and `decompress`
    needs the same text. `block_size` is how many bytes a block has, 65,536 to 12,582,912, the usual size: smaller blocks are
    read in parts sooner, and make a larger file. `workers` is the number of processes, each with one block at a time; 0 works in
    this process. (As always with `multiprocessing`, the work of a script must then stand under `if __name__ == "__main__":`.)
    Raises ModelError if there is no such model or level, TypeError if a number is no int, DataError if the reference cannot be
    read, MemoryLimitError if a block needs more than 1.2 GB (see `decompress`), and ValueError for a number out of bounds.

    >>> import nncomp
    >>> len(nncomp.compress(b"all work and no play, " * 50, model=None)) < 80
    True
    """
    sink = io.BytesIO()
    chosen, effort = to_write_with(model, level, block_size)
    pipeline.compress(_stream(data), sink, Coding(chosen, effort, opened_reference(reference)), whole_number(workers, "workers"))
    return sink.getvalue()


def decompress(data: Bytes, *, model: ModelName = None, reference: ReferenceText = None, workers: int = 0) -> bytes:
    """Return the content of a .nnc file, or of several concatenated .nnc files.

    `model` is the path of the model file that `data` was compressed with, if it is not a model of nncomp. `reference` is the
    text that it was compressed with, if any. `workers`: see `compress`. Raises FormatError if `data` is not a valid .nnc
    file, ModelError if the model is missing, NoReferenceError if the reference is or is another text, and MemoryLimitError
    if a block needs more than 1.2 GB (only a large model of your own needs so much). A FormatError is an OSError too, and a
    truncated file an EOFError. For bytes after the end, the error's `content` is what was whole.

    >>> import nncomp
    >>> first, second = (nncomp.compress(part, model=None) for part in (b"one, ", b"two"))
    >>> nncomp.decompress(first + second)
    b'one, two'
    >>> nncomp.decompress(first[:-1])
    Traceback (most recent call last):
    nncomp.format.frame_reader.TruncatedError: The file ends where more was expected; it is truncated: fetch or copy it again.
    """
    sink = io.BytesIO()
    try:
        pipeline.decompress(_stream(data), sink, find_with(model, reference), whole_number(workers, "workers"))
    except TrailingError as error:
        error.content = sink.getvalue()
        raise
    return sink.getvalue()


def _stream(data: Bytes) -> io.BytesIO:
    """Return bytes as a stream; raises TypeError for what is no bytes (None too, which io.BytesIO takes for nothing)."""
    return io.BytesIO(data if isinstance(data, bytes) else memoryview(data).cast("B"))


@overload
def open(
    file: FileName,
    mode: ReadMode | WriteMode = "rb",
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    reference: ReferenceText = None,
    block_size: int | None = None,
) -> NncompFile: ...
@overload
def open(
    file: FileName,
    mode: TextMode,
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    reference: ReferenceText = None,
    block_size: int | None = None,
    **text: Unpack[TextOptions],
) -> TextIO: ...
@overload
def open(
    file: FileName,
    mode: str,
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    reference: ReferenceText = None,
    block_size: int | None = None,
    **text: Unpack[TextOptions],
) -> NncompFile | TextIO: ...
def open(
    file: FileName,
    mode: str = "rb",
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    reference: ReferenceText = None,
    block_size: int | None = None,
    **text: Unpack[TextOptions],
) -> NncompFile | TextIO:
    """Open a .nnc file, given by name or as a binary file object, and return a file object of its content.

    `mode` is "r", "w", "x" or "a" (appends a frame), with "b" for bytes (the default) or "t" for text. Text takes `encoding`,
    `errors` and `newline` as the builtin `open` does. `level`, `model`, `reference` and `block_size`: see `compress` and
    `decompress`. A given file object stays open. `NncompFile` describes `seek`.

    >>> import json, tempfile, nncomp
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "numbers.json.nnc")
    >>> with nncomp.open(path, "wt", model=None, encoding="utf-8") as file:
    ...     json.dump({"one": 1}, file)
    >>> with nncomp.open(path, "rt", encoding="utf-8") as file:
    ...     json.load(file)
    {'one': 1}
    >>> with nncomp.open(path) as file:
    ...     file.seek(2)
    ...     file.read(3)
    2
    b'one'
    """
    is_text = "t" in mode
    if is_text and "b" in mode:
        raise ValueError(f"The mode {mode!r} is both binary (b) and text (t). Use one of them.")
    if unknown := set(text) - set(TextOptions.__annotations__):
        raise TypeError(f"open() got an unexpected keyword argument {min(unknown)!r}")
    if not is_text and any(value is not None for value in text.values()):
        raise ValueError(f"encoding, errors and newline are for text. Use a mode with t, not {mode!r}.")
    binary = NncompFile(file, mode.replace("t", ""), level=level, model=model, reference=reference, block_size=block_size)
    if not is_text:
        return binary
    encoding = io.text_encoding(text.get("encoding"))
    return io.TextIOWrapper(cast(IO[bytes], binary), encoding, text.get("errors"), text.get("newline"))


def register_fsspec() -> None:
    """Let fsspec read and write .nnc files with compression "nncomp", and with "infer" for the suffix .nnc.

    Call it once in each process: fsspec does not find compressions by entry points.
    Raises ImportError if fsspec is not installed.

    >>> import nncomp, fsspec                                # doctest: +SKIP
    >>> nncomp.register_fsspec()                             # doctest: +SKIP
    >>> fsspec.open("s3://bucket/notes.txt.nnc", "rt", compression="infer")  # doctest: +SKIP
    """
    from fsspec.compression import register_compression

    def opened(file: BinaryIO, mode: str = "rb", **options: Any) -> NncompFile:
        return NncompFile(file, mode, **options)

    register_compression("nncomp", cast(Callable[..., Any], opened), "nnc", force=True)
