"""CPython's own tests of bz2 and lzma, run on nncomp's classes: what programs rely on is the same, or is in a list with a reason.

The files are those of the Python that runs the tests. Their classes and constants are replaced; nothing of them is copied.
"""

from __future__ import annotations

import importlib.util
import lzma
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import nncomp
from nncomp.errors import FormatError


class _File(nncomp.NncompFile):
    """NncompFile with the arguments of BZ2File and of LZMAFile."""

    def __init__(self, filename: Any, mode: str = "r", **settings: Any) -> None:
        _check(settings)
        super().__init__(filename, mode, model=None)


class _Compressor(nncomp.Compressor):
    def __init__(self, level_or_format: int = 9, **settings: Any) -> None:
        _check(settings if level_or_format in _FORMATS or "format" in settings else {"compresslevel": level_or_format} | settings)
        super().__init__(model=None)


class _AnyCheck:
    """The kind of checksum of a file: nncomp has one only, and does not tell."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class _Decompressor(nncomp.Decompressor):
    check = _AnyCheck()

    def __init__(self, format: int = 0, **settings: Any) -> None:
        _check(settings)
        super().__init__()


_FORMATS = {lzma.FORMAT_AUTO, lzma.FORMAT_XZ, lzma.FORMAT_ALONE, lzma.FORMAT_RAW}
_SETTINGS = {"compresslevel", "format", "check", "preset", "filters", "memlimit"}


def _check(settings: dict[str, Any]) -> None:
    if not set(settings) <= _SETTINGS:
        raise TypeError(f"one of {sorted(settings)} is no argument")
    level = settings.get("compresslevel", 9)
    if not isinstance(level, int):
        raise TypeError("the level is a number")
    if not 1 <= level <= 9:
        raise ValueError("the level is 1 to 9")


def _open(filename: Any, mode: str = "rb", encoding: Any = None, errors: Any = None, newline: Any = None, **settings: Any) -> Any:
    _check(settings)
    return nncomp.open(filename, mode, model=None, encoding=encoding, errors=errors, newline=newline)


def _compress(data: Any, level: int = 9, **settings: Any) -> bytes:
    _check(settings)
    return nncomp.compress(data, model=None)


def _decompress(data: Any, format: int = 0, **settings: Any) -> bytes:
    _check(settings)
    return nncomp.decompress(data)


def _module(name: str) -> ModuleType | None:
    """Return a copy of a module of CPython's tests that is changed below, or None where it is not installed."""
    try:
        found = importlib.util.find_spec(f"test.{name}")
    except ImportError:
        return None
    if found is None or not found.origin:
        return None
    spec = importlib.util.spec_from_file_location(f"cpython_{name}", found.origin)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bz2() -> ModuleType | None:
    module: Any = _module("test_bz2")
    if module is None:
        return None
    module.bz2 = SimpleNamespace(open=_open, compress=_compress, decompress=_decompress, BZ2File=_File)
    module.BZ2File, module.BZ2Compressor, module.BZ2Decompressor = _File, _Compressor, nncomp.Decompressor
    module.ext_decompress = nncomp.decompress
    base = module.BaseTest
    base.DATA, base.EMPTY_DATA = nncomp.compress(base.TEXT, model=None), nncomp.compress(b"", model=None)
    base.BIG_TEXT = base.BIG_TEXT[: 40 << 10]  # nncomp is slower than bz2
    base.BIG_DATA = nncomp.compress(bytes(base.BIG_TEXT), model=None)
    return module  # type: ignore[no-any-return]


def _lzma() -> ModuleType | None:
    module: Any = _module("test_lzma")
    if module is None:
        return None
    real = module.lzma
    module.lzma = SimpleNamespace(**{name: getattr(real, name) for name in dir(real) if name.isupper()})
    vars(module.lzma).update(open=_open, compress=_compress, decompress=_decompress, LZMAFile=_File, LZMAError=FormatError)
    vars(module.lzma).update(LZMACompressor=_Compressor, LZMADecompressor=_Decompressor)
    module.LZMAFile, module.LZMACompressor, module.LZMADecompressor = _File, _Compressor, _Decompressor
    module.LZMAError = FormatError
    for name in ("XZ", "ALONE", "RAW_1", "RAW_2", "RAW_3", "RAW_4"):
        setattr(module, f"COMPRESSED_{name}", nncomp.compress(module.INPUT, model=None))
    return module  # type: ignore[no-any-return]


