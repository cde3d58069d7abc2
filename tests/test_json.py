"""Names and numbers that docs/JSON.md, docs/ENTROPY.md and docs/FAQ.md list: the same as in the code, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nncomp.cli.cluster_report import State
from nncomp.format.numbers import BLOCK_BYTES, MODEL_IDS, SPLIT_BYTES, BlockKind
from tests.blocks import stored
from tests.conftest import ROOT, Run


def tables(page: str, heading: str) -> list[list[str]]:
    """Return the keys of each table below a heading of a page, as its first column names them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: list[list[str]] = []
    for table in re.findall(r"\|---\|---\|\n((?:\|.*\n)+)", text):
        found.append([key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])])
    return found


def words(page: str, key: str) -> list[str]:
    """Return the names that a page gives as the meaning of a key, where its first row has names; those in brackets too."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(rf"^\| `{key}` \|(.*)\|$", text, re.MULTILINE)
    return next(found for row in rows if (found := re.findall(r"`([^`]+)`", row)))


def test_kinds_models_and_states() -> None:
    kinds = [kind.name.lower() for kind in BlockKind]
    assert words("JSON.md", "blocks") == kinds
    assert tables("FAQ.md", "What if the model does not know my kind of text?") == [kinds]
    assert words("JSON.md", "models") == [*MODEL_IDS, "own"]
    assert [word for word in words("JSON.md", "state") if word in set(State)] == list(State)


def test_sizes_in_the_questions() -> None:
    text = " ".join((ROOT / "docs" / "FAQ.md").read_text(encoding="utf-8").split())
    assert f"Blocks have {BLOCK_BYTES >> 20} MiB, the last block of a file up to {SPLIT_BYTES // 2**20} MiB." in text
    models_bytes = sum(path.stat().st_size for path in (ROOT / "models").glob("*.safetensors"))
    assert f"The models that come with nncomp have {models_bytes / 1e6:.0f} MB together." in text


def test_exit_statuses(run: Run, tmp_path: Path) -> None:
    (statuses,) = tables("FAQ.md", "What does the exit status say?")
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    found = [run(*arguments).returncode for arguments in (["list", "a.nnc"], ["list", "missing"], ["list", "--odd"])]
    assert [int(status) for status in statuses] == found


def test_list(run: Run, tmp_path: Path) -> None:
    (keys,) = tables("JSON.md", "nncomp list --json")
    (tmp_path / "a.nnc").write_bytes(stored(b"text") + stored(b"more"))
    (tmp_path / "empty.nnc").write_bytes(stored(b""))
    document = json.loads(run("list", "--json", "a.nnc", "empty.nnc").stdout)
    assert list(document) == ["files"]
    assert [list(row) for row in document["files"]] == [keys, keys]
    assert document["files"][0]["frames"] == 2
    assert document["files"][1]["bits_per_byte"] is None


def test_test(run: Run, tmp_path: Path) -> None:
    (keys,) = tables("JSON.md", "nncomp test --json")
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    (tmp_path / "cut.nnc").write_bytes(stored(b"text")[:-1])
    result = run("test", "--json", "a.nnc", "cut.nnc", "missing")
    assert result.returncode == 1
    rows = json.loads(result.stdout)["files"]
    assert [list(row) for row in rows] == [keys] * 3
    assert rows[0] == {"file": "a.nnc", "is_whole": True, "raw_bytes": 4, "blocks": {"stored": 1}, "error": None}
    assert [row["is_whole"] for row in rows] == [True, False, False]
    assert [row["raw_bytes"] for row in rows] == [4, None, None]
    said = [f"nncomp: {row['file']}: {row['error']}" for row in rows[1:]]
    assert result.stderr.decode().splitlines() == said


@pytest.mark.parametrize("arguments", [["--no-others", "--bound"], []])
def test_bench(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    of_document, of_file, of_result = tables("JSON.md", "nncomp bench --json")
    (tmp_path / "text").write_bytes(b"some words, and some words again\n" * 9)
    document = json.loads(run("bench", "--json", "--model", "none", *arguments, "text").stdout)
    assert list(document) == of_document
    assert list(document["machine"]) == words("JSON.md", "machine")
    assert [list(row) for row in document["files"]] == [of_file]
    for row in document["files"][0]["results"] + document["total"]:
        assert list(row) == of_result
    assert {row["raw_bytes"] for row in document["total"]} == {(tmp_path / "text").stat().st_size}
    assert "nncomp -5" in {row["compressor"] for row in document["total"]}
    sizes = [row["packed_bytes"] for row in document["total"]]
    assert sizes == sorted(sizes)
    assert (document["bound_bits"] is None) == ("--bound" not in arguments)


def test_entropy(run: Run, tmp_path: Path) -> None:
    (keys,) = tables("ENTROPY.md", "--json")
    nested = {"bound", "blocks", "kind", "lanes", "coder", "code_z", "container"}
    (tmp_path / "text").write_bytes(b"some words, and some words again\n" * 9)
    document = json.loads(run("entropy", "--json", "--model", "none", "text").stdout)
    assert list(document) == keys
    assert set(document["parts_bits"]) == nested
