"""The limit on memory: refused before anything is taken, with the amount; and the stated amount is what processes take."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nncomp.blocks import memory
from nncomp.blocks.levels import STANDARD, level, lines_log2
from nncomp.blocks.memory import MB, Memory, coding_bytes, decoding_bytes
from nncomp.errors import MemoryLimitError
from nncomp.format.frames import Block, CopyList, FrameWriter, checksum
from nncomp.format.numbers import SPLIT_BYTES, BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.network.registry import installed_model, open_model
from tests.conftest import ROOT, Run, environment
from tests.golden.models import SMALL, model_bytes
from tests.test_page_facts import table

needs_model = pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")
NOT_COMPILED = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


def tree(pid: int) -> list[int]:
    """Return a process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [pid, *(below for child in children.read_text().split() for below in tree(int(child)))]
    except OSError:
        return []


def peak_bytes(*arguments: str, folder: Path) -> int:
    """Run a command; return the sum of the most memory that each of its processes had."""
    process = subprocess.Popen([sys.executable, "-m", "nncomp", *arguments], cwd=folder, env=environment())
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in tree(process.pid):
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            except OSError:
                continue
            if found:
                peaks[pid] = max(peaks.get(pid, 0), 1024 * int(found[1]))
        time.sleep(0.02)
    assert process.returncode == 0
    return sum(peaks.values())


def needed(message: str) -> int:
    found = re.search(r"--memory-limit (\d+)M", message)
    assert found, message
    return int(found[1]) * 1_000_000


@needs_model
@NOT_COMPILED
@pytest.mark.parametrize(("model", "times"), [("none", 4), ("default", 3)])
def test_what_is_stated_is_taken_at_most(run: Run, tmp_path: Path, english: bytes, model: str, times: int) -> None:
    """Both ways, on 150 KB, which touch all of the tables; a limit one MB below what is stated refuses, one there works.

    A small file needs no second process, so what is stated may be some `times` what is taken.
    """
    text = tmp_path / "text"
    text.write_bytes((english * 8)[:150_000])
    for command, name in (("compress", "text"), ("test", "text.nnc")):
        result = run(command, "--model", model, "-T", "1", "--memory-limit", "1M", name)
        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        amount = needed(result.stderr.decode())
        assert run(command, "--model", model, "-T", "1", "--memory-limit", f"{amount - 1_000_000}", name).returncode == 1
        limit = f"{amount // 1_000_000}M"
        arguments = [command, "-q", "--model", model, "-T", "1", "--memory-limit", limit, name]
        taken = peak_bytes(*arguments, folder=tmp_path)
        assert taken <= amount <= times * taken, (command, model, taken, amount)
    assert run("decompress", "-c", "--memory-limit", "1M", "text.nnc").stdout == b""
    assert run("cat", "--memory-limit", "1M", "--range", "5:10", "text.nnc").returncode == 1


def test_each_claim_is_counted() -> None:
    model, most = installed_model("default"), SPLIT_BYTES - 1
    lines = [decoding_bytes(3, 1000, bytes([0, bits, 0]), 500, None) for bits in (8, 22, 255)]
    assert lines[1] - lines[0] == 72 * ((1 << 22) - (1 << 8))
    assert lines[2] == lines[1], "what is out of bounds is refused by its decoder"
    for kind in range(4):
        assert decoding_bytes(kind, most, b"\0\x16\0", most, model) < 800_000_000
        assert decoding_bytes(kind, 0, b"", 0, None) < decoding_bytes(kind, most, b"\0\x16\0", most, None)
    assert coding_bytes(most, None) < 360_000_000


def test_a_limit_takes_workers_away_before_it_refuses() -> None:
    model = installed_model("default")
    most = [Memory(limit).workers(16, model, is_coding=False) for limit in (10**6, 10**9, 4 * 10**9, None)]
    assert most[0] == 1
    assert 1 <= most[1] < most[2] <= most[3] == 16
    counts = [Memory(8 * 10**9).workers(16, model, is_coding=False, has_reference=given) for given in (False, True)]
    assert counts[1] < counts[0], "a block may have a primer, and tables of its own for it"


def test_without_a_limit_only_a_very_large_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(130_000_000)
    block = Block(3, 1000, b"\0\x08\0" + bytes(400), bytes(8), True)
    Memory().check_decoding(block, installed_model("default"))
    large = open_model(path)
    with pytest.raises(MemoryLimitError, match="the limit is 1,200 MB"):
        Memory().check_decoding(block, large)
    Memory(2 * 10**9).check_decoding(block, large)


