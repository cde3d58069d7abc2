"""nncomp for programs: bytes to bytes, and files that are read and written as `lzma.open` does it.

What `nncomp` itself offers is here. The work is done in the calling process: nothing is started, printed or left behind.
Whatever is wrong with data or models raises an NncompError. Knows nothing of the command line.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Literal, TextIO, cast, overload

from nncomp.api.chosen_model import OF_LEVEL, Bytes, ModelName, find_with, to_write_with
from nncomp.api.file_objects import FileName, NncompFile
from nncomp.api.incremental import Compressor, Decompressor
from nncomp.stream import pipeline

__all__ = ["Compressor", "Decompressor", "NncompFile", "compress", "decompress", "open", "register_fsspec"]

ReadMode = Literal["r", "rb"]
WriteMode = Literal["w", "wb", "x", "xb", "a", "ab"]
TextMode = Literal["rt", "wt", "xt", "at"]


def compress(data: Bytes, *, level: int | None = None, model: ModelName = OF_LEVEL, workers: int = 0) -> bytes:
    """Return a .nnc file that holds `data`; the same bytes as the command writes.

    `level` is 1 (quickest) to 9 (smallest), None for 5. `model` is in place of the level's own: the name of a model that comes
    with nncomp ("default", "fast", "max"), the path of a model file, or None for mixing alone, which is quicker and packs less.
    `workers` processes code that many blocks of 3.5 MiB at a time; with 0 it is done in this process. (Like all of
    `multiprocessing`, workers need a script whose work stands under `if __name__ == "__main__":`.)
    Raises ModelError when there is no such model or level.

    >>> import nncomp
    >>> len(nncomp.compress(b"all work and no play, " * 50, model=None)) < 80
    True
    """
    sink = io.BytesIO()
    chosen, effort = to_write_with(model, level)
    pipeline.compress(io.BytesIO(data), sink, chosen, workers, effort=effort)
    return sink.getvalue()


def decompress(data: Bytes, *, model: ModelName = None, workers: int = 0) -> bytes:
    """Return what a .nnc file holds, or several that are concatenated.

    `model` is the path of the model that it was compressed with, if that does not come with nncomp. `workers`: see `compress`.
    Raises FormatError for bytes that are not, or no longer, a .nnc file, ModelError when the model is missing, MemoryLimitError
    when a block takes more than 1 GB (as only a large model of your own makes it).

    >>> import nncomp
    >>> first, second = (nncomp.compress(part, model=None) for part in (b"one, ", b"two"))
    >>> nncomp.decompress(first + second)
    b'one, two'
    >>> nncomp.decompress(first[:-1])
    Traceback (most recent call last):
    nncomp.format.frames.TruncatedError: The file ends where more was expected; it is truncated: fetch or copy it again.
    """
    sink = io.BytesIO()
    pipeline.decompress(io.BytesIO(data), sink, find_with(model), workers)
    return sink.getvalue()


@overload
def open(
    file: FileName, mode: ReadMode | WriteMode = "rb", *, level: int | None = None, model: ModelName = OF_LEVEL
) -> NncompFile: ...
@overload
def open(
    file: FileName,
    mode: TextMode,
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> TextIO: ...
@overload
def open(
    file: FileName,
    mode: str,
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> NncompFile | TextIO: ...
def open(
    file: FileName,
    mode: str = "rb",
    *,
    level: int | None = None,
    model: ModelName = OF_LEVEL,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> NncompFile | TextIO:
    """Open a .nnc file, by its name or as a binary file object, and return a file object of what it holds.

    `mode` is "r", "w", "x" or "a" (which appends a frame) with "b" (as if there were neither) or "t" for text; then
    `encoding`, `errors` and `newline` are those of the builtin `open`. `level` and `model`: see `compress` and `decompress`.
    A file object that is given stays open. See `NncompFile` for `seek`.

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
    if not is_text and (encoding, errors, newline) != (None, None, None):
        raise ValueError(f"encoding, errors and newline are for text. Use a mode with t, not {mode!r}.")
    binary = NncompFile(file, mode.replace("t", ""), level=level, model=model)
    if not is_text:
        return binary
    return io.TextIOWrapper(cast(IO[bytes], binary), io.text_encoding(encoding), errors, newline)


def register_fsspec() -> None:
    """Let fsspec read and write .nnc files, as compression "nncomp"; also with "infer", by the suffix .nnc.

    fsspec finds file systems by entry points, but not compressions; so whoever wants this one calls this, once a process.
    Raises ImportError when fsspec is not installed.

    >>> import nncomp, fsspec                                # doctest: +SKIP
    >>> nncomp.register_fsspec()                             # doctest: +SKIP
    >>> fsspec.open("s3://bucket/notes.txt.nnc", "rt", compression="infer")  # doctest: +SKIP
    """
    from fsspec.compression import register_compression

    def opened(file: BinaryIO, mode: str = "rb", **options: Any) -> NncompFile:
        return NncompFile(file, mode, **options)

    register_compression("nncomp", cast(Callable[..., Any], opened), "nnc", force=True)
