"""Arrays of a safetensors file: what the library writes is read as the library reads it; other bytes are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from nncomp.network.tensors import read_tensors, written

ARRAYS = {
    "weights": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),
    "wide": np.array([1 << 40, -1]),
    "p1": np.array([[1, 65535]], np.uint16),
    "empty": np.zeros((0, 3), np.int32),
    "one": np.array(2.5, np.float32),
}


def test_as_the_library_reads() -> None:
    data = save(ARRAYS, metadata={"kind": "a test"})
    found, metadata = read_tensors(data)
    assert metadata == {"kind": "a test"}
    expected = load(data)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
        assert np.array_equal(array, expected[name])
        assert array.flags.c_contiguous and array.flags.aligned and not array.flags.writeable


@pytest.mark.parametrize("alignment", [8, 64])
def test_what_is_written_is_read_and_has_the_same_bytes_each_time(alignment: int) -> None:
    metadata = {name: name * 2 for name in "abcdefgh"}
    data = written(ARRAYS, metadata, alignment)
    assert all(written(ARRAYS, metadata, alignment) == data for _ in range(3))
    found, read = read_tensors(data)
    assert list(read) == list(metadata) and read == metadata and found.keys() == ARRAYS.keys() == load(data).keys()
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())
    assert (8 + int.from_bytes(data[:8], "little")) % alignment == 0


def test_nothing_is_copied() -> None:
    data = bytearray(save({"a": np.zeros(4, np.int64)}))
    array = read_tensors(data)[0]["a"]
    data[-8] = 7
    assert array.tolist() == [0, 0, 0, 7]


def file(head: Any, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def padded(head: dict[str, Any], size: int, body: bytes = b"") -> bytes:
    return file(json.dumps(head).encode().ljust(size), body)


def test_an_array_at_an_odd_place_is_refused() -> None:
    """Its bytes would be copied, and of a large table nobody has counted them twice. The place counts, not that of the bytes in
    memory."""
    head = {"a": entry("U8", [1], [0, 1]), "b": entry("I64", [1], [1, 9])}
    for size in range(200, 208):
        data = padded(head, size, bytes(1) + (5).to_bytes(8, "little"))
        if (8 + size + 1) % 8:  # where b begins
            with pytest.raises(ValueError, match="'b' does not begin at a multiple of"):
                read_tensors(data)
        else:
            for odd in range(8):
                array = read_tensors(memoryview(bytes(odd) + data)[odd:])[0]["b"]
                assert array.tolist() == [5] and array.flags.aligned


def test_a_head_has_a_bound() -> None:
    """What JSON takes in memory is many times what it takes in a file."""
    assert read_tensors(padded({"__metadata__": {"a": "b"}}, 1 << 20))[1] == {"a": "b"}
    with pytest.raises(ValueError, match="its head has 1,048,577 bytes, and may have 1,048,576"):
        read_tensors(padded({"__metadata__": {"a": "b"}}, (1 << 20) + 1))
    with pytest.raises(ValueError, match="its record is too long"):
        written(ARRAYS, {"record": "x" * (1 << 20)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        bytes(8),
        (1 << 63).to_bytes(8, "little") + b"{}",
        file(b"{"),
        file(b"\xff{}"),
        file([]),
        file({"__metadata__": {"a": 1}}),
        file({"__metadata__": []}),
        file({"a": []}),
        file({"a": {}}),
        file({"a": entry("U9")}, bytes(4)),
        file({"a": entry(["U8"])}, bytes(4)),
        file({"a": entry(shape=[5])}, bytes(4)),
        file({"a": entry(shape=[-4])}, bytes(4)),
        file({"a": entry(shape=[-2, -2])}, bytes(4)),
        file({"a": entry(shape="4")}, bytes(4)),
        file({"a": entry(shape=[True] * 4)}, bytes(4)),
        file({"a": entry(shape=[4.0])}, bytes(4)),
        file({"a": entry(offsets=[1, 5])}, bytes(5)),
        file({"a": entry(offsets=[4, 0])}, bytes(4)),
        file({"a": entry(offsets=[0])}, bytes(4)),
        file({"a": entry(offsets=[0, "4"])}, bytes(4)),
        file({"a": entry(), "b": entry()}, bytes(8)),
        file({"a": entry()}, bytes(3)),
        file({"a": entry()}, bytes(5)),
        file({"a": entry(shape=[1 << 39, 1 << 39], offsets=[0, 1 << 78])}, bytes(4)),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):  # with a sentence, which a ModelError takes over
        read_tensors(data)
