"""The peers: other compressors that nncomp is compared with, if they are installed, each at its strongest usual setting.

A command is preferred, because its memory can be measured. Without a command, gzip, bzip2, xz, zstd and brotli are used as Python
modules. All use one thread. Knows how each is called; `nncomp.bench.measure` measures.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nncomp.bench.measure import Compressor, command_compressor, function_compressor

_XZ_PRESET = 9 | lzma.PRESET_EXTREME
_ANSWER_S = 10.0  # for the answer of --version

# The command, and its arguments from "$1" to "$2", to compress and to decompress.
FILTERS = {
    "gzip -9": ("gzip", '-9nc "$1" > "$2"', '-dc "$1" > "$2"'),
    "bzip2 -9": ("bzip2", '-9c "$1" > "$2"', '-dc "$1" > "$2"'),
    "xz -9e": ("xz", '-9e -T1 -c --format=xz "$1" > "$2"', '-dc --format=xz "$1" > "$2"'),
    "zstd -22": ("zstd", '-q --ultra -22 -o "$2" "$1"', '-q -d -o "$2" "$1"'),
    "brotli -q 11": ("brotli", '-q 11 --lgwin=24 -o "$2" "$1"', '-d -o "$2" "$1"'),
}
# The command {}, and two scripts in a folder with the raw file "raw": from "raw" to "made", and from "made" to "back".
ARCHIVERS = {
    "7z PPMd": (("7z", "7zz", "7za"), "{} a -bd -m0=PPMd:o16:mem256m made.7z raw && mv made.7z made", "{} e -bd -so made > back"),
    "zpaq -m5": (
        ("zpaq",),
        "{} a made.zpaq raw -method 5 -threads 1 && mv made.zpaq made",
        "mv made made.zpaq && {} x made.zpaq raw -to back -threads 1",
    ),
}
SLOW_ARCHIVERS = {  # a few KB/s or less
    "paq8px -8": (("paq8px",), "{} -8 raw made", "{} -d made back"),
    "cmix": (("cmix",), "{} -c raw made", "{} -d made back"),
}


def peers(with_slow: bool = False) -> list[Compressor]:
    """Return the installed compressors; the slowest, paq8px and cmix, only `with_slow`."""
    found = [peer for name in FILTERS if (peer := _filter(name) or _module_compressor(name))]
    archivers = ARCHIVERS | SLOW_ARCHIVERS if with_slow else ARCHIVERS
    for name, (commands, pack, unpack) in archivers.items():
        if command := _installed(commands):
            found.append(_archiver(name, pack.format(command), unpack.format(command)))
    return found


def versions() -> dict[str, str]:
    """Return the first line of each installed command's answer to --version, or to no arguments."""
    found = {command: _first_line([command, "--version"]) for command, *_ in FILTERS.values()}
    found |= {commands[0]: _first_line(_of(commands)) for commands, *_ in (ARCHIVERS | SLOW_ARCHIVERS).values()}
    return {name: line for name, line in found.items() if line}


def _of(commands: tuple[str, ...]) -> list[str]:
    return [_installed(commands) or commands[0]]


def _installed(commands: tuple[str, ...]) -> str | None:
    return next((command for command in commands if shutil.which(command)), None)


def _filter(name: str) -> Compressor | None:
    command, pack, unpack = FILTERS[name]
    if not (shutil.which(command) and shutil.which("sh")):
        return None

    def calling(script: str) -> Callable[[str, str], list[str]]:
        return lambda source, target: ["sh", "-c", f"exec {command} {script}", "sh", source, target]

    return command_compressor(name, calling(pack), calling(unpack))


def _module_compressor(name: str) -> Compressor | None:
    if name == "gzip -9":
        return function_compressor(name, lambda data: gzip.compress(data, 9, mtime=0), gzip.decompress)
    if name == "bzip2 -9":
        return function_compressor(name, lambda data: bz2.compress(data, 9), bz2.decompress)
    if name == "xz -9e":
        return function_compressor(name, lambda data: lzma.compress(data, preset=_XZ_PRESET), lzma.decompress)
    if name == "zstd -22" and (module := _module("zstandard")):
        return function_compressor(name, module.ZstdCompressor(level=22).compress, module.ZstdDecompressor().decompress)
    if name == "brotli -q 11" and (module := _module("brotli")):
        return function_compressor(name, lambda data: module.compress(data, quality=11, lgwin=24), module.decompress)
    return None


def _archiver(name: str, pack: str, unpack: str) -> Compressor:
    """Return a compressor that needs its file in a folder. The copy to that folder is part of its time."""

    def command(line: str, source: str, name_there: str, made: str, target: str) -> list[str]:
        folder = shlex.quote(str(Path(target).parent / "archive"))
        script = f"rm -rf {folder} && mkdir {folder} && cd {folder} && cp {shlex.quote(source)} {name_there} && {line}"
        return ["sh", "-c", f"{{ {script} && mv {made} {shlex.quote(target)}; }} >&2"]

    def packing(raw: str, packed: str) -> list[str]:
        return command(pack, raw, "raw", "made", packed)

    def unpacking(packed: str, back: str) -> list[str]:
        return command(unpack, packed, "made", "back", back)

    return command_compressor(name, packing, unpacking)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _first_line(command: list[str]) -> str | None:
    if not shutil.which(command[0]):
        return None
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = (result.stdout or result.stderr).decode(errors="replace").strip()
    return said.splitlines()[0].strip() if said else None