@pytest.mark.parametrize("size", ["5", "500M", "2g", "1GiB", "4KB", "7B", "1T"])
def test_sizes(run: Run, tmp_path: Path, size: str) -> None:
    from nncomp.cli.inputs import parse_memory

    limit = parse_memory(size).limit_bytes
    assert limit == {"5": 5, "500M": 500_000_000, "2g": 2 * 10**9, "1GiB": 1 << 30, "4KB": 4000, "7B": 7, "1T": 10**12}[size]


def test_wrong_sizes(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "a.nnc").open("wb") as file:
        FrameWriter(file).write(Block(0, 4, b"text", checksum(b"text"), True))
    for size in ("", "much", "-5M", "5P", "1.5G"):
        assert run("test", "--memory-limit", size, "a.nnc").returncode == 2
    assert run("test", "--memory-limit", "300M", "a.nnc").returncode == 0


@pytest.mark.parametrize(
    ("levels", "name"), [("-1 to -3", "fast"), ("-4, -5", "default"), ("-6 to -9", "max"), ("`--model none`", "none")]
)
def test_the_readme_says_what_a_level_takes(levels: str, name: str) -> None:
    """At most so much, and not far more: for the largest block, and for each further core."""
    rows = (ROOT / "README.md").read_text(encoding="utf-8").split("| level | compress | decompress | each further core")[1]
    (row,) = (line for line in rows.splitlines() if line.startswith(f"| {levels} |"))
    said = [int(figure.replace(",", "")) * 1_000_000 for figure in re.findall(r"([\d,]+) MB", row)]
    model, most = None if name == "none" else open_model(name), SPLIT_BYTES - 1
    numbers = [int(number) for number in re.findall(r"-(\d)", levels)] or [STANDARD]
    effort = level(numbers[0]).effort
    lines = {lines_log2(most, level(number).effort.max_lines_log2) for number in range(numbers[0], numbers[-1] + 1)}
    head = TokensHead(0, lines.pop()).pack()
    assert not lines
    coding = coding_bytes(most, model, effort)
    decoding = max(decoding_bytes(kind, most, head, most, model) for kind in ((2, 3) if model else (2,)))
    command, worker = memory._COMMAND_BYTES, memory._WORKER_BYTES
    needed = [command + memory._FINDER_BYTES + worker + coding, command + worker + decoding, worker + coding, worker + decoding]
    assert all(least <= figure <= 1.15 * least for figure, least in zip(said, needed, strict=True)), (said, needed)


def test_the_figures_of_the_page(tmp_path: Path) -> None:
    """docs/RELIABILITY.md has the terms that the limit is computed from."""
    page = " ".join((ROOT / "docs/RELIABILITY.md").read_text(encoding="utf-8").split())
    pattern = r"is (\d+) MB for its processes, (\d+) bytes a literal, (\d+) bytes a payload byte, (\d+) MB if it has copies"
    processes, a_raw, a_payload, a_list = (int(number) for number in re.findall(pattern, page)[0])
    nothing = Block(BlockKind.STORED, 0, b"", b"", True)
    Memory(processes * MB).check_decoding(nothing, None)
    with pytest.raises(MemoryLimitError):
        Memory(processes * MB - 1).check_decoding(nothing, None)
    copied = replace(nothing, copies=CopyList(BlockKind.STORED, 32, 4, bytes(4)))
    Memory((processes + a_list) * MB).check_decoding(copied, None)
    with pytest.raises(MemoryLimitError):
        Memory((processes + a_list) * MB - 1).check_decoding(copied, None)
    (tmp_path / "m.safetensors").write_bytes(model_bytes(SMALL))
    model, raw, payload = open_model(tmp_path / "m.safetensors"), 5_000_000, 1_000_000
    rows = {row[0]: [int(number) for number in re.findall(r"\d+", row[1])] for row in table("docs/RELIABILITY.md", "| kind |")}
    assert set(rows) == {kind.name.lower() for kind in BlockKind}
    for kind in BlockKind:
        mb, *more = rows[kind.name.lower()]
        taken = decoding_bytes(kind, raw, TokensHead(2, 15).pack(), payload, model) - a_raw * raw - a_payload * payload
        if more:
            a_line, a_raw_byte, a_model_byte = more
            taken -= (a_line << 15) + a_raw_byte * raw + a_model_byte * model.size_bytes
        assert -(-taken // MB) == mb
