"""A .nnc file as a file object: `NncompFile`, for reading or for writing.

Knows modes and what closing means; nothing of how the block that holds a byte is found.
"""

from __future__ import annotations

import builtins
import io
import os
from typing import Any, BinaryIO, NoReturn, TypeVar, cast

from nncomp.api import at_exit
from nncomp.api.chosen_model import OF_LEVEL, ModelName, ReferenceText, find_with
from nncomp.api.incremental import Compressor
from nncomp.api.reading import Reader
from nncomp.format.frame_reader import TrailingError
from nncomp.stream.patience import PatientReader, PatientWriter

_Part = TypeVar("_Part", bytes, int)
FileName = str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO | io.IOBase


class NncompFile(io.BufferedIOBase):
    """A file object of the content of a .nnc file, as `nncomp.open` returns it. `lzma.LZMAFile` is the model for it.

    A given file object is used from its position on.

    Reading: if the file can seek, a read decodes only the block that holds the byte (12 MiB of literals, up to 18 MiB at the end
    of a frame; with its copies up to 64 MiB of content) and those that it has copies of, and keeps the last block. Otherwise
    the file is read from front to end, without `seek`. Every block is compared with its checksum.
    Writing: there is no `seek`, and `close` completes the file. `mode`, `level`, `model`: see `nncomp.open`.

    >>> import io, tarfile, nncomp
    >>> held = io.BytesIO()
    >>> with nncomp.NncompFile(held, "wb", model=None) as file, tarfile.open(fileobj=file, mode="w") as tar:
    ...     tar.addfile(tarfile.TarInfo("empty.txt"))
    >>> held.seek(0)
    0
    >>> with nncomp.NncompFile(held) as file, tarfile.open(fileobj=file) as tar:
    ...     tar.getnames()
    ['empty.txt']
    """

    _file: BinaryIO | None = None  # while it is open

    def __init__(
        self,
        file: FileName,
        mode: str = "rb",
        *,
        level: int | None = None,
        model: ModelName = OF_LEVEL,
        reference: ReferenceText = None,
        block_size: int | None = None,
    ) -> None:
        kind = mode.replace("b", "", 1) if isinstance(mode, str) else ""
        if kind not in ("r", "w", "x", "a"):
            raise ValueError(f"The mode {mode!r} is unknown. Use r, w, x or a, with b or without.")
        self._reader: io.BufferedReader | None = None
        self._raw: Reader | None = None
        self._compressor = None
        if kind != "r":
            self._compressor = Compressor(level=level, model=model, reference=reference, block_size=block_size)
        find_model = find_with(model, reference) if kind == "r" else None
        self._written_bytes = 0
        self._is_ours = isinstance(file, (str, bytes, os.PathLike))
        self.mode = kind + "b"
        if isinstance(file, (str, bytes, os.PathLike)):
            self._file = cast(BinaryIO, builtins.open(file, self.mode))  # noqa: PTH123, SIM115 (bytes, and closed by close)
        else:
            self._file = cast(BinaryIO, file)
        self._writer = None if kind == "r" else PatientWriter(self._file)
        if self._writer:
            at_exit.finish_later(self)
        self.name = getattr(self._file, "name", "")
        if find_model:
            source = self._file if isinstance(self._file, io.BytesIO) else cast(BinaryIO, PatientReader(self._file))
            self._raw = Reader(source, find_model)
            self._reader = io.BufferedReader(self._raw)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def close(self) -> None:
        """Write the rest and the end of the frame. Close the file unless it was given as an object. Later calls do nothing."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            if self._compressor:
                assert self._writer is not None
                self._writer.write(self._compressor.flush())
        finally:
            self._compressor = self._writer = self._reader = self._raw = None
            if self._is_ours:
                file.close()

    @property
    def closed(self) -> bool:
        return self._file is None

    def readable(self) -> bool:
        self._check_open()
        return self._reader is not None

    def writable(self) -> bool:
        self._check_open()
        return self._compressor is not None

    def seekable(self) -> bool:
        self._check_open()
        return self._reader is not None and self._reader.seekable()

    def fileno(self) -> int:
        """Return the descriptor of the compressed file."""
        return self._check_open().fileno()

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, or all that is left. Damage raises FormatError, after what is whole before it.

        All that is left is all, so there damage raises at once; but bytes after the content do not keep it back: they raise
        TrailingError at the next read.
        """
        data = self._check_reader().read(size)
        is_all = size is None or size < 0
        if is_all and self._raw and self._raw.failure and not isinstance(self._raw.failure, TrailingError):
            raise self._raw.failure
        return self._or_failure(data, size)

    def read1(self, size: int = -1) -> bytes:
        return self._or_failure(self._check_reader().read1(size), size)

    def readinto(self, buffer: Any) -> int:
        return self._or_failure(self._check_reader().readinto(buffer), memoryview(buffer).nbytes)

    def peek(self, size: int = 0) -> bytes:
        """Return at least one byte from the position, fewer only at the end, and keep the position."""
        return self._or_failure(self._check_reader().peek(size), -1)

    def readline(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        return self._or_failure(self._check_reader().readline(size), size)

    def _or_failure(self, result: _Part, size: int | None) -> _Part:
        """Return what was read; raise the error of a damage if that is why there is nothing."""
        if not result and size != 0 and self._raw and self._raw.failure:
            raise self._raw.failure
        return result

    def __iter__(self) -> NncompFile:
        self._check_reader()
        return self

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration

    def write(self, data: Any) -> int:
        """Take all of `data` (any bytes-like object) and return its length. Complete blocks are written at once."""
        self._check_open()
        if self._compressor is None or self._writer is None:
            raise io.UnsupportedOperation("The file is open for reading only.")
        view = memoryview(data).cast("B")
        self._writer.write(self._compressor.compress(view))
        self._written_bytes += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the content, and return where this is. The block is decoded at the next read.

        A position before the start is the start, and one after the end is the end, as in bz2 and lzma.
        """
        return self._check_reader().seek(offset, whence)

    def tell(self) -> int:
        self._check_open()
        return self._reader.tell() if self._reader else self._written_bytes

    def _check_open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("The file is closed.")
        return self._file

    def _check_reader(self) -> io.BufferedReader:
        self._check_open()
        if self._reader is None:
            raise io.UnsupportedOperation("The file is open for writing only.")
        return self._reader
