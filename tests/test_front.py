"""The front beside other compressors: all that are on the PATH in one run, only what comes back, with size, speed and memory."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from benchmarks import front
from nncomp.bench import measure
from nncomp.bench.peers import FILTERS, peers, versions
from nncomp.blocks import levels
from nncomp.errors import NncompError

pytestmark = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="the other commands are called by a POSIX shell")

FAKES = {  # as small as the real ones' command lines allow: all of them are gzip
    "zpaq": 'case $1 in a) gzip -c < "$3" > "$2";; x) gzip -dc < "$2" > "$5";; *) echo "zpaq 0, a fake";; esac',
    "7z": 'case $1 in a) gzip -c < "$5" > "$4";; e) gzip -dc < "$4";; *) echo; echo "7z 0, a fake";; esac',
    "paq8px": 'case $1 in -8) gzip -c < "$2" > "$3";; -d) gzip -dc < "$2" > "$3";; *) echo "paq8px 0" >&2;; esac',
    "cmix": 'case $1 in -c) gzip -c < "$2" > "$3";; -d) gzip -dc < "$2" > "$3";; esac',
}
OWN_TEXT = b"A text that is measured, and once more: a text that is measured.\n" * 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two texts and, first on the PATH, peers that are no more than they seem; nncomp is quick here."""
    (tmp_path / "bin").mkdir()
    for name, script in FAKES.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a").write_bytes(OWN_TEXT)
    (tmp_path / "texts" / "b").write_bytes(OWN_TEXT[::-1])

    def ours(model: str | None, model_bytes: int, workers: int, level: int) -> measure.Compressor:
        return measure.function_compressor(f"nncomp -{level}", zlib.compress, zlib.decompress)

    monkeypatch.setattr(measure, "nncomp_compressor", ours)
    return tmp_path


def test_one_run_of_all_that_is_installed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    given = [str(folder / "texts"), "--levels", "1", "5", "--json", str(folder / "out.json"), "--plot", str(folder / "out.svg")]
    front.main(given)
    document = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    names = [each["compressor"] for each in document["total"]]
    expected = {"nncomp -1", "nncomp -5", "gzip -9", "bzip2 -9", "xz -9e", "7z PPMd", "zpaq -m5", "paq8px -8", "cmix"}
    assert expected <= set(names)
    assert [each["file"] for each in document["files"]] == ["a", "b"]
    for results in [*(each["results"] for each in document["files"]), document["total"]]:
        assert [each["compressor"] for each in results] == names
        for each in results:
            assert 0 < each["packed_bytes"] < each["raw_bytes"] and each["compress_s"] > 0 < each["decompress_s"]
            is_command = each["compressor"] in {"7z PPMd", "zpaq -m5", "paq8px -8", "cmix"}
            assert not is_command or each["peak_bytes"] > 100_000
    assert document["peers"].items() >= {"zpaq": "zpaq 0, a fake", "7z": "7z 0, a fake", "paq8px": "paq8px 0"}.items()
    printed = capsys.readouterr().out
    assert "| file | bytes | nncomp -1 | nncomp -5 |" in printed
    assert "| compressor | bytes | bpb | to zpaq | KB/s in | KB/s out | MB |" in printed
    assert b"<svg" in (folder / "out.svg").read_bytes()


def test_a_peer_that_does_not_bring_a_file_back_ends_the_run(folder: Path) -> None:
    (folder / "bin" / "zpaq").write_text(f"#!/bin/sh\n{FAKES['zpaq'].replace('gzip -dc', 'head -c 9')}\n")
    with pytest.raises(NncompError, match=r"zpaq -m5 did not bring .* back byte for byte"):
        front.main([str(folder / "texts"), "--levels", "1", "--json", str(folder / "out.json")])
    assert not (folder / "out.json").exists()


def test_peers_are_those_on_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [each.name for each in peers()]
    assert {"7z PPMd", "zpaq -m5"} <= set(names) and not {"paq8px -8", "cmix"} & set(names)
    monkeypatch.setenv("PATH", str(folder / "nothing"))
    found = peers(with_slow=True)
    assert {each.name for each in found} <= set(FILTERS) and len(found) >= 3
    results = measure.measure_file(folder / "texts" / "a", found)
    assert all(0 < each.packed_bytes < len(OWN_TEXT) and each.peak_bytes is None for each in results)
    assert versions() == {}


def test_all_levels_that_differ_are_measured() -> None:
    numbers = front.all_levels()
    assert [levels.LEVELS[n] for n in numbers] == list(dict.fromkeys(levels.LEVELS.values()))
