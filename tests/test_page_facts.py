"""Where a page states a number, a table or a list of names, it is that of the source; the Python of the pages runs."""

from __future__ import annotations

import ast
import doctest
import hashlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

import nncomp
from benchmarks import codes, many_files, references
from benchmarks.tables import read, results
from checks import house
from nncomp import errors
from nncomp.bench.peers import ARCHIVERS, FILTERS
from nncomp.blocks.levels import LEVELS, STANDARD, lines_log2
from nncomp.blocks.memory import DEFAULT_BYTES
from nncomp.format.numbers import BLOCK_BYTES, LINE_BYTES, MODEL_IDS, OWN_MODEL, SPLIT_BYTES
from nncomp.network.registry import open_model, shipped_path
from tests.conftest import ROOT, environment
from tests.golden.manifest import bad_rows, good_rows
from tests.test_pages import PAGES, TEXT, TOP

OWN = *TOP, "docs/BENCHMARKS.md", "docs/RELIABILITY.md", "docs/PYTHON.md"
SHIPPED = [name for name in ("default", "fast") if shipped_path(name).exists()]


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table whose line of headings begins so."""
    below = PAGES[page].split(f"\n{heading}")[1].splitlines()[2:]
    rows = takewhile(lambda line: line.startswith("|"), below)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_house_is_as_it_is_drawn() -> None:
    drawn = [(int(floor), re.findall(r"`(\w+)`", room)[0]) for floor, room, *_ in table("CONTRIBUTING.md", "| floor | room |")]
    built = [(floor, room) for floor, rooms in enumerate(house.FLOORS, 1) for room in rooms]
    assert sorted(drawn) == sorted(built)
    assert drawn == sorted(drawn, key=lambda each: -each[0]), "the highest floor stands first"
    assert f"more than {house.MOST_LINES} lines" in PAGES["CONTRIBUTING.md"]
    most = f"at most {house.MOST_PARAMETERS} parameters (compiled ones {house.MOST_KERNEL_PARAMETERS})"
    assert most in PAGES["CONTRIBUTING.md"]


NAMED = re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGES["CONTRIBUTING.md"])


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_a_byte_passes_is_there(path: str, name: str) -> None:
    names = set()
    for node in ast.walk(ast.parse((ROOT / "nncomp" / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    assert name in names


def test_the_way_of_a_byte_is_found() -> None:
    assert len(NAMED) >= 15


@pytest.mark.parametrize("page", OWN)
def test_files_that_a_page_names_are_there(page: str) -> None:
    inside = re.findall(r"`((?:nncomp|tests|checks|benchmarks|docs|models|share)/[\w./-]+)`", PAGES[page])
    bare = re.findall(r"(?<![\w/.(\[`])((?:tests|docs|benchmarks)/[\w./-]+\.(?:py|md|json))", PAGES[page])
    for path in {*inside, *bare} - {"models/NAME.safetensors"}:
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_names_in_the_ways_of_changes_are_there() -> None:
    """After a module, brackets name what is in it."""
    for path, given in re.findall(r"`(\w[\w/.]+\.py)` \(([^)]*`[^)]*)\)", PAGES["CONTRIBUTING.md"]):
        source = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`([A-Za-z_.-]+)`", given):
            assert re.search(rf"\b{name.split('.')[-1]}\b", source), f"{path} has no {name}"


# README


def test_levels() -> None:
    rows = table("README.md", "| level | model |")
    told = {int(row[0][1]): row for row in rows}
    assert set(told) == set(LEVELS)
    for number, level in LEVELS.items():
        how = "both are tried" if level.effort.is_thorough else "a sample decides"
        table_mib = (LINE_BYTES << lines_log2(BLOCK_BYTES, level.effort.max_lines_log2)) >> 20
        window_mib = 1 << level.effort.window_log2 - 20
        window = f"{window_mib} MiB" if window_mib < 1024 else f"{window_mib >> 10} GiB"
        assert told[number][1:] == [level.model, str(level.effort.max_lanes), f"{table_mib} MiB", window, how]
    assert told[STANDARD][0] == f"-{STANDARD}, the usual one"


def test_commands() -> None:
    from nncomp.cli.app import app

    rows = table("README.md", "| command | what it does |")
    assert {re.findall(r"`nncomp (\w+)", row[0])[0] for row in rows} == set(app.functions)
    (measured,) = (row[1] for row in rows if row[0].startswith("`nncomp bench"))
    for name in (*FILTERS, *ARCHIVERS):
        assert name.removesuffix(" PPMd").split()[0] in measured


def test_sizes_of_blocks() -> None:
    assert f"{BLOCK_BYTES / 2**20:g} MiB, and up to {SPLIT_BYTES / 2**20:g} MiB" in PAGES["README.md"]
    assert f"blocks of {BLOCK_BYTES / 2**20:g} MiB, the last one up to {SPLIT_BYTES / 2**20:g} MiB" in PAGES["CONTRIBUTING.md"]
    picture = (ROOT / "docs" / "how.svg").read_text(encoding="utf-8")
    assert f"Blocks of {BLOCK_BYTES / 2**20:g} to {SPLIT_BYTES / 2**20:g} MiB" in picture
    assert f"({BLOCK_BYTES / 2**20:g} MiB, up to {SPLIT_BYTES / 2**20:g} MiB at the end)" in PAGES["docs/PYTHON.md"]


def test_the_limit_on_memory() -> None:
    limit = f"{DEFAULT_BYTES / 1e9:g} GB"
    assert f"without it the bound is {limit} for each core" in PAGES["README.md"]
    assert f"a block needs more than {limit} of memory" in PAGES["docs/PYTHON.md"]


def test_figures_beside_paq8px() -> None:
    """nncomp's are those of the results of that day, paq8px's where results are kept."""
    rows = {row[0]: row[1:] for row in table("docs/BENCHMARKS.md", "| file | nncomp -1 | nncomp -5 | nncomp -9 | paq8px")}
    front = results(read("benchmarks/results/2026-12-01-front-2.json"))
    paq8px = results(read("benchmarks/results/2026-11-26-paq8px.json"))
    for file, told in rows.items():
        assert told[:3] == [f"{front[file][f'nncomp -{level}'].packed_bytes:,}" for level in (1, 5, 9)]
    assert rows["alice29.txt"][3] == f"{paq8px['alice29.txt']['paq8px -8'].packed_bytes:,}"
    theirs = sum(int(told[3].replace(",", "")) for told in rows.values())
    for column, level in ((0, 1), (1, 5), (2, 9)):
        ours = sum(int(told[column].replace(",", "")) for told in rows.values())
        assert (
            f"{1 - ours / theirs:.1%}".replace("%", " %") + (f" below paq8px with -{level}" if level == 1 else f" with -{level}")
            in (PAGES["docs/BENCHMARKS.md"])
        )


def test_figures_beside_those_that_others_publish() -> None:
    """nncomp's are those of the results; sums and differences follow."""
    rows = {row[0]: row[1:] for row in table("docs/BENCHMARKS.md", "| file | nncomp -9 | paq8px -12LT")}
    front = results(read("benchmarks/results/2026-12-01-front-2.json"))
    columns = [[int(told[i].replace(",", "")) for file, told in rows.items() if file != "together"] for i in range(4)]
    assert columns[0] == [front[file]["nncomp -9"].packed_bytes for file in rows if file != "together"]
    ours, *theirs = map(sum, columns)
    assert rows["together"] == [f"{total:,}" for total in (ours, *theirs)]
    shares = [f"{ours / total - 1:+.1%}".replace("%", " %") for total in theirs]
    said = f"{shares[0]} against -12LT, {shares[1]} against -12RT and {shares[2]} against cmix"
    assert said in PAGES["docs/BENCHMARKS.md"]


