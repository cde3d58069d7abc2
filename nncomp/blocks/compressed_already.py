"""Whether a file or a block is compressed already, found out in milliseconds: by first bytes, and by the look of the bytes.

The first bytes alone prove nothing: a zip file may hold a text as it is. So samples of a file are looked at in every case.
A block, whose bytes are all there, is looked at in more places.
"""

from __future__ import annotations

import math
import zlib
from typing import BinaryIO

from nncomp.format.numbers import MAGIC

SAMPLE_BYTES = 1 << 13
_SAMPLES = 8
_LOOK_EVERY = 1 << 16  # bytes of a block from look to look
_LEAST_BYTES = 1 << 10  # of a file that is looked at: less is done at once
_KNOWN_SHARE, _UNKNOWN_SHARE = 0.97, 1.0  # of a sample that zlib leaves at least: of a known kind of file, of others
_KNOWN_BITS, _UNKNOWN_BITS = 7.3, 7.9  # entropy of the bytes of a sample at least, less what a sample of random bytes lacks

KINDS: tuple[tuple[int, bytes, str], ...] = (  # where the bytes stand, the bytes, the name
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"LZIP", "lzip"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"\x1f\x9d", "compress"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"7kSt", "zpaq"),
    (0, b"zPQ", "zpaq"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"wOF2", "woff2"),
    (0, MAGIC, "nncomp"),
)


def kind_by_first_bytes(first: bytes) -> str | None:
    """Return the kind of compressed file that begins with these bytes.

    >>> kind_by_first_bytes(bytes.fromhex("1f8b08")), kind_by_first_bytes(b"a text")
    ('gzip', None)
    """
    for offset, magic, name in KINDS:
        if first[offset : offset + len(magic)] == magic:
            return name
    return None


def looks_compressed(sample: bytes, is_known: bool = False) -> bool:
    """Return whether bytes look as a compressor leaves them: all as frequent, and zlib finds nothing in them.

    >>> import hashlib
    >>> random = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(256))
    >>> looks_compressed(random), looks_compressed(random.hex().encode()), looks_compressed(bytes(range(256)) * 32)
    (True, False, False)
    """
    import numpy as np  # a start does without until something is looked at

    count = len(sample)
    if not count:  # a file that shrank, or that has no size of its own
        return False
    counts = np.bincount(np.frombuffer(sample, np.uint8)).tolist()
    bits = -sum(n * math.log2(n / count) for n in counts if n) / count
    missing = 255 / (2 * count * math.log(2))  # what the entropy of so many random bytes is below 8 bits, on average
    least_bits, least_share = (_KNOWN_BITS, _KNOWN_SHARE) if is_known else (_UNKNOWN_BITS, _UNKNOWN_SHARE)
    return bits >= least_bits - missing and len(zlib.compress(sample, 1)) >= least_share * count


def looks_random(block: bytes) -> bool:
    """Return whether a block, or a part of one, looks compressed at its start, after each 64 KiB and at its end.

    >>> looks_random(bytes(1 << 20))
    False
    """
    last = max(0, len(block) - SAMPLE_BYTES)
    return all(looks_compressed(block[start : start + SAMPLE_BYTES]) for start in (*range(0, last, _LOOK_EVERY), last))


def compressed_kind(stream: BinaryIO, size: int) -> str | None:
    """Return what kind of compressed file this is, "random bytes" for one that only looks so, or None for any other file.

    The stream, of `size` bytes, can seek, and is at its start again afterwards.
    """
    if size < _LEAST_BYTES:
        return None
    kind = kind_by_first_bytes(stream.read(16))
    step = max(SAMPLE_BYTES, size // _SAMPLES)
    samples = []
    for start in range(0, min(size, step * _SAMPLES), step):
        stream.seek(start)
        samples.append(stream.read(SAMPLE_BYTES))
    stream.seek(0)
    full = [each for each in samples if len(each) >= min(size, SAMPLE_BYTES)] or samples[:1]
    looks = [looks_compressed(each, kind is not None) for each in full]
    is_found = sum(looks) >= len(looks) - (1 if kind and len(looks) > 3 else 0)  # a picture may begin with a text about it
    return (kind or "random bytes") if is_found else None
