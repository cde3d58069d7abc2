"""The page of `nncomp entropy`: hostile text stays text, every byte is in some cell, and a browser has nothing to complain of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncomp.entropy import html_page
from nncomp.entropy.estimate import open_network
from nncomp.entropy.gap import compress_and_analyse
from nncomp.entropy.html_page import make_cells, make_page
from nncomp.entropy.report import visible
from nncomp.network.likeliest import likeliest
from nncomp.network.model import save_model
from nncomp.network.registry import ModelFile, open_model
from nncomp.stream.tasks import Coding
from tests.models import TEXT, small_model

HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=alert(1)>\n"
    "<!-- & &lt; &amp; ]]> {{data}} {{title}} </div></body> \x00\x1b[31m \u202eright\u2028 \\u003c \"quoted\" 'too'\r\n"
    "<style>*{display:none}</style> https://example.org/ \U0001f600 é 文字\n"
).encode() + b"\xff\xc3( \xed\xa0\x80\n" * 3
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, source: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.inside: list[str] = []
        self.text: dict[str, str] = {}
        self.feed(source.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        name = dict(attrs).get("class") or dict(attrs).get("id") or tag
        if tag not in ("meta", "link", "line", "path"):
            self.inside.append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "path"):
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        name = self.inside[-1].split()[0] if self.inside else ""
        self.text[name] = self.text.get(name, "") + data


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(small_model(), path)
    return open_model(path)


def unpacked(packed: list[Any]) -> list[int]:
    width, text = packed
    found: list[int] = np.frombuffer(base64.b64decode(text), f"<u{width}").tolist()
    return found


def shown(data: bytes) -> str:
    """Return a text as the page writes it."""
    return visible(data.decode(errors="surrogateescape")).replace("\n", "\u21b5\n")


@pytest.mark.parametrize("with_network", [True, False])
def test_hostile_text_stays_text(with_network: bool, tiny: ModelFile) -> None:
    data = HOSTILE * 3
    analysis = compress_and_analyse(data, Coding(tiny if with_network else None), None, 0)
    source = make_page("<b>{{data}}</b>\x1b&.txt", analysis, 0)
    found, plain = Page(source), Page(make_page("plain", compress_and_analyse(TEXT[:200], Coding(), None, 0), 0))
    assert not {"img", "b", "iframe", "a"} & set(found.tags)
    assert (found.tags.count("script"), found.tags.count("style")) == (2, 1)
    assert set(found.tags) == set(plain.tags)
    assert {name for name, _ in found.attributes} == {name for name, _ in plain.attributes}
    assert found.text["h1"] == "<b>{{data}}</b>\\x1b&.txt"
    assert found.text["chunk"] == shown(data)
    assert found.text["script"] == plain.text["script"], "what runs does not depend on the text"
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", source)
    assert "<" not in found.text["data"]


def test_nothing_is_asked_of_a_network(tiny: ModelFile) -> None:
    source = make_page("a", compress_and_analyse(TEXT[:500], Coding(tiny), None, 0), 0).decode()
    assert not re.search(r"(?:https?:)?//[a-z]|@import|url\(", source.replace('"//', ""))
    assert re.findall(r'(?:src|href)="([^"]*)"', source) == ["data:,"]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_data_of_a_page(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte is in a cell, bits are those of the estimate, alternatives are the network's."""
    monkeypatch.setattr(html_page, "_CHUNK_CELLS", 20)
    monkeypatch.setattr(html_page, "_LONG_CHUNK_CELLS", 50)
    text = TEXT[:1500] + "žluťoučký kůň\n".encode() + b"no end of line " * 40
    analysis = compress_and_analyse(text, Coding(tiny), None, 0)
    found = Page(make_page("a", analysis, 0))
    data = json.loads(found.text["data"])
    cells, sizes, units = (unpacked(data[name]) for name in ("cells", "bytes", "units"))
    assert found.text["chunk"] == shown(text)
    assert sum(cells) == len(shown(text))
    assert sum(sizes) == data["shown"] == len(text)
    assert sum(count for count, _ in data["chunks"]) == len(cells) == len(sizes)
    assert data["chunks"][-1][1] == 0, "the last chunks stand on one line"
    assert [is_alone for _, is_alone in data["chunks"]].count(1) > 2
    assert abs(sum(unpacked(data["centibits"])) / 100 - analysis.estimate_bits) < 0.005 * len(cells)
    (estimate,) = analysis.estimates
    assert sum(units) == len(estimate.bits)
    network, shares = unpacked(data["network"]), np.array(unpacked(data["shares"])).reshape(-1, html_page.ALTERNATIVES)
    places = np.array(unpacked(data["places"])).reshape(shares.shape)
    assert estimate.model == tiny
    ids, probabilities, actual = likeliest(open_network(tiny), estimate.ids, html_page.ALTERNATIVES)
    tokens = small_model().vocabulary.tokens
    assert [data["names"][place] for place in places.ravel()] == [shown(tokens[token]) for token in ids.ravel()]
    assert np.allclose(shares / 65535, probabilities, atol=1 / 65535)
    assert np.allclose(np.array(network) / 100, -np.log2(actual), atol=0.006)
    assert np.isclose(np.dot(np.diff(data["edges"]), data["bpb"]), analysis.estimate_bits, rtol=1e-3)


def test_cells_end_with_characters() -> None:
    """A unit that ends within a character is one cell with the next; of bytes that are no character each is its own."""
    data = "aé文".encode() + b"\xff\xe2\x82b"
    cells = make_cells(data, np.array([1, 1, 2, 2, 1, 1, 1, 1]), np.arange(8.0))
    assert cells.texts == ["a", "é文", "\\xff", "\\xe2", "\\x82", "b"]
    assert cells.starts.tolist() == [0, 1, 6, 7, 8, 9, 10]
    assert cells.first_units.tolist() == [0, 1, 4, 5, 6, 7, 8]
    assert cells.bits.tolist() == [0, 6, 4, 5, 6, 7]


def test_a_long_text_is_shown_in_part(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_page, "SHOWN_BYTES", 700)
    found = Page(make_page("a", compress_and_analyse(TEXT[:2000], Coding(tiny), None, 0), 0))
    data = json.loads(found.text["data"])
    assert 676 < data["shown"] <= 700
    assert found.text["chunk"] == shown(TEXT[: data["shown"]])
    assert data["edges"][-1] == 2000
    assert f"The first {data['shown']} bytes are shown" in found.text["note"]


def test_a_page_of_nothing() -> None:
    found = Page(make_page("empty", compress_and_analyse(b"", Coding(), None, 0), 0))
    assert "svg" not in found.tags
    assert "0 bytes of text." in found.text["note"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("text", [b"".join(b"%d%s" % (i, HOSTILE) for i in range(400)), TEXT * 8], ids=["hostile", "text"])
def test_a_browser_opens_it(text: bytes, tiny: ModelFile, tmp_path: Path) -> None:
    """Some 140 KB: colours are there, nothing of the text has run, and the console is empty."""
    assert CHROMIUM
    path = tmp_path / "page.html"
    path.write_bytes(make_page("page", compress_and_analyse(text, Coding(tiny), None, 1), 1))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *flags, "--enable-logging=stderr", "--dump-dom", f"file://{path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr
    assert "<title>page · entropy</title>" in result.stdout
    assert result.stdout.count('<i class="c') > 500
