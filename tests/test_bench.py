"""The bench: nothing is reported that did not come back, and enwik8 is the original or a clear sentence."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from nncomp import bench, bench_data
from nncomp.bench import Result
from nncomp.bench_data import find_enwik8
from nncomp.errors import DataError, NncompError
from nncomp.exact.weights import TRAINED_ON, save_model
from nncomp.training.data import Document, short_digests
from tests.conftest import Run
from tests.models import small_model


def test_figures() -> None:
    result = Result("x", 1000, 250, 125, 0.5, 0.25, None)
    assert (result.ratio, result.bits_per_byte, result.bits_per_byte_with_model) == (4.0, 2.0, 3.0)
    assert (result.compress_kb_per_s, result.decompress_kb_per_s) == (2.0, 4.0)


def test_a_total_adds_bytes_and_seconds_and_counts_the_model_once() -> None:
    both = bench.total([Result("x", 1000, 100, 50, 1.0, 2.0, 7), Result("x", 3000, 900, 50, 3.0, 4.0, 5)])
    assert both == Result("x", 4000, 1000, 50, 4.0, 6.0, 7)


def test_the_others_bring_a_file_back(tmp_path: Path, english: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(english)
    for result in bench.measure_file(path, bench.other_compressors()):
        assert 0 < result.packed_bytes < len(english)
        assert result.raw_bytes == len(english)


def test_what_does_not_come_back_is_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"text")
    with pytest.raises(NncompError, match="byte for byte"):
        bench.measure_file(path, [bench._function("forgetful", lambda data: data[:-1], lambda data: data)])
    with pytest.raises(NncompError, match="exit code 1"):
        bench.measure_file(path, [bench._command("false", lambda a, b: ["false"], lambda b, c: ["false"])])
    copy_other = bench._command("other", lambda a, b: ["cp", a, b], lambda b, c: ["cp", "/dev/null", c])
    with pytest.raises(NncompError, match="byte for byte"):
        bench.measure_file(path, [copy_other])
    with pytest.raises(NncompError, match="cannot be started"):
        bench.measure_file(path, [bench._command("absent", lambda a, b: ["/no/such/command"], lambda b, c: [])])


def test_a_command_s_memory_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"text")
    ballast = bytearray(b"x") * 300_000_000  # what this process has is not counted to the command
    (result,) = bench.measure_file(path, [bench._command("cp", lambda a, b: ["cp", a, b], lambda b, c: ["cp", b, c])])
    assert result.peak_bytes is not None
    assert 100_000 < result.peak_bytes < 100_000_000 < len(ballast)


def test_what_is_done_once_on_a_machine_counts_for_no_file() -> None:
    seen: list[bytes] = []

    def measure(path: Path, folder: Path) -> bench.Result:
        seen.append(path.read_bytes())
        return bench.Result("x", 1, 1, 0, 1.0, 1.0, None)

    bench.warm_up(bench.Compressor("x", measure))
    assert len(seen) == 1 and seen[0]


def test_folders_are_expanded_and_missing_paths_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "sub/c"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in bench.expand([tmp_path])] == ["a", "b", "c"]
    with pytest.raises(DataError, match="no file or folder"):
        list(bench.expand([tmp_path / "missing"]))


def test_the_command_prints_a_table_and_json(run: Run, tmp_path: Path, english: bytes) -> None:
    (tmp_path / "text").write_bytes(english)
    table = run("bench", "text")
    assert table.returncode == 0, table.stderr
    lines = table.stdout.decode().splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    assert lines[0] == "text: 20,000 bytes"
    for name in ("nncomp", "gzip -9", "bzip2 -9", "xz -9e"):
        assert any(line.startswith(name) for line in lines)
    document = json.loads(run("bench", "--json", "--no-others", "text").stdout)
    assert document["files"][0]["results"][0]["compressor"] == "nncomp"
    assert document["total"][0]["raw_bytes"] == len(english)
    assert {"nncomp", "command", "machine", "python", "libraries"} <= document.keys()


def test_a_file_that_was_trained_on_is_marked(run: Run, tmp_path: Path) -> None:
    model = small_model()
    (tmp_path / "seen").write_bytes(b"a document of the training\n" * 20)
    (tmp_path / "other").write_bytes(b"a document of somebody else\n" * 20)
    digests = short_digests([Document("seen", (tmp_path / "seen").read_bytes()), Document("more", b"text")])
    save_model(replace(model, extra={**model.extra, TRAINED_ON: digests}), tmp_path / "own.safetensors")
    table = run("bench", "--no-others", "--model", "own.safetensors", "seen", "other")
    assert table.returncode == 0, table.stderr
    assert b"seen (the model was trained on it): 540 bytes" in table.stdout
    assert b"other: 560 bytes" in table.stdout
    document = json.loads(run("bench", "--json", "--no-others", "--model", "own.safetensors", "seen", "other").stdout)
    assert [each["trained_on"] for each in document["files"]] == [True, False]


def test_a_bench_of_nothing_is_exit_1(run: Run) -> None:
    result = run("bench", "missing")
    assert result.returncode == 1
    assert b"There is no file or folder missing" in result.stderr


# enwik8, without the network


def no_network(url: str) -> IO[bytes]:
    raise OSError(f"no route to {url}")


def test_without_a_network_there_is_a_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded .* give the path of a copy"):
        find_enwik8(tmp_path / "cache", no_network)
    assert list((tmp_path / "cache").iterdir()) == []


def zipped(content: bytes, name: str = "enwik8") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return sink.getvalue()


def test_a_download_is_verified_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_data, "SIZE_BYTES", 5)
    monkeypatch.setattr(bench_data, "MD5", "5d41402abc4b2a76b9719d911017c592")
    path = find_enwik8(tmp_path, lambda url: io.BytesIO(zipped(b"hello")))
    assert path.read_bytes() == b"hello"
    assert find_enwik8(tmp_path, no_network) == path
    path.write_bytes(b"hallo")  # a cache that went bad is fetched again
    assert find_enwik8(tmp_path, lambda url: io.BytesIO(zipped(b"hello"))).read_bytes() == b"hello"


@pytest.mark.parametrize("given", [zipped(b"not the original"), zipped(b"x", "other"), b"not a zip"])
def test_what_is_not_enwik8_is_refused(tmp_path: Path, given: bytes) -> None:
    with pytest.raises(DataError, match="try again later"):
        find_enwik8(tmp_path, lambda url: io.BytesIO(given))
    assert list(tmp_path.iterdir()) == []
