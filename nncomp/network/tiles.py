"""Exact int8 products in tiles: the sums of a few rows by a few vectors of outputs stay in registers while all inputs go by.

A *dot* adds four products of bytes to each 32-bit sum of a vector. Which one there is depends on the processor. Those of x86 want
one operand unsigned, so the weight is packed as w + 128, and every sum starts at -128 times the sum of its activations.
|sum| <= 4096 * 127 * 255 < 2**31.

- AVX-512 VNNI and AVX-VNNI: one instruction, vpdpbusd, of 16 or 8 sums.
- NEON with dot products (ARM from 2018 on): one instruction, sdot, of 4 sums; both operands are signed, and sums start at 0.
- AVX2: vpmaddubsw adds pairs of products to 16 bits. Two of them are added there, then vpmaddwd adds the pairs of the sums, and
  vpaddd adds those to 8 sums: five instructions for two dots. 16 bits hold four products if the sizes of their activations are at
  most 128 together, for 128 * 255 < 2**15. Where they are more, which next to no group of eight activations is, each activation
  is cut into two halves, and all is done one by one.

So nothing saturates. NumKong's kernels reach half of the rate of either (docs/log/network.md). Knows nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine import processor
from nncomp.machine.kernels import compiled, inlined, intrinsic

FOUR = 4  # inputs that a dot takes


class Dot(NamedTuple):
    """A kind of dot, and the tile made of it: 16 or 32 registers hold its sums, weights and activations."""

    feature: str  # of the processor, in LLVM's names
    words: int  # sums of a vector
    rows: int  # of a tile, at most
    inputs: int  # of a step of a tile; K must be a multiple
    instruction: str = ""  # LLVM's function of it; empty for AVX2, where there is none
    offset: int = 128  # is added to each weight


DOTS = (
    Dot("avx512vnni", 16, 4, 4, "llvm.x86.avx512.vpdpbusd.512"),
    Dot("avxvnni", 8, 2, 4, "llvm.x86.avx512.vpdpbusd.256"),
    Dot("avx2", 8, 2, 8),
    Dot("dotprod", 4, 4, 4, "llvm.aarch64.neon.sdot.v4i32.v16i8", 0),
)
VECTORS = 4  # of a tile


DOT = next((dot for dot in DOTS if f"+{dot.feature}" in processor.features()), None)
_HERE = DOT or DOTS[0]  # numbers for the compiled function, which is not called where there is no dot
OUTPUTS = VECTORS * _HERE.words  # of a tile; N must be a multiple
_INPUTS, _MOST_ROWS, _OFFSET, _IN_PAIRS = _HERE.inputs, _HERE.rows, _HERE.offset, not _HERE.instruction
_INTRINSICS = "nncomp.network.tiles_intrinsics"


@intrinsic(_INTRINSICS)
def _four(words: Any) -> None:
    """Set 4 x OUTPUTS sums; `words` are as `tiles_intrinsics.generate_tile` says."""
    raise NotImplementedError  # where nothing is compiled, products.LOOP is the product


@intrinsic(_INTRINSICS)
def _two(words: Any) -> None:
    """Set 2 x OUTPUTS sums."""
    raise NotImplementedError


@intrinsic(_INTRINSICS)
def _one(words: Any) -> None:
    """Set OUTPUTS sums."""
    raise NotImplementedError


@inlined
def _is_large(word: Any) -> Any:
    """Return 0 if four activations in the same 16 bits, bytes 0, 1, 4, 5 or 2, 3, 6, 7 of a word, are 128 or less together.

    A negative byte is turned into its size less one, so 124 is asked of the sums.
    """
    one, low = np.uint64(0x0101010101010101), np.uint64(0x00FF00FF00FF00FF)
    signs = (word >> np.uint64(7)) & one
    sizes = word ^ ((signs << np.uint64(8)) - signs)
    twos = (sizes & low) + ((sizes >> np.uint64(8)) & low)
    return ((twos + (twos >> np.uint64(32)) & np.uint64(0xFFFFFFFF)) + np.uint64(0x7F837F83)) & np.uint64(0x80008000)


@compiled
def multiply(packed: Any, n: int, a_LK: Any, room: Any, out_LN: Any) -> None:
    """Set out (int32) to a (int8) times the transposed weight at `packed`; `room` is scratch, see `room_words`."""
    rows, k = a_LK.shape
    steps = k // _INPUTS
    large = room[rows:].view(np.uint8)
    for i in range(rows):
        total = np.int32(0)
        for j in range(k if _OFFSET else 0):
            total += a_LK[i, j]
        room[i] = -_OFFSET * total
        if _IN_PAIRS:
            words = a_LK[i].view(np.uint64)
            flags = large[(i >> 1) * steps : ((i >> 1) + 1) * steps]  # of a tile, two rows
            for j in range(steps):
                flag = np.uint8(_is_large(words[j]) != 0)
                flags[j] = flag if i & 1 == 0 else flags[j] | flag
    a, out, start = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data), np.uint64(room.ctypes.data)
    width, count, out_distance = np.uint64(k), np.uint64(steps), np.uint64(n * 4)
    for j in range(0, n, OUTPUTS):
        weight = np.uint64(packed) + np.uint64(j) * width
        i = 0
        while i < rows:
            a_row, out_row = a + np.uint64(i) * width, out + np.uint64(i) * out_distance + np.uint64(4 * j)
            first, flags_at = start + np.uint64(4 * i), np.uint64(large.ctypes.data) + np.uint64((i >> 1) * steps)
            if _MOST_ROWS >= 4 and i + 4 <= rows:
                _four((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 4
            elif i + 2 <= rows:
                _two((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 2
            else:
                _one((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 1


def available() -> bool:
    """Return whether Numba compiles for a processor with a dot."""
    return DOT is not None


def fits(n: int, k: int) -> bool:
    """Return whether a weight of N x K can be packed."""
    return n % OUTPUTS == 0 and k % _INPUTS == 0


def pack(weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return the address of the packed weight, 64-byte aligned, and the buffer that must outlive it.

    A vector has four inputs of each of its outputs; a step of a tile has its vectors one after another. So the weight is read
    from one place after another: 5 % faster with few lanes than from four places at a time.
    """
    n, k = weight_NK.shape
    fours = np.ascontiguousarray(weight_NK).view(np.uint32).reshape(n // OUTPUTS, OUTPUTS, k // FOUR)
    buffer = np.empty(n * k + 64, np.uint8)
    address = buffer.ctypes.data
    start = -address % 64
    vectors = buffer[start : start + n * k].view(np.uint32).reshape(n // OUTPUTS, k // FOUR, OUTPUTS)
    # A byte plus 128 is the byte with its top bit turned.
    np.bitwise_xor(fours.transpose(0, 2, 1), np.uint32(0x01010101 * _OFFSET), out=vectors)
    return address + start, buffer


def room_words(rows: int, k: int) -> int:
    """Return how many int32 of scratch a product of so many rows and inputs needs: a sum a row, a flag a tile and step."""
    return rows + -(-((rows + 1) // 2 * (k // _INPUTS)) // 4)
