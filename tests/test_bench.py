"""The bench: nothing is reported that did not come back."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import nncomp
from nncomp import __version__
from nncomp.bench import machine, measure
from nncomp.bench.measure import Result
from nncomp.bench.peers import peers
from nncomp.blocks.levels import STANDARD
from nncomp.cli import bench_command
from nncomp.cli.bench_command import Asked, Measured, _draw, _print_notes, _print_results, run_bench
from nncomp.cli.sinks import Sink
from nncomp.errors import DataError, NncompError
from nncomp.machine import processor
from nncomp.network.model import TRAINED_ON, save_model
from nncomp.plots import front
from nncomp.training import corpus as training_corpus
from tests.conftest import Run, environment
from tests.models import small_model


def test_figures() -> None:
    result = Result("x", 1000, 250, 125, 0.5, 0.25, None)
    assert (result.ratio, result.bits_per_byte, result.bits_per_byte_with_model) == (4.0, 2.0, 3.0)
    assert (result.compress_kb_per_s, result.decompress_kb_per_s) == (2.0, 4.0)


def test_a_total_adds_bytes_and_seconds_and_counts_the_model_once() -> None:
    both = measure.total([Result("x", 1000, 100, 50, 1.0, 2.0, 7), Result("x", 3000, 900, 50, 3.0, 4.0, 5)])
    assert both == Result("x", 4000, 1000, 50, 4.0, 6.0, 7)


def test_the_others_bring_a_file_back(tmp_path: Path, english: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(english)
    for result in measure.measure_file(path, peers()):
        assert 0 < result.packed_bytes < len(english)
        assert result.raw_bytes == len(english)


def test_what_does_not_come_back_is_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"text")
    with pytest.raises(NncompError, match="byte for byte"):
        measure.measure_file(path, [measure.function_compressor("forgetful", lambda data: data[:-1], lambda data: data)])
    with pytest.raises(NncompError, match="exit status 1"):
        measure.measure_file(path, [measure.command_compressor("false", lambda a, b: ["false"], lambda b, c: ["false"])])
    copy_other = measure.command_compressor("other", lambda a, b: ["cp", a, b], lambda b, c: ["cp", "/dev/null", c])
    with pytest.raises(NncompError, match="byte for byte"):
        measure.measure_file(path, [copy_other])
    with pytest.raises(NncompError, match="cannot be started"):
        measure.measure_file(path, [measure.command_compressor("absent", lambda a, b: ["/no/such/command"], lambda b, c: [])])


def test_a_command_s_memory_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"text")
    ballast = bytearray(b"x") * 300_000_000  # what this process has is not counted to the command
    (result,) = measure.measure_file(
        path, [measure.command_compressor("cp", lambda a, b: ["cp", a, b], lambda b, c: ["cp", b, c])]
    )
    assert result.peak_bytes is not None
    assert 100_000 < result.peak_bytes < 100_000_000 < len(ballast)


_SLOW = """
import sys
from pathlib import Path
from nncomp.bench.measure import command_compressor
slow = ["sh", "-c", "echo $$ > started; exec sleep 600"]
command_compressor("slow", lambda _from, _to: slow, lambda _from, _to: slow).measure(Path("raw"), Path("."))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_measured_ends_with_the_measurement(tmp_path: Path, number: signal.Signals) -> None:
    """The signal is sent to the measuring process alone, as kill does and a terminal does not."""
    (tmp_path / "raw").write_bytes(b"a text")
    os.mkfifo(tmp_path / "started")
    begin = "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
    run = [sys.executable, "-c", begin + _SLOW]
    with subprocess.Popen(run, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as process:
        started = int((tmp_path / "started").read_text())
        process.send_signal(number)
        assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    deadline = time.monotonic() + 60  # the system may take a moment to forget an ended process
    while Path(f"/proc/{started}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_told_of_the_processor(tmp_path: Path) -> None:
    """Instructions that the network's products can be made of, and data caches as Linux tells them, if it does."""
    here = machine.this_machine()
    assert {f"+{name}" for name in here["instructions"]} <= processor.features() and here["kind"] == processor.name()
    told = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"), ("3", "Unified", "?")]
    for number, (level, kind, size) in enumerate(told):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n", encoding="ascii")
    assert machine.caches(tmp_path) == {"L1": 48, "L2": 1024}
    assert machine.caches(tmp_path / "none") == {}


def test_bench_imports_nothing_from_the_current_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a text, a text, and once more a text\n")
    (tmp_path / "platform.py").write_text("raise SystemExit('not what was meant')\n")
    assert run("bench", "--no-others", "--model", "none", "a").returncode == 0


def test_what_is_done_once_on_a_machine_counts_for_no_file() -> None:
    seen: list[bytes] = []

    def look(path: Path, folder: Path) -> Result:
        seen.append(path.read_bytes())
        return Result("x", 1, 1, 0, 1.0, 1.0, None)

    measure.warm_up(measure.Compressor("x", look))
    assert len(seen) == 1 and seen[0]


def test_folders_are_expanded_and_missing_paths_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "sub/c"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in measure.expand([tmp_path])] == ["a", "b", "c"]
    with pytest.raises(DataError, match="no file or folder"):
        list(measure.expand([tmp_path / "missing"]))


def test_the_command_prints_a_table(run: Run, tmp_path: Path, english: bytes) -> None:
    (tmp_path / "text").write_bytes(english[:4_000])
    table = run("bench", "text")
    assert table.returncode == 0, table.stderr
    lines = table.stdout.decode().splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    assert lines[0] == "text: 4,000 bytes"
    for name in ("nncomp", "gzip -9", "bzip2 -9", "xz -9e"):
        assert any(line.startswith(name) for line in lines)


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
@pytest.mark.parametrize(
    "cpu", ["", "M", "Intel(R) Xeon(R) Processor", "Prozessor für große Züge 処理装置", "word " * 30, "x" * 400]
)
def test_no_note_is_wider_than_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cpu: str, columns: int
) -> None:
    monkeypatch.setattr("nncomp.bench.machine._cpu", lambda: cpu)
    monkeypatch.setenv("COLUMNS", str(columns))
    sizes = enumerate(["nncomp -5", "7z PPMd", "xz -9e"])
    results = [Result(name, 1000, 100 + place, 0, 1.0 + place, 9.0 - place, None) for place, name in sizes]
    _print_notes(Measured("all", results, None), has_model=True, is_on_cluster=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= columns, lines
    said = "".join(lines).replace(" ", "")
    assert cpu.replace(" ", "") in said and f"nncomp{__version__}." in said
    assert cpu or f"byteforbyte.{os.cpu_count()}core" in said


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
def test_no_figure_is_cut_on_a_narrow_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    big = Result("brotli -q 11", 999_999_999, 123_456_789, 0, 1000.0, 100.0, 123_000_000)
    _print_results(Measured("all", [Result("nncomp -5", 999_999_999, 98_765_432, 7_654_321, 9.0, 9.0, None), big], None))
    said = capsys.readouterr().out.split()
    assert {"bytes", "123,456,789", "8.100", "0.988", "0.851", "111,111", "10,000", "123"} <= set(said), said
    assert "…" not in "".join(said)


def test_a_picture_takes_any_file_name() -> None:
    pytest.importorskip("matplotlib")
    result = Result("nncomp -5", 1000, 200, 0, 9.0, 9.0, None)
    for name in ("文書", os.fsdecode(b"\xfftext")):
        sink = io.BytesIO()
        _draw(Sink(sink, "a.svg"), [Measured(name, [result], None)], Measured("all", [result], None), "a.svg")
        assert b"<svg" in sink.getvalue()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run, tmp_path: Path) -> Callable[..., str]:
    """Return a function that measures files of the test's folder without processes and returns what is printed.

    What nncomp compresses it decompresses here; beside it is gzip. The commands themselves are measured by
    test_the_command_prints_a_table and by tests/test_json.py.
    """

    def ours(model: str, model_bytes: int, workers: int, level: int) -> measure.Compressor:
        chosen = None if model == "none" else model
        return measure.function_compressor(
            f"nncomp -{level}",
            lambda data: nncomp.compress(data, level=level, model=chosen),
            lambda data: nncomp.decompress(data, model=chosen),
        )

    def bound_bits(path: Path, model: str, workers: int) -> float:
        result = run("entropy", "--json", "-q", "--model", model, path.name)
        return float(json.loads(result.stdout)["bound_bits"])

    def call(*names: str, **options: Any) -> str:
        usual = Asked(False, 0, STANDARD, "none", True, False, None, None, False)
        run_bench(list(names), replace(usual, **options))
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "nncomp_compressor", ours)
    monkeypatch.setattr(measure, "bound_bits", bound_bits)
    gzip_ = measure.function_compressor("gzip -9", gzip.compress, gzip.decompress)
    monkeypatch.setattr(bench_command, "peers", lambda: [gzip_])
    return call


