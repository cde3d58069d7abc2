"""The figures of README.md and docs/BENCHMARKS.md are those of the results that the pages name."""

from __future__ import annotations

import copy
import re

import pytest

from benchmarks import tables
from benchmarks.tables import BENCHMARKS, README


def named() -> tuple[str, str, str]:
    return tables.named(BENCHMARKS.read_text(encoding="utf-8"))


def test_the_pages_are_what_their_results_say() -> None:
    for path, text in tables.pages(*named()).items():
        assert path.read_text(encoding="utf-8") == text, f"run python -m benchmarks.tables {named()[0]}"


def test_other_results_make_other_pages() -> None:
    """Every figure comes from the results: the processor, a size, a time, and who is smaller."""
    source, second, levels = named()
    document, there = tables.read(source), (tables.read(second), second)
    page, other = tables.page_figures(document, source, *there), copy.deepcopy(document)
    other["machine"]["cpu"] = "Another Processor"
    (ours,) = (row for row in other["files"][0]["results"] if row["compressor"] == tables.USUAL)
    (zpaq,) = (row for row in other["files"][0]["results"] if row["compressor"] == tables.PEER)
    ours["packed_bytes"] = zpaq["packed_bytes"] + 1
    changed = tables.page_figures(other, source, *there)
    assert "Another Processor (" in changed and "Another Processor" not in page
    file = other["files"][0]["file"]
    assert f"`{file}` ({tables.PEER}" in changed and f"`{file}` ({tables.PEER}" not in page
    assert f"| {ours['packed_bytes']:,} |" in changed
    assert tables.readme_figures(other, source, *there) != tables.readme_figures(document, source, *there)
    assert tables.readme_figures(document, source, other, second) != tables.readme_figures(document, source, *there)
    slower = copy.deepcopy(there[0])
    (long,) = (row["results"] for row in slower["files"] if row["file"] == tables.SPEED_FILE)
    for row in long:
        row["compress_s"] *= 1.5 if row["compressor"] == tables.PEER else 1.0
    assert tables.other_speeds(document, slower, second) != tables.other_speeds(document, *there)
    assert "Another Processor" in tables.level_figures(tables.read(levels) | {"machine": other["machine"]}, levels)


def test_files_of_both_processors_are_of_one_size() -> None:
    """As docs/BENCHMARKS.md says of two runs of one program."""
    pair = re.findall(r"`(benchmarks/results/\S+)` and\s`(benchmarks/results/\S+)`", BENCHMARKS.read_text(encoding="utf-8"))[0]
    assert pair[0] == named()[1]
    there, here = (tables.results(tables.read(source)) for source in pair)
    assert here.keys() == there.keys()
    for file, rows in here.items():
        ours = {name: row.packed_bytes for name, row in rows.items() if row.is_ours}
        assert ours == {name: there[file][name].packed_bytes for name in ours}


def test_what_stands_around_the_tables_stays() -> None:
    page = "a\n<!-- figures -->\nold\n<!-- /figures -->\nb\n"
    assert tables.replaced(page, "figures", "new") == "a\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nb\n"
    assert tables.replaced(tables.replaced(page, "figures", "once"), "figures", "new") == tables.replaced(page, "figures", "new")
    with pytest.raises(AssertionError, match="one part"):
        tables.replaced(page, "levels", "new")


def test_both_pages_name_the_processor_and_the_date() -> None:
    document = tables.read(named()[0])
    for path in (README, BENCHMARKS):
        text = path.read_text(encoding="utf-8")
        assert tables.machine(document) in text and tables.date(named()[0]) in text
