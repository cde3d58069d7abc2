"""Well-known corpora by name: from a folder, from the cache, or downloaded. Every file is verified.

Sizes and SHA-256 are those of the authors' files. They come from several public lists that agree. They were compared with the MD5
on the authors' pages (enwik8, enwik9, silesia) and with copies of the files (canterbury, silesia's xml).
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nncomp.errors import DataError
from nncomp.machine.limits import user_cache

_TIMEOUT_S = 30
_PIECE_BYTES = 1 << 20

OpenUrl = Callable[[str], IO[bytes]]


@dataclass(frozen=True)
class Original:
    """Size and hash of a file of a corpus."""

    size_bytes: int
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Return whether the file at `path` is this one."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class Corpus:
    """The URL of a corpus's archive (zip or tar.gz), and the files in the archive."""

    url: str
    files: dict[str, Original]


CORPORA = {
    "enwik8": Corpus(
        "http://mattmahoney.net/dc/enwik8.zip",
        {"enwik8": Original(100_000_000, "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8")},
    ),
    "enwik9": Corpus(
        "http://mattmahoney.net/dc/enwik9.zip",
        {"enwik9": Original(1_000_000_000, "159b85351e5f76e60cbe32e04c677847a9ecba3adc79addab6f4c6c7aa3744bc")},
    ),
    "canterbury": Corpus(
        "https://corpus.canterbury.ac.nz/resources/cantrbry.tar.gz",
        {
            "alice29.txt": Original(152_089, "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"),
            "asyoulik.txt": Original(125_179, "eaa3526fe53859f34ecdf255712f9ecf0b2c903451d4755b2edaa2e2599cb0fc"),
            "cp.html": Original(24_603, "e0cd21cef5b6c4069461e949be100080c3ce887de6f1dd8626c480528efaaf61"),
            "fields.c": Original(11_150, "85d73e354cc50cec76cb5a50537cf8dc035f8cbb8480f9e1cbe2f7d6c23393c7"),
            "grammar.lsp": Original(3_721, "1b0805dfc0ae706b35aac2bb4e15f02485efd24dda5dbd29de7b2f84d1a88c15"),
            "kennedy.xls": Original(1_029_744, "9af47239ca29dfe20e633f80bbbb9a4cc9783d0803d7b2b5626f42e4c3790420"),
            "lcet10.txt": Original(426_754, "5314ba1dbb03f471df88bec6cd120a938ef60d0fd3511c5c1dce61bf7463245f"),
            "plrabn12.txt": Original(481_861, "07e2e0b461af78c7c647cb53dab39de560198e16f799b4516eccf0fbd69f764c"),
            "ptt5": Original(513_216, "0ec3a75089bb52342813496b17e51377bc9eba3cb519a444d67025354841d650"),
            "sum": Original(38_240, "ee5733cd76ecc2f9d8ff156adc3c02a7a851051dcf43a2d56ff4ee4ff606bdb3"),
            "xargs.1": Original(4_227, "c58aeb5d2d1e12751d47e7412b45784405fc30a5671b03d480fa05776e183619"),
        },
    ),
    "silesia": Corpus(
        "https://sun.aei.polsl.pl/~sdeor/corpus/silesia.zip",
        {
            "dickens": Original(10_192_446, "b24c37886142e11d0ee687db6ab06f936207aa7f2ea1fd1d9a36763c7a507e6a"),
            "mozilla": Original(51_220_480, "657fc3764b0c75ac9de9623125705831ebbfbe08fed248df73bc2dc66e2a963b"),
            "mr": Original(9_970_564, "68637ed52e3e4860174ed2dc0840ac77d5f1a60abbcb13770d5754e3774d53e6"),
            "nci": Original(33_553_445, "fc63a31770947b8c2062d3b19ca94c00485a232bb91b502021948fee983e1635"),
            "ooffice": Original(6_152_192, "e7ee013880d34dd5208283d0d3d91b07f442e067454276095ded14f322a656eb"),
            "osdb": Original(10_085_684, "60f027179302ca3ad87c58ac90b6be72ec23588aaa7a3b7fe8ecc0f11def3fa3"),
            "reymont": Original(6_627_202, "0eac0114a3dfe6e2ee1f345a0f79d653cb26c3bc9f0ed79238af4933422b7578"),
            "samba": Original(21_606_400, "93ba07bc44d8267789c1d911992f40b089ffa2140b4a160fac11ccae9a40e7b2"),
            "sao": Original(7_251_944, "c2d0ea2cc59d4c21b7fe43a71499342a00cbe530a1d5548770e91ecd6214adcc"),
            "webster": Original(41_458_703, "6a68f69b26daf09f9dd84f7470368553194a0b294fcfa80f1604efb11143a383"),
            "x-ray": Original(8_474_240, "7de9fce1405dc44ae5e6813ed21cd5751e761bd4265655a005d39b9685d1c9ad"),
            "xml": Original(5_345_280, "0e82e54e695c1938e4193448022543845b33020c8be6bf3bf3ead2224903e08c"),
        },
    ),
}


