"""The corpora of the bench, without the network: each is the original, or a clear sentence."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import IO, ClassVar

import pytest

from nncomp.bench.corpora import CORPORA, Corpus, OpenUrl, Original, find_corpus
from nncomp.errors import DataError
from tests.conftest import Run


def no_network(url: str) -> IO[bytes]:
    raise OSError(f"no route to {url}")


@pytest.mark.parametrize("name", CORPORA)
def test_without_a_network_there_is_a_clear_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded .* give the path of a copy"):
        find_corpus(name, tmp_path / "cache", open_url=no_network)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["enwik8", "canterbury"])  # http and https
def test_the_command_without_a_network_says_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A proxy that nobody answers at is as good as no network: nothing leaves this machine."""
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = run("bench", name)
    said = (
        f"nncomp: {name} is not in the cache and cannot be downloaded from {CORPORA[name].url} (Connection refused). "
        "Where there is no network, give the path of a copy: nncomp bench PATH, or its folder with --corpus-dir.\n"
    )
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", said)
    assert list((tmp_path / "cache" / "nncomp").iterdir()) == []


class Answers(http.server.BaseHTTPRequestHandler):
    """A server of this machine: it gives what `pages` has under a path, and of /cut only a part."""

    pages: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        if self.path not in self.pages:
            self.send_error(404)
            return
        page = self.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page[: len(page) // 2] if self.path.startswith("/cut") else page)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_download_through_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Answers.pages = {"/whole.zip": zipped(b"hello"), "/cut.zip": zipped(b"hello")}
    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for page, refusal in (
                ("none.zip", "cannot be downloaded from .*Not Found"),
                ("cut.zip", "not a valid archive"),
                ("whole.zip", ""),
            ):
                url = f"http://127.0.0.1:{server.server_port}/{page}"
                monkeypatch.setitem(CORPORA, "enwik8", Corpus(url, {"enwik8": original(b"hello")}))
                if refusal:
                    with pytest.raises(DataError, match=refusal):
                        find_corpus("enwik8", tmp_path)
                    assert list(tmp_path.iterdir()) == []
                else:
                    assert find_corpus("enwik8", tmp_path)[0].read_bytes() == b"hello"
        finally:
            server.shutdown()


def zipped(content: bytes, name: str = "enwik8") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return sink.getvalue()


def tarred(contents: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def original(content: bytes) -> Original:
    return Original(len(content), hashlib.sha256(content).hexdigest())


def test_a_download_is_verified_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORPORA, "enwik8", Corpus("http://x/enwik8.zip", {"enwik8": original(b"hello")}))

    def gives(content: bytes) -> OpenUrl:
        return lambda url: io.BytesIO(zipped(content))

    (path,) = find_corpus("enwik8", tmp_path, open_url=gives(b"hello"))
    assert path == tmp_path / "enwik8"
    assert path.read_bytes() == b"hello"
    assert find_corpus("enwik8", tmp_path, open_url=no_network) == [path]
    path.write_bytes(b"hallo")  # a cache that went bad is fetched again
    (path,) = find_corpus("enwik8", tmp_path, open_url=gives(b"hello"))
    assert path.read_bytes() == b"hello"
    path.unlink()
    with pytest.raises(DataError, match="does not hold the original"):
        find_corpus("enwik8", tmp_path, open_url=gives(b"hello, and more"))


def test_a_corpus_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"one": b"1", "two": b"22"}
    corpus = Corpus("http://x/some.tar.gz", {name: original(content) for name, content in contents.items()})
    monkeypatch.setitem(CORPORA, "some", corpus)
    archive = tarred({"./one": b"1", "folder/two": b"22", "readme": b"more"})
    found = find_corpus("some", tmp_path, open_url=lambda url: io.BytesIO(archive))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["some/one", "some/two"]
    assert [path.read_bytes() for path in found] == [b"1", b"22"]
    assert {path.name for path in tmp_path.iterdir()} == {"some"}
    assert find_corpus("some", tmp_path, open_url=no_network) == found


def test_a_corpus_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORPORA, "some", Corpus("http://x/some.zip", {"one": original(b"1"), "two": original(b"22")}))

    def find(folder: Path) -> list[Path]:
        return find_corpus("some", tmp_path / "cache", folder, no_network)

    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "one").write_bytes(b"1")
    with pytest.raises(DataError, match=r"some is not in .*: there is no file .*two\. Without --corpus-dir"):
        find(tmp_path)
    (tmp_path / "some" / "two").write_bytes(b"22")
    assert find(tmp_path) == find(tmp_path / "some") == [tmp_path / "some" / "one", tmp_path / "some" / "two"]
    (tmp_path / "some" / "two").write_bytes(b"2!")
    with pytest.raises(DataError, match="is not the original two of some"):
        find(tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        find(tmp_path / "nowhere")
    assert not (tmp_path / "cache").exists()


def test_the_command_takes_a_corpus_from_a_folder(run: Run, tmp_path: Path) -> None:
    result = run("bench", "canterbury", "--corpus-dir", ".")
    assert result.returncode == 1
    assert b"nncomp: canterbury is not in .: there is no file alice29.txt." in result.stderr


def test_known_sizes() -> None:
    assert sum(each.size_bytes for each in CORPORA["canterbury"].files.values()) == 2_810_784
    assert sum(each.size_bytes for each in CORPORA["silesia"].files.values()) == 211_938_580
    for corpus in CORPORA.values():
        assert all(len(bytes.fromhex(each.sha256)) == 32 for each in corpus.files.values())


@pytest.mark.parametrize("given", [zipped(b"not the original"), zipped(b"x", "other"), b"not a zip"], ids=range(3))
def test_what_is_not_enwik8_is_refused(tmp_path: Path, given: bytes) -> None:
    with pytest.raises(DataError, match="try again later"):
        find_corpus("enwik8", tmp_path, open_url=lambda url: io.BytesIO(given))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given", [tarred({"alice29.txt": b"short"}), b"not a tar", tarred({"a": b"b" * 5000})[:-40]], ids=range(3)
)
def test_what_is_not_canterbury_is_refused(tmp_path: Path, given: bytes) -> None:
    with pytest.raises(DataError, match="try again later"):
        find_corpus("canterbury", tmp_path, open_url=lambda url: io.BytesIO(given))
    assert list(tmp_path.iterdir()) == []
