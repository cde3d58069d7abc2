"""A cluster of two workers: the same bytes as one process, whatever happens to a worker, and bounded memory."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncomp.blocks.levels import level
from nncomp.blocks.lzma_payload import FILTERS
from nncomp.blocks.memory import Memory
from nncomp.cli.cluster_report import Row, State, print_table
from nncomp.errors import DataError, FormatError, ModelError, NncompError, WorkerError
from nncomp.format import frames
from nncomp.format.frames import Block, FrameWriter, checksum
from nncomp.format.numbers import BlockKind
from nncomp.network.model import read_model, save_model
from nncomp.network.ngram_file import save_ngrams
from nncomp.network.registry import ModelFile, find, open_model, shipped_path
from nncomp.stream import pipeline
from nncomp.stream.assembly import content_hash
from nncomp.stream.repeats import Cut
from nncomp.stream.tasks import Coding, EncodeTask
from tests.conftest import Run, environment
from tests.models import small_model, small_ngrams, write_grown
from tests.test_json import tables, words

pytest.importorskip("distributed")

from nncomp.cluster import remote_task as work_module
from nncomp.cluster.connection import Cluster
from nncomp.cluster.many_files import Compressing, Decompressing, Kind, Work, run
from nncomp.cluster.remote_task import Order, SentModel, run_order
from nncomp.cluster.window import Flight, Window

MB = 1_000_000
BLOCK_BYTES = 14 << 18  # of the long corpora here
MODEL = open_model("fast") if shipped_path("fast").exists() else None
EFFORT = level(1).effort


SMALL = replace(EFFORT, block_bytes=4_000)  # what workers do with a block does not depend on its size


class Kept(io.BytesIO):
    """A result: what was written, once it is complete."""

    made: bytes | None = None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.made = None if kind else self.getvalue()
        super().__exit__(kind, error, trace)


def nobody(_: Work) -> None:
    pass


def work(name: str, data: bytes) -> tuple[Work, Kept]:
    kept = Kept()
    return Work(name, lambda: nullcontext(io.BytesIO(data)), lambda: kept), kept


def find_model(reference: frames.ModelReference) -> ModelFile:
    return find(reference.model_id, reference.content_hash)


def through(cluster: Cluster, kind: Kind, files: dict[str, bytes], told: Callable[[], None] = lambda: None) -> dict[str, bytes]:
    """Return the results by name; `told` is called after each block."""
    made = {name: work(name, data) for name, data in files.items()}
    over: list[str] = []
    run([each for each, _ in made.values()], kind, cluster, lambda each: over.append(each.name), lambda *_: told())
    assert over == list(files)
    assert [each.error for each, _ in made.values()] == [None] * len(files)
    return {name: kept.made or b"" for name, (_, kept) in made.items()}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def kill_one(cluster: Cluster) -> None:
    os.kill(next(iter(cluster.client.run(os.getpid).values())), signal.SIGKILL)


def model_count() -> int:
    return len(work_module._models)


def test_the_same_bytes_from_one_process_and_from_workers_one_of_which_is_killed(cluster: Cluster, english: bytes) -> None:
    files = {"empty": b"", "short": b"some words", "one": english[:3_000], "many": english, "noise": os.urandom(9_000)}
    alone: dict[str, bytes] = {}
    for name, data in files.items():
        sink = io.BytesIO()
        pipeline.compress(io.BytesIO(data), sink, Coding(MODEL, SMALL), 0)
        alone[name] = sink.getvalue()
    kind = Compressing(cluster, MODEL, SMALL, Memory())
    assert hashes(through(cluster, kind, files)) == hashes(alone)

    blocks, before = 0, set(cluster.client.run(os.getpid).values())

    def kill_midway() -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 4:
            kill_one(cluster)

    assert hashes(through(cluster, kind, files, kill_midway)) == hashes(alone)
    cluster.client.wait_for_workers(2, timeout=60)
    after = set(cluster.client.run(os.getpid).values())
    assert before != after and before & after, "one of them is a new one"
    assert through(cluster, Decompressing(cluster, find_model, Memory()), alone) == files
    if MODEL:
        assert set(cluster.client.run(model_count).values()) == {1}, "also where a worker came later"


def test_a_model_that_comes_altered_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"a model")
    sent = SentModel(open_model(path))
    sent.install(tmp_path)
    assert (tmp_path / sent.name / "model.safetensors").read_bytes() == b"a model"
    sent.data = b"another"
    with pytest.raises(ModelError, match="altered"):
        cluster.client.register_plugin(sent)


def test_a_worker_with_another_nncomp_is_refused() -> None:
    import pickle

    order = Order(EncodeTask(Cut(b"text", (), bytes(8)), None), None, "other sources")
    done = run_order(pickle.dumps(order))
    assert isinstance(done.error, WorkerError) and "another nncomp" in str(done.error)


def test_a_file_that_fails_is_absent_and_the_others_are_not(cluster: Cluster, english: bytes) -> None:
    sink = io.BytesIO()
    pipeline.compress(io.BytesIO(english[:9_000]), sink, Coding(), 0)
    good = sink.getvalue()
    wrong = bytearray(good)
    wrong[20] ^= 1  # in the payload of the first block, or its checksum

    def broken() -> Any:
        raise DataError("It cannot be read.")

    first, damaged, unreadable, last = (
        work(name, data) for name, data in zip("abcd", [good, bytes(wrong), b"", good], strict=True)
    )
    unreadable[0].open_source = broken
    run([each for each, _ in (first, damaged, unreadable, last)], Decompressing(cluster, find_model, Memory()), cluster, nobody)
    assert isinstance(damaged[0].error, FormatError) and isinstance(unreadable[0].error, DataError)
    assert [kept.made for _, kept in (first, damaged, unreadable, last)] == [english[:9_000], None, None, english[:9_000]]


class Made(io.RawIOBase):
    """A .nnc file of so many blocks of zeros, made as it is read: stored, or as xz of some hundred bytes."""

    def __init__(self, blocks: int, kind: BlockKind) -> None:
        self._parts: list[bytes] = []
        self._blocks = blocks
        data = bytes(BLOCK_BYTES)
        payload = data if kind == BlockKind.STORED else lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS)
        self._block = Block(kind, len(data), payload, checksum(data), False)
        self._content = content_hash()
        self._writer = FrameWriter(self)

    def readable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts += [bytes(data)] if data else []
        return len(data)

    def readinto(self, buffer: Any) -> int:
        if not self._parts and self._blocks:
            self._blocks -= 1
            self._content.update(bytes(BLOCK_BYTES))
            self._writer.write(replace(self._block, is_last=not self._blocks), self._content.digest())
        if not self._parts:
            return 0
        part = self._parts[0][: len(buffer)]
        buffer[: len(part)] = part
        self._parts[0] = self._parts[0][len(part) :]
        if not self._parts[0]:
            del self._parts[0]
        return len(part)


def peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Counted(io.RawIOBase):
    count = 0

    def write(self, data: Any) -> int:
        self.count += len(data)
        return len(data)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory otherwise")
@pytest.mark.parametrize("kind", [BlockKind.STORED, BlockKind.LZMA])
def test_memory_is_bounded_while_a_corpus_is_not(cluster: Cluster, kind: BlockKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """160 MB pass, of blocks up to 6 MiB, into the cluster or out of it; neither this process nor a worker grows by so much."""
    monkeypatch.setattr("nncomp.cluster.window.SPLIT_BYTES", 6 << 20)
    before = {"client": peak_bytes(), **cluster.client.run(peak_bytes)}
    sink = Counted()
    source = io.BufferedReader(Made(40, kind))
    long = Work("long", lambda: nullcontext(source), lambda: nullcontext(sink))
    held: list[tuple[int, int]] = []

    class Noted(Window):
        def send(self, order: Order) -> Flight:
            flight = super().send(order)
            self.note()
            return flight

        def wait(self, timeout_s: float) -> None:
            super().wait(timeout_s)
            self.note()

        def note(self) -> None:
            held.append((self._working_bytes + self._waiting_bytes, 2 * self.limit_bytes))

    monkeypatch.setattr("nncomp.cluster.many_files.Window", Noted)
    run([long], Decompressing(cluster, find_model, Memory()), cluster, nobody)
    assert long.error is None and long.summary.raw_bytes == 40 * BLOCK_BYTES
    assert sink.count == long.summary.raw_bytes
    assert max(held)[0] >= BLOCK_BYTES and all(count <= limit < 40 * MB for count, limit in held)
    after = {"client": peak_bytes(), **cluster.client.run(peak_bytes)}
    assert {name for name in after if after[name] - before.get(name, 0) > 90 * MB} == set()


def test_the_window_counts_what_waits_for_its_turn(cluster: Cluster) -> None:
    window = Window(cluster)
    flights = []
    while window.has_room():
        task = EncodeTask(Cut(b"word " * 20, (), bytes(8)), None)
        flights.append(window.send(Order(task, None, "other sources")))
    assert len(flights) == 8 * (window.workers + 1), "many small ones are few bytes"
    for flight in flights:
        while flight.done is None:
            window.wait(0.5)
    assert not window.has_room()
    assert isinstance(window.take(flights[0]).error, NncompError)
    assert window.has_room()


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_a_model_that_goes_on_from_another_finds_it_on_the_worker(tmp_path: Path) -> None:
    grown = write_grown(tmp_path / "grown.safetensors")
    sent = SentModel(grown)
    sent.install(tmp_path)
    here = work_module._models[sent.name]
    assert here.base and here.base.content_hash == open_model("default").content_hash and here.read() == grown.read()


def test_an_ngram_table_of_ones_own_is_sent_too(tmp_path: Path) -> None:
    table = save_ngrams(small_ngrams().entries, small_ngrams().vocab_size, {}, tmp_path / "ngrams.safetensors")
    save_model(replace(small_model(), ngrams=table), tmp_path / "m.safetensors")
    sent = SentModel(open_model(tmp_path / "m.safetensors"))
    for name in ("m.safetensors", "ngrams.safetensors"):
        (tmp_path / name).unlink()
    sent.install(tmp_path)
    model = read_model(work_module._models[sent.name])
    assert model.ngrams is not None and np.array_equal(model.ngrams.entries, table.entries)


def test_the_command(run: Run, tmp_path: Path, english: bytes, cluster: Cluster) -> None:
    """Through the address of a scheduler: patterns, folders, JSON, names that would meet, and a second run that goes on."""
    texts = {"a.txt": english[:2_000], "b.txt": english[2_000:9_000], "deep/c.txt": b"deep\n"}
    for name, data in texts.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    there = ["--cluster", cluster.address, "--output-dir"]
    result = run("compress", "--model", "none", "in/**/*.txt", *there, "out/", "--json")
    assert result.returncode == 0, result.stderr.decode()
    assert f"nncomp: cluster {cluster.address}, 2 workers; dashboard: http://127.0.0.1:" in result.stderr.decode()
    document = json.loads(result.stdout)
    of_document, of_file, of_total = tables("JSON.md", "nncomp compress, decompress --cluster --json")
    assert (list(document), list(document["total"])) == (of_document, of_total)
    assert list(document["cluster"]) == words("JSON.md", "cluster")
    assert [list(row) for row in document["files"]] == [of_file] * 3
    assert [(row["file"], row["output"], row["state"]) for row in document["files"]] == [
        (f"in/{name}", f"out/{name}.nnc", "done") for name in texts
    ]
    assert run("compress", "-q", "--model", "none", "in/a.txt").returncode == 0
    assert (tmp_path / "out/a.txt.nnc").read_bytes() == (tmp_path / "in/a.txt.nnc").read_bytes()

    (tmp_path / "out/a.txt.nnc").write_bytes((tmp_path / "out/a.txt.nnc").read_bytes()[:-1])  # not valid: made anew
    (tmp_path / "in/b.txt").write_bytes(b"changed\n")
    (tmp_path / "in/a.txt.nnc").unlink()
    result = run("compress", "--model", "none", "-r", "in", *there, "out", "--resume", "--json")
    assert [row["state"] for row in json.loads(result.stdout)["files"]] == ["done", "done", "skipped"]
    result = run("decompress", "-r", "out", *there, "back")
    assert result.returncode == 0 and b"3 done" in result.stdout
    for name, data in (texts | {"b.txt": b"changed\n"}).items():
        assert (tmp_path / "back" / name).read_bytes() == data

    for name in ("content", "content-first", "copies-content"):  # each block is right, their order or text is not
        (tmp_path / f"out/{name}.nnc").write_bytes((Path(__file__).parent / f"golden/bad/{name}.nnc").read_bytes())
    result = run("test", "out/co*.nnc", "--cluster", cluster.address, "--json")
    assert (result.returncode, [row["is_whole"] for row in json.loads(result.stdout)["files"]]) == (1, [False] * 3)
    for path in (tmp_path / "out").glob("co*.nnc"):
        path.unlink()

    (tmp_path / "out/deep/c.txt.nnc").write_bytes(b"not a .nnc file")
    result = run("test", "-r", "out", "--cluster", cluster.address, "--json")
    assert result.returncode == 1
    assert [row["is_whole"] for row in json.loads(result.stdout)["files"]] == [True, True, False]
    result = run("decompress", "out/a.txt.nnc", *there, "back")
    assert result.returncode == 1 and b"already exists. Overwrite it with -f, or skip finished files" in result.stderr


def test_a_result_has_the_attributes_of_its_source(run: Run, tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "a").write_bytes(b"some words\n")
    try:
        os.setxattr(tmp_path / "a", "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no attributes")
    assert run("compress", "--model", "none", "--cluster", cluster.address, "a").returncode == 0
    assert os.getxattr(tmp_path / "a.nnc", "user.note") == b"kept"


def test_a_name_is_shown_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Row("a\x1b[31m\nb", None, State.DONE, 1, 1, None, 0.1, None)], 1.0, 1)
    assert "\x1b" not in (said := capsys.readouterr().out) and len(said.splitlines()) == 4


def test_a_cluster_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some words\n")
    result = run("bench", "--cluster", "local", "-T", "1", "--model", "none", "--no-others", "--json", "a.txt")
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout)["total"][0]["compressor"] == "nncomp -5, cluster"


def test_an_interrupt_while_a_cluster_of_its_own_starts(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")  # which Dask needs
    (tmp_path / "a").write_bytes(b"some words\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "nncomp", "compress", "--cluster", "local", "a"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not psutil.Process(process.pid).children():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"nncomp: Interrupted. No partial file is left.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    for arguments, code, sentence in (
        (["--cluster", "tcp://127.0.0.1:9", "a"], 1, "There is no scheduler at tcp://127.0.0.1:9"),
        (["--cluster", "local", "none*"], 1, "none* matches no file."),
        (["--cluster", "local", "-o", "", "a"], 2, "-o cannot be used with --cluster."),
        (["--cluster", "local", "-c", "a"], 2, "-c cannot be used with --cluster."),
        (["--cluster", "local", "--device", "cpu", "a"], 2, "--device cannot be used with --cluster."),
        (["--cluster", "local", "a", "./a", "--output-dir", "out"], 1, "would both become out/a.nnc"),
        (["--resume", "a"], 2, "--resume needs --cluster."),
        (["--cluster", "", "a"], 2, "--cluster needs an address, or the word local."),
    ):
        result = run("compress", *arguments)
        assert result.returncode == code
        assert sentence in " ".join(result.stderr.decode().split())
    assert not (tmp_path / "out").exists()


def test_the_benchmark_makes_the_files_of_one_process(cluster: Cluster, english: bytes) -> None:
    from benchmarks import cluster as benchmark

    files = {"short": b"some words", "text": english[:3_000]}
    alone: dict[str, bytes] = {}
    for name, data in files.items():
        sink = io.BytesIO()
        pipeline.compress(io.BytesIO(data), sink, Coding(MODEL, EFFORT), 0)
        alone[name] = sink.getvalue()
    assert benchmark.through(cluster, Compressing(cluster, MODEL, EFFORT, Memory()), files)[0] == alone