def test_figures_of_codes() -> None:
    """The table of the paper's page is that of the results."""
    rows = list(codes.table_rows(read("benchmarks/results/2026-12-01-codes.json")["models"]))
    assert len(rows) == len(codes.COUNTS) and all(row in PAGES["docs/PAPER.md"].splitlines() for row in rows)


def test_figures_of_many_files() -> None:
    rows = read("benchmarks/results/2026-12-01-many-files.json")["rows"]
    assert [row["level"] for row in rows] == [1, 5]
    assert all(many_files.table_row(row) in PAGES["docs/BENCHMARKS.md"].splitlines() for row in rows)


def test_figures_of_references() -> None:
    kinds = read("benchmarks/results/2026-11-30-references.json")["rows"]
    versions = read("benchmarks/results/2026-11-30-references-versions.json")["rows"]
    table_of = PAGES["docs/BENCHMARKS.md"].split("## With a reference")[1].split("\n## ")[0]
    rows = [line for line in table_of.splitlines() if re.match(r"\| \d|\| new", line)]
    assert [row[row.index("|", 1) + 1 :] for row in rows] == [
        references.cells(each) for each in (*([row] for row in kinds), versions)
    ]


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 130


# Python


def test_python_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    if not shipped_path("default").exists():
        pytest.skip("no shipped model")
    pytest.importorskip("torch")
    from nncomp.network.model import save_model
    from tests.models import TEXT as SMALL_TEXT
    from tests.models import small_model

    monkeypatch.chdir(tmp_path)
    save_model(small_model(), tmp_path / "small.safetensors")  # what the example of training goes on from
    (tmp_path / "corpus.txt").write_bytes(SMALL_TEXT)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGES["docs/PYTHON.md"], re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "PYTHON.md", "docs/PYTHON.md", 0)
    assert len(examples.examples) > 15
    said: list[str] = []
    assert doctest.DocTestRunner().run(examples, out=said.append).failed == 0, "".join(said)


