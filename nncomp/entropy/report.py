"""An analysis as one JSON document, as a line for each token, and as bits per byte along the text.

Every figure is a multiple of 2**-16 bit, so figures read back from JSON add up with `==`. docs/ENTROPY.md describes the fields.
"""

# U units: tokens or bytes; B bins

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.entropy.estimate import Estimate
from nncomp.entropy.gap import Analysis
from nncomp.format.numbers import MODEL_IDS, BlockKind
from nncomp.network.registry import ModelFile

UNITS = {BlockKind.TOKENS: "token", BlockKind.BYTES: "byte"}
PART_SAYS = {  # what each part above the bound is
    "blocks": "each block begins anew",
    "kind": "the file's kind of block and model",
    "lanes": "the file's lanes and size of tables",
    "code_z": "the codes of blocks, a byte each, beyond what they save",
    "coder": "the range coder's rounding and last words",
    "container": "headers, checksums, index",
}
_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # categories of characters that do not show, or change how others show
_JOINERS = "\u200c\u200d"  # these are kept: they are part of words and emoji


def visible(text: str) -> str:
    """Return a text in which invisible characters are written as escapes, and so are bytes that are not UTF-8 (surrogates).

    >>> visible("a\\tb\\x1b[0m\\u202e\\udcff")
    'a\\tb\\\\x1b[0m\\\\u202e\\\\xff'
    """
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\t\n" or character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def model_name(model: ModelFile) -> str:
    """Return a model's name and the beginning of its hash."""
    name = next((name for name, model_id in MODEL_IDS.items() if model_id == model.model_id), "own")
    return f"{name} {model.hash8.hex()}"


def titled(name: str, analysis: Analysis) -> str:
    """Return the title of what shows an analysis: the name of the file, and whether its reference is known."""
    return visible(name) + (", with a reference" if analysis.reference else "")


def document(name: str, analysis: Analysis) -> dict[str, Any]:
    """Return the summary of an analysis as a JSON document; `name` is the file's."""
    per_byte = (lambda bits: bits / analysis.raw_bytes) if analysis.raw_bytes else (lambda bits: None)
    pieces, start = [], 0
    for each in analysis.estimates:
        raw_bytes = int(each.sizes.sum())
        model = model_name(each.model) if each.model else None
        pieces.append(
            {"offset": start, "raw_bytes": raw_bytes, "unit": UNITS[each.kind], "units": len(each.bits), "model": model}
            | {"bits": each.total_bits, "code_bits": each.code_bits, "primer_bytes": len(each.primer)}
        )
        start += raw_bytes
    return {
        "file": name,
        "raw_bytes": analysis.raw_bytes,
        "file_bytes": analysis.file_bytes,
        "reference": analysis.reference or None,
        "bits_per_byte": per_byte(8.0 * analysis.file_bytes),
        "bound_bits": analysis.bound_bits,
        "bound_bits_per_byte": per_byte(analysis.bound_bits),
        "bound_source": analysis.source,
        "parts_bits": analysis.parts,
        "code_z": code_of(analysis),
        "blocks": [asdict(block) | {"kind": block.kind.label} for block in analysis.blocks],
        "estimates": pieces,
        "whole_bits": analysis.whole.total_bits if analysis.whole else None,
    }


def code_of(analysis: Analysis) -> dict[str, float] | None:
    """Return how many blocks have a code, and the bits of all codes, a byte each; None if no block has one."""
    bits = [block.code_bits for block in analysis.blocks if block.code_bits]
    return {"blocks": len(bits), "bits": sum(bits)} if bits else None


def unit_lines(analysis: Analysis) -> Iterator[bytes]:
    """Yield a line of JSON for each unit of the estimates, in the order of the text."""
    at = 0
    for each in analysis.estimates:
        units = zip(each.ids.tolist(), each.sizes.tolist(), each.bits.tolist(), each.chain_bits.tolist(), strict=True)
        for number, size, bits, chain_bits in units:
            text = analysis.data[at : at + size].decode(errors="replace")
            line = {"offset": at, "bytes": size, "unit": UNITS[each.kind], "id": number, "text": text}
            line |= {"bits": bits, "chain_bits": chain_bits}
            yield json.dumps(line, separators=(",", ":")).encode() + b"\n"
            at += size


def bits_along(estimates: list[Estimate], bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of up to `bins` bins of the text in bytes, shape (B + 1,), and the bits per byte in each, shape (B,).

    The bits of a token are spread evenly over its bytes.
    """
    raw_bytes = sum(int(each.sizes.sum()) for each in estimates)
    if not raw_bytes:
        return np.zeros(1), np.zeros(0)
    ends = np.cumsum(np.concatenate([[0], *(each.sizes for each in estimates)]))
    bits = np.cumsum(np.concatenate([[0.0], *(each.bits for each in estimates)]))
    edges = np.linspace(0, raw_bytes, min(bins, raw_bytes) + 1)
    return edges, np.diff(np.interp(edges, ends, bits)) / np.diff(edges)


def tenths(parts_bits: dict[str, float]) -> dict[str, int]:
    """Return parts in tenths of a byte, rounded so that they add up to the rounded sum of all parts.

    >>> tenths({"a": 8.5, "b": 7.1, "c": 8.4})
    {'a': 11, 'b': 9, 'c': 10}
    """
    exact = {name: bits * 10 / 8 for name, bits in parts_bits.items()}
    found = {name: int(value) for name, value in exact.items()}
    missing = round(sum(exact.values())) - sum(found.values())
    for name in sorted(exact, key=lambda name: found[name] - exact[name])[:missing]:
        found[name] += 1
    return found