MODULES = {"bz2": _bz2(), "lzma": _lzma()}
CLASSES = {
    "bz2": ("BZ2FileTest", "BZ2CompressorTest", "BZ2DecompressorTest", "CompressDecompressTest", "OpenTest"),
    "lzma": ("CompressorDecompressorTestCase", "CompressDecompressFunctionTestCase", "FileTestCase", "OpenTestCase"),
}
SLOW = {"bz2.BZ2FileTest.testThreading", "bz2.BZ2FileTest.testDecompressLimited", "lzma.FileTestCase.test_decompress_limited"}
_NONE = "readline and readlines take None for no limit, as those of io do"
_WHOLE = "a block comes out when it is complete and right, never before"
_JUNK = "bytes after the end are an error; it holds the content that is whole"
_FILTERS = "there are no formats, filters, presets and checks to choose"
_INSIDE = "it looks at what is inside of LZMAFile"
_OWN_BYTES = "it has bytes of a bz2 or lzma file of its own"
DIFFERENT = {
    "bz2.BZ2FileTest.testReadLine": _NONE,
    "bz2.BZ2FileTest.testReadLineMultiStream": _NONE,
    "bz2.BZ2FileTest.testReadLines": _NONE,
    "bz2.BZ2FileTest.testReadLinesMultiStream": _NONE,
    "bz2.BZ2FileTest.testReadlinesNoNewline": _OWN_BYTES,
    "bz2.BZ2FileTest.test_read_truncated": _WHOLE,
    "bz2.BZ2DecompressorTest.testDecompressorChunksMaxsize": _WHOLE,
    "bz2.CompressDecompressTest.testDecompressEmpty": "no bytes are no file: even nothing compresses to a few",
    "bz2.CompressDecompressTest.testDecompressIncomplete": "a truncated file is an EOFError, as it is for BZ2File",
    "bz2.CompressDecompressTest.testDecompressMultiStreamTrailingJunk": _JUNK,
    "bz2.CompressDecompressTest.testDecompressTrailingJunk": _JUNK,
    "lzma.CompressorDecompressorTestCase.test_bad_filter_spec": _FILTERS,
    "lzma.CompressorDecompressorTestCase.test_decompressor_bad_input": _FILTERS,
    "lzma.CompressorDecompressorTestCase.test_decompressor_bug_28275": _FILTERS,
    "lzma.CompressorDecompressorTestCase.test_decompressor_chunks_maxsize": _WHOLE,
    "lzma.CompressorDecompressorTestCase.test_decompressor_memlimit": _FILTERS,
    "lzma.CompressorDecompressorTestCase.test_simple_bad_args": _FILTERS,
    "lzma.CompressDecompressFunctionTestCase.test_bad_args": _FILTERS,
    "lzma.CompressDecompressFunctionTestCase.test_decompress_bad_input": _FILTERS,
    "lzma.CompressDecompressFunctionTestCase.test_decompress_memlimit": _FILTERS,
    "lzma.CompressDecompressFunctionTestCase.test_decompress_multistream_trailing_junk": _JUNK,
    "lzma.CompressDecompressFunctionTestCase.test_decompress_trailing_junk": _JUNK,
    "lzma.FileTestCase.test_close": _INSIDE,
    "lzma.FileTestCase.test_fileno": _INSIDE,
    "lzma.FileTestCase.test_init_bad_check": _FILTERS,
    "lzma.FileTestCase.test_init_bad_filter_spec": _FILTERS,
    "lzma.FileTestCase.test_init_bad_preset": _FILTERS,
    "lzma.FileTestCase.test_init_with_preset_and_filters": _FILTERS,
    "lzma.FileTestCase.test_issue21872": _OWN_BYTES,
    "lzma.FileTestCase.test_read_truncated": _WHOLE,
}


def _cases() -> list[str]:
    found = []
    for name, module in MODULES.items():
        for each in CLASSES[name] if module else ():
            methods = unittest.defaultTestLoader.getTestCaseNames(getattr(module, each))
            found += [f"{name}.{each}.{method}" for method in methods]
    return [case for case in found if case not in SLOW]


@pytest.mark.skipif(None in MODULES.values(), reason="CPython's tests of bz2 and lzma are not installed")
def test_they_are_here() -> None:
    assert len(_cases()) > 180
    assert set(DIFFERENT) <= set(_cases())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", _cases())
def test_as_bz2_and_lzma(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, method = case.split(".")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = unittest.TestResult()
    getattr(MODULES[module], name)(method).run(result)
    problems = [text for _, text in result.errors + result.failures]
    if case in DIFFERENT:
        assert problems or result.skipped, f"it is no longer different: {DIFFERENT[case]}"
    else:
        assert not problems, problems[0]