def test_names_of_the_page_of_python() -> None:
    page = PAGES["docs/PYTHON.md"]
    for name in nncomp.__all__:
        assert f"nncomp.{name}" in page
    for name, _ in table("docs/PYTHON.md", "| error | when |"):
        assert issubclass(getattr(errors, name.strip("`")), errors.NncompError)
    given = inspect.signature(nncomp.compress).parameters
    assert {"level", "model", "workers"} <= set(given)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "models/README.md"])
def test_python_of_other_pages(page: str, tmp_path: Path) -> None:
    """As it stands, but on less text."""
    if not shipped_path("default").exists():
        pytest.skip("no shipped model")
    (block,) = re.findall(r"^( *)```python\n(.*?)^ *```$", PAGES[page], re.MULTILINE | re.DOTALL)
    code = inspect.cleandoc(block[1]).replace("3_000_000", "20_000")
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "text").write_bytes(TEXT)
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, env=environment(), check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / "mine.safetensors").exists() == ("mine" in code)


# Reliability


def test_how_many_golden_files() -> None:
    assert f"{len(good_rows())} good and {len(bad_rows())} bad golden files" in PAGES["docs/RELIABILITY.md"]


# Models


def test_ids_and_levels_of_models() -> None:
    rows = table("models/README.md", "| name | id in")
    assert {row[0]: int(row[1]) for row in rows} == MODEL_IDS
    assert f"{OWN_MODEL} is a model of your own" in PAGES["models/README.md"]
    for name, _, levels, *_ in rows:
        first, last = (int(number) for number in re.findall(r"-(\d)", levels))
        assert [number for number, level in LEVELS.items() if level.model == name] == list(range(first, last + 1))