def cache_folder() -> Path:
    """Return the folder of downloaded corpora; raises DataError where there is no home."""
    folder = user_cache()
    if folder is None:
        raise DataError("There is no home folder to keep downloads in. Set XDG_CACHE_HOME to a folder.")
    return folder / "nncomp"


def find_corpus(name: str, cache: Path, folder: Path | None = None, open_url: OpenUrl | None = None) -> list[Path]:
    """Return the paths of the verified files of a corpus: from `folder` if given, else from `cache`, else downloaded.

    Raises DataError when a file is absent, is not the original, or cannot be downloaded.
    """
    corpus = CORPORA[name]
    if folder is not None:
        return _taken_from(folder, name, corpus)
    paths = {file: cache / name / file if len(corpus.files) > 1 else cache / file for file in corpus.files}
    if all(original.is_at(paths[file]) for file, original in corpus.files.items()):
        return list(paths.values())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as temporary:
            _fetch(name, corpus, Path(temporary), open_url or _open_url)
            for file, path in paths.items():
                path.parent.mkdir(exist_ok=True)
                (Path(temporary) / "files" / file).replace(path)
    except OSError as error:
        raise DataError(f"{name} cannot be kept in {cache}: {error.strerror or error}.") from error
    return list(paths.values())


def _taken_from(folder: Path, name: str, corpus: Corpus) -> list[Path]:
    """Return the files of a corpus in a folder, or in a folder inside it with the name of the corpus."""
    place = next((each for each in (folder / name, folder) if each.is_dir()), folder)
    for file, original in corpus.files.items():
        path = place / file
        if not path.is_file():
            raise DataError(f"{name} is not in {folder}: there is no file {path}. Without --corpus-dir it is downloaded.")
        if not original.is_at(path):
            raise DataError(f"{path} is not the original {file} of {name}: its SHA-256 is not {original.sha256}.")
    return [place / file for file in corpus.files]


def _open_url(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=_TIMEOUT_S)


def _fetch(name: str, corpus: Corpus, folder: Path, open_url: OpenUrl) -> None:
    """Download a corpus and unpack it to `folder`/files, each file verified."""
    archive = folder / "archive"
    try:
        with open_url(corpus.url) as response, archive.open("wb") as file:
            _copy(response, file, _PIECE_BYTES + sum(each.size_bytes for each in corpus.files.values()))
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason  # without the error number
        raise DataError(
            f"{name} is not in the cache and cannot be downloaded from {corpus.url} ({reason}). "
            "Where there is no network, give the path of a copy: nncomp bench PATH, or its folder with --corpus-dir."
        ) from error
    (folder / "files").mkdir()
    try:
        for found, stream in _members(archive, corpus.url):
            if original := corpus.files.get(found):
                with stream, (folder / "files" / found).open("wb") as file:
                    _copy(stream, file, original.size_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"The download from {corpus.url} is not a valid archive ({error}); try again later.") from error
    for found, original in corpus.files.items():
        if not original.is_at(folder / "files" / found):
            raise DataError(f"The download from {corpus.url} does not hold the original {found}; try again later.")


def _members(archive: Path, url: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the last part of the name of each file in an archive, and its bytes."""
    if url.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for each in packed.infolist():
                yield PurePosixPath(each.filename).name, packed.open(each)
    else:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if stream := tar.extractfile(member):
                    yield PurePosixPath(member.name).name, stream


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    """Copy at most `count` + 1 bytes, so that a source that is too long is noticed and does not fill the disk."""
    remaining = count + 1
    while remaining and (piece := source.read(min(_PIECE_BYTES, remaining))):
        target.write(piece)
        remaining -= len(piece)
