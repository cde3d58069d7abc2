"""Files at URLs: object storage on loopback, with credentials that are checked there; memory; the web."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nncomp.cli import fetched
from nncomp.errors import DataError, OutputError
from nncomp.stream import storage
from tests.blocks import stored
from tests.conftest import ROOT, Run, environment

pytest.importorskip("s3fs")
BUCKET = "corpus"
READS_AND_WRITES = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Yield the address of an object storage here."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.object_storage"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def ask(url: str, data: bytes) -> None:
    urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "text/plain"})).close()


@pytest.fixture
def credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an address and a right key into the environment; the bucket is there and empty."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    ask(f"{endpoint}/moto-api/reset", b"")
    ask(f"{endpoint}/moto-api/reset-auth", b"inf")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "founder")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    import boto3

    boto3.Session().client("s3").create_bucket(Bucket=BUCKET)
    people = boto3.Session().client("iam")
    people.create_user(UserName="reader")
    people.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(READS_AND_WRITES))
    key = people.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    ask(f"{endpoint}/moto-api/reset-auth", b"0")  # from now on keys are looked at


def test_object_storage(run: Run, tmp_path: Path, credentials: None, english: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back; a damaged file leaves no object; each thing that is wrong is one sentence."""
    (tmp_path / "text").write_bytes(english)
    at = f"s3://{BUCKET}/some"

    def fails(sentence: str, *arguments: str) -> None:
        result = run(*arguments)
        lines = result.stderr.decode().splitlines()
        assert result.returncode == 1 and len(lines) == 1, lines
        assert sentence in lines[0]

    assert run("compress", "-q", "--model", "none", "-o", f"{at}/a.nnc", "text").returncode == 0
    assert run("decompress", "-q", f"{at}/a.nnc").returncode == 0, "beside it"
    assert run("cat", "--range", "10:20", f"{at}/a.nnc").stdout == english[10:20]
    result = run("list", "--json", "-r", f"s3://{BUCKET}")
    assert [row["file"] for row in json.loads(result.stdout)["files"]] == [f"{at}/a.nnc"]
    assert objects() == ["some/a", "some/a.nnc"]

    (tmp_path / "good.nnc").write_bytes(stored(english))
    (tmp_path / "wrong.nnc").write_bytes(stored(english)[:-1] + b"?")
    fails("wrong.nnc: A block decodes to other bytes", "decompress", "wrong.nnc", "-o", f"{at}/wrong")
    assert objects() == ["some/a", "some/a.nnc"]
    fails("there is no bucket other", "test", "s3://other/a.nnc")
    fails("there is no bucket other", "decompress", "good.nnc", "-o", "s3://other/text")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    fails("access is refused; check the credentials", "test", f"{at}/a.nnc")
    fails("access is refused; check the credentials", "decompress", "good.nnc", "-o", f"{at}/b")


def objects() -> list[str]:
    import boto3

    return [each["Key"] for each in boto3.Session().client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]


def test_a_cluster_reads_and_writes_object_storage(run: Run, tmp_path: Path, credentials: None, cluster: Any) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.nnc").write_bytes(stored(name.encode() * 9))
    there = f"s3://{BUCKET}/out"
    far = ["--cluster", cluster.address, "--output-dir"]
    assert run("decompress", "in/*.nnc", *far, there).returncode == 0
    result = run("compress", "--model", "none", f"{there}/*", *far, f"{there}/packed", "--json")
    assert [row["output"] for row in json.loads(result.stdout)["files"]] == [f"{there}/packed/{name}.nnc" for name in "ab"]
    result = run("compress", "--model", "none", "-r", there, *far, f"{there}/packed", "--json", "--resume")
    assert [row["state"] for row in json.loads(result.stdout)["files"]] == ["skipped", "skipped"]


def test_memory_is_complete_or_absent() -> None:
    url = "memory://folder/text"
    with suppress(KeyError), storage.open_write(url, False) as sink:
        sink.write(b"half")
        raise KeyError
    assert not storage.exists(url)
    with storage.open_write(url, False) as sink:
        sink.write(b"all of it")
        assert not storage.exists(url)
    with storage.open_read(url) as (stream, size):
        assert (stream.read(3), size, stream.seekable()) == (b"all", 9, True)
    with pytest.raises(OutputError, match="already exists"), storage.open_write(url, False):
        pass
    assert storage.matches("memory://folder/t*") == storage.inside("memory://folder") == ["memory:///folder/text"]


def test_what_needs_a_path_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with fetched.written_here("memory://models/own.safetensors") as path:
        path.write_bytes(b"a model")
    kept = Path(fetched.model_path("memory://models/own.safetensors"))
    assert kept.read_bytes() == b"a model"
    with pytest.raises(OutputError, match="already exists"), fetched.written_here("memory://models/own.safetensors"):
        pass
    copies = fetched.copies("memory://models", tmp_path / "copies")
    assert [Path(name).name for name in copies.values()] == ["own.safetensors"]
    assert [path.read_bytes() for path in copies] == [b"a model"]


def test_the_web_is_for_reading(run: Run, tmp_path: Path, english: bytes) -> None:
    (tmp_path / "text").write_bytes(english)
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/text"
        result = run("compress", "-q", "--model", "none", "-c", url)
        refused = run("compress", "-q", "--model", "none", url)
        missing = run("compress", "-q", "--model", "none", "-c", url + "s")
        server.shutdown()
    assert run("decompress", "-c", stdin=result.stdout).stdout == english
    assert refused.returncode == 1 and b"cannot be written: nncomp writes to s3://" in refused.stderr
    assert missing.returncode == 1 and b"there is no such object" in missing.stderr


def test_a_server_that_is_not_there_is_no_missing_object(run: Run, tmp_path: Path) -> None:
    """Nor is one that fails. A model is named: it is not the file that is compressed."""
    (tmp_path / "text").write_bytes(b"text")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/m.nnc"
        broken = run("list", url)
        server.shutdown()
    unreached = run("list", url)  # nobody listens there now
    model = run("compress", "--model", url, "text")
    assert [each.returncode for each in (broken, unreached, model)] == [1, 1, 1]
    said = "The file cannot be read: the server"
    assert broken.stderr.decode() == f"nncomp: {url}: {said} answers 500 Internal Server Error.\n"
    assert unreached.stderr.decode() == f"nncomp: {url}: {said} cannot be reached (Connection refused).\n"
    assert model.stderr.decode() == f"nncomp: The model {url}: {said} cannot be reached (Connection refused).\n"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Broken(_Quiet):
    def do_GET(self) -> None:
        self.send_error(500)

    def do_HEAD(self) -> None:
        self.send_error(500)


def test_an_answer_that_is_cut_off_is_no_missing_server() -> None:
    class ClientPayloadError(Exception):
        __module__ = "aiohttp.client_exceptions"

    said = storage._reason("http://host/a", ClientPayloadError("Response payload is not completed"))
    assert said == "the transfer failed (Response payload is not completed)"


@pytest.mark.parametrize("name", ["s3fs", "fsspec"])
def test_without_the_extra_there_is_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    if name == "s3fs":
        sys.modules["fsspec.registry"]._registry.pop("s3", None)
    with pytest.raises(DataError, match=r"s3:// needs packages that are not installed .*pip install 'nncomp\[cluster\]'"):
        storage.open_read("s3://bucket/text").__enter__()
    with pytest.raises(DataError, match="knows no storage strange://" if name == "s3fs" else "pip install"):
        storage.open_read("strange://text").__enter__()