@pytest.mark.parametrize("name", SHIPPED)
def test_models_are_as_they_are_described(name: str) -> None:
    """Size, hash, shape, contexts, and what the record in the file says of the training and of the validation."""
    from nncomp.blocks.token_payload import start_of
    from nncomp.mixing.start_values import WEIGHT_SETS, chosen_parts
    from nncomp.network.model import read_model

    data = shipped_path(name).read_bytes()
    (row,) = (row for row in table("models/README.md", "| name | id in") if row[0] == name)
    assert row[3:] == [f"{len(data):,}", hashlib.sha256(data).hexdigest()]
    model = read_model(open_model(name))
    rows = table("models/README.md", "| | default | fast |")
    told = {row[0]: row[1 + ("default", "fast").index(name)] for row in rows}
    sizes, record = model.sizes, model.record
    n, width, state, mlp = (sizes[each] for each in ("layer_count", "width", "state_width", "mlp_width"))
    contexts, row_sets = chosen_parts(start_of(model.extra))
    reaches = Counter(min(number // 32, 2) for number in contexts)
    expected = {
        "layers": str(n),
        "width, state, MLP": f"{width:,}, {state:,}, {mlp:,}",
        "parameters in the layers": f"{n * (3 * state * width + width * state + 2 * mlp * width):,}",
        "tokens, in groups": f"{sizes['vocab_size']:,} in {sizes['group_count']}",
        "contexts of mixing: all lanes, one lane, its last KiB": ", ".join(str(reaches[reach]) for reach in range(3)),
        f"sets of weight rows, of {len(WEIGHT_SETS)}": str(len(row_sets)),
        "tokens seen in training": f"{record['tokens_seen']:,}",
        "time on one NVIDIA H200": f"{record['elapsed_s']} s",
        "learning rate of AdamW, falling to 0": re.findall(r"learning rate ([\d.]+)", record["command"])[0],
        "date": record["date"],
    }
    assert {label: told[label] for label in expected} == expected
    assert f"hold {record['documents']:,} hashes" in PAGES["models/README.md"]
    alone = table("models/README.md", "| kind | default, alone")
    column = 1 if name == "default" else 3
    assert {row[0]: float(row[column]) for row in alone} == {
        kind.removesuffix(".txt"): figure for kind, figure in record["valid_bpb_integer"].items()
    }


@pytest.mark.skipif(not shipped_path("max").exists(), reason="no shipped model")
def test_the_model_of_two_networks_is_as_it_is_described() -> None:
    from nncomp.network.model import read_model

    file = open_model("max")
    (row,) = (row for row in table("models/README.md", "| name | id in") if row[0] == "max")
    assert row[3:] == [f"{file.path.stat().st_size:,}", file.content_hash.hex()]
    assert file.base is not None and file.second is not None
    assert [file.base.path, file.second.path] == [shipped_path("default"), shipped_path("fast")]
    model, default = read_model(file), read_model(open_model("default"))
    assert model.networks == 2
    reaches = Counter(min(number // 32, 2) for number in model.extra["mixing.contexts"].tolist())
    said = "{} contexts: {} of all lanes, {} of one lane, {} of its last 1 to 32 KiB"
    assert said.format(sum(reaches.values()), *(reaches[reach] for reach in range(3))) in PAGES["models/README.md"]
    assert model.code is not None and default.code is not None
    assert all(np.array_equal(a, b) for a, b in zip(model.code, default.code, strict=True))
    made = model.record["assembled"]
    part = PAGES["models/README.md"].split("## max")[1]
    assert f"learned on {made['date']}" in part and f"`{made['command']}`" in part


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_the_ngram_table_is_as_it_is_described() -> None:
    from nncomp.network.model import read_model

    file, page = open_model("default").ngrams, PAGES["models/README.md"]
    assert file is not None and f"{file.size_bytes:,} bytes, SHA-256 {file.content_hash.hex()}" in page
    assert {open_model(name).ngrams for name in SHIPPED} | {open_model("max").ngrams} == {file}
    ngrams = read_model(open_model("fast")).ngrams
    assert ngrams is not None
    record, count = ngrams.record, int((ngrams.entries > 0).sum())
    assert f"{count:,} entries in {len(ngrams.entries):,} lines" in page and record["entries"] == count
    assert f"{record['documents']:,} documents, {record['tokens']:,} tokens" in page
    assert f"Counted on {record['date']} by `{record['command']}`" in page


# The site


def test_every_page_is_on_the_site() -> None:
    listed = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "log").glob("*.md")]:
        assert path.relative_to(ROOT / "docs").as_posix() in listed
