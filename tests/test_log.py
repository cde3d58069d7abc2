"""The log of experiments: its index names every section, and the newest stands first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

LOG = ROOT / "docs" / "log"
PAGES = sorted(path for path in LOG.glob("*.md") if path.name != "README.md")


def sections(page: Path) -> list[str]:
    return re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def anchor(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()))


def test_there_are_pages() -> None:
    assert len(PAGES) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_index_has_a_line_for_each_section_in_their_order(page: Path) -> None:
    index = (LOG / "README.md").read_text(encoding="utf-8")
    lines = re.findall(rf"^\| (\S+) \| .+ \| .+ \| \[read\]\({page.name}#(.+)\) \|$", index, re.MULTILINE)
    headings = sections(page)
    assert lines == [(heading[:10], anchor(heading)) for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_newest_stands_first(page: Path) -> None:
    dates = [heading.partition(":")[0] for heading in sections(page)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)
    assert dates == sorted(dates, reverse=True)