def test_a_bench_of_nothing_is_exit_1(run: Run) -> None:
    result = run("bench", "missing")
    assert result.returncode == 1
    assert b"There is no file or folder missing" in result.stderr


def test_what_fails_is_said_and_the_others_are_measured(run: Run, tmp_path: Path) -> None:
    """Without any that is measured there is no picture, and the document is there."""
    (tmp_path / "a").write_bytes(b"a text, and the same text again, " * 9)
    plain = ["bench", "--no-others", "--model", "none"]
    result = run(*plain, "--json", "missing", "a")
    assert result.returncode == 1
    assert [each["file"] for each in json.loads(result.stdout)["files"]] == ["a"]
    assert result.stderr.startswith(b"nncomp: There is no file or folder missing; ")
    result = run(*plain, "--json", "--plot", "a.svg", "missing")
    assert (result.returncode, json.loads(result.stdout)["total"], (tmp_path / "a.svg").exists()) == (1, [], False)
    result = run(*plain, "--plot", "a.foo", "a")
    assert (result.returncode, b"is not the name of a picture" in result.stderr) == (2, True)


def test_the_command_goes_on_after_what_does_not_come_back(
    bench: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("bad", "good"):
        (tmp_path / name).write_bytes(name.encode())
    broken = measure.function_compressor("odd", bytes, lambda packed: packed.replace(b"bad", b""))
    monkeypatch.setattr(bench_command, "peers", lambda: [broken])
    with pytest.raises(SystemExit, match="1"):
        bench("bad", "good")
    said = capsys.readouterr()
    assert said.err == "nncomp: bad: odd did not bring bad back byte for byte; nothing is reported for it.\n"
    assert said.out.startswith("good: 4 bytes\n") and "bad" not in said.out


def test_the_front_and_the_ranking() -> None:
    def result(name: str, packed_bytes: int, seconds: float) -> Result:
        return Result(name, 1000, packed_bytes, 0, seconds, 1.0, None)

    results = [result("slow", 300, 9.0), result("quick", 400, 1.0), result("beaten", 400, 2.0), result("small", 200, 9.0)]
    ahead = measure.front(results, lambda each: each.compress_kb_per_s)
    assert [each.compressor for each in ahead] == ["quick", "small"]
    assert [each.compressor for each in measure.ranked(results)] == ["small", "slow", "quick", "beaten"]
    twins = [result("one", 1, 1.0), result("two", 1, 1.0)]
    assert measure.front(twins, lambda each: each.compress_kb_per_s) == twins, "neither is better"


def test_a_file_that_was_trained_on_is_marked(bench: Callable[..., str], tmp_path: Path) -> None:
    model = small_model()
    (tmp_path / "seen").write_bytes(b"a document of the training\n" * 20)
    (tmp_path / "other").write_bytes(b"a document of somebody else\n" * 20)
    digests = training_corpus.find_corpus(str(tmp_path / "seen")).short_digests()
    save_model(replace(model, extra={**model.extra, TRAINED_ON: digests}), tmp_path / "own.safetensors")
    said = bench("seen", "other", model="own.safetensors")
    assert "seen (the model was trained on it): 540 bytes" in said
    assert "other: 560 bytes" in said
    document = json.loads(bench("seen", "other", model="own.safetensors", is_json=True))
    assert [each["trained_on"] for each in document["files"]] == [True, False]


def test_the_bound_the_gap_and_a_picture(bench: Callable[..., str], run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "a").write_bytes(b"a text, and the same text again, " * 40)
    (tmp_path / "b").write_bytes(b"some other text, and some other text, " * 40)
    lines = bench("a", "b", with_bound=True, plot="front.svg").splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    assert sum(line.startswith("bound ") for line in lines) == 3, "each file, and all"
    assert sum(line.startswith("gap: nncomp is ") for line in lines) == 3
    assert [line.split()[0] for line in lines if line.strip().startswith(("in:", "out:"))] == ["in:", "out:"]
    assert b"<svg" in (tmp_path / "front.svg").read_bytes()
    document = json.loads(bench("a", with_bound=True, with_others=False, is_json=True))
    (row,) = document["files"]
    (ours,) = row["results"]
    assert ours["compressor"] == "nncomp -5"
    assert 0 < row["bound_bits"] <= 8 * ours["packed_bytes"]
    assert document["bound_bits"] == row["bound_bits"]
    again = run("bench", "--no-others", "--model", "none", "--plot", "front.svg", "a")
    assert again.returncode == 1
    assert b"front.svg already exists" in again.stderr


def test_a_picture_of_results() -> None:
    pytest.importorskip("matplotlib")
    results = [Result("nncomp", 1000, 200, 0, 9.0, 9.0, None), Result("other $a$", 1000, 300, 0, 0.1, 0.01, None)]
    for bound in (None, 1.5):
        picture = front.draw("a $title$", results, bound, "svg")
        assert picture == front.draw("a $title$", results, bound, "svg")
        assert (b"bound" in picture) == (bound is not None) or b"<path" in picture
    assert front.draw("a", results, None, "png").startswith(b"\x89PNG")
