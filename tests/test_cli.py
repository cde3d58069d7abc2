"""The command as a person runs it: `python -m nncomp` in a process of its own, on real files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checks import faults
from nncomp.format.frames import Block, ModelReference, checksum
from tests.blocks import BLOCK_BYTES, frame, stored, stored_block
from tests.conftest import Run, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and signals are those of POSIX")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_text_there_and_back(run_anew: Run, tmp_path: Path, english: bytes) -> None:
    source = tmp_path / "text.txt"
    source.write_bytes(english)
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 123_456_789))
    result = run_anew("compress", "-v", "text.txt")
    assert result.returncode == 0, result.stderr
    said = result.stderr.decode()
    assert result.stdout == b""
    for part in ("text.txt: 20,000 -> ", "ratio", "bpb; cross-entropy", "bpb, overhead ", "1 block (", "model: "):
        assert part in said
    packed = tmp_path / "text.txt.nnc"
    assert packed.stat().st_size < 10_000
    assert packed.stat().st_mode & 0o777 == 0o640
    assert packed.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert run_anew("test", "text.txt.nnc").returncode == 0
    assert run_anew("decompress", "-o", "back.txt", "text.txt.nnc").returncode == 0
    back = tmp_path / "back.txt"
    assert back.read_bytes() == english
    assert back.stat().st_mode & 0o777 == 0o640
    assert back.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert names(tmp_path) == {"text.txt", "text.txt.nnc", "back.txt"}


def test_a_pipe_there_and_back(run_anew: Run, tmp_path: Path) -> None:
    packed = run_anew("compress", "-q", "-", stdin=b"through a pipe, through a pipe")
    assert packed.returncode == 0
    assert packed.stderr == b""
    back = run_anew("decompress", "-q", "-", stdin=packed.stdout)
    assert (back.returncode, back.stdout, back.stderr) == (0, b"through a pipe, through a pipe", b"")
    assert names(tmp_path) == set()


def test_several_files_go_on_after_a_failure(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    result = run("compress", "a", "missing", "b")
    assert result.returncode == 1
    assert b"nncomp: missing: The file cannot be read: No such file or directory." in result.stderr
    assert names(tmp_path) == {"a", "b", "a.nnc", "b.nnc"}
    both = run("decompress", "-c", "-q", "a.nnc", "b.nnc")
    assert (both.returncode, both.stdout) == (0, b"ab")


def test_concatenated_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ab.nnc").write_bytes(stored(b"first ") + stored(b"second"))
    assert run("decompress", "ab.nnc").returncode == 0
    assert (tmp_path / "ab").read_bytes() == b"first second"


def wait_for_end(group: int) -> bool:
    """Return whether all processes of a group end within a minute: Python's own helper ends a moment after the rest."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_it_overwrites_only_when_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"new"))
    (tmp_path / "a").write_bytes(b"old")
    result = run("decompress", "a.nnc")
    assert result.returncode == 1
    assert b"a already exists. Overwrite it with -f" in result.stderr
    assert (tmp_path / "a").read_bytes() == b"old"
    assert run("decompress", "-f", "a.nnc").returncode == 0
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == {"a", "a.nnc"}


def test_it_never_overwrites_its_source(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    result = run("decompress", "-f", "a.nnc", "-o", "a.nnc")
    assert result.returncode == 1
    assert (tmp_path / "a.nnc").read_bytes() == stored(b"text")


def test_a_link_stays_a_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to("target")
    assert run("decompress", "-f", "a.nnc", "-o", "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"text"


def test_a_device_is_written_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    assert run("decompress", "a.nnc", "-o", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()


DAMAGED = {
    "truncated": (stored(b"some text")[:-1], "truncated"),
    "altered": (stored(b"some text")[:-1] + b"T", "checksum"),
    "empty": (b"", "empty"),
    "text": (b"some text, not compressed", "not a .nnc file"),
    "version": (b"\xd6\x1b\xa4\xe3\x90", "format version 9"),
    "lying size": (b"\xd6\x1b\xa4\xe3\x10\x80\xff\xff\xff\xff\xff\x0f", "claims"),
    "unknown kind": (b"\xd6\x1b\xa4\xe3\x10\x87\x03\x01" + bytes(9), "kind 7"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_bad_file_is_one_sentence_and_no_output(run: Run, tmp_path: Path, name: str) -> None:
    packed, sentence = DAMAGED[name]
    (tmp_path / "a.nnc").write_bytes(packed)
    for result in (run("decompress", "a.nnc"), run("test", "a.nnc")):
        assert result.returncode == 1
        said = result.stderr.decode()
        assert sentence in said
        assert said.startswith("nncomp: a.nnc: ")
        assert said.count("\n") == 1
    assert names(tmp_path) == {"a.nnc"}


def test_damage_late_in_a_file_leaves_no_output(run: Run, tmp_path: Path) -> None:
    packed = bytearray(stored(bytes(2 * BLOCK_BYTES + 600_000)))
    packed[-100] ^= 1
    (tmp_path / "a.nnc").write_bytes(packed)
    assert run("decompress", "-T", "2", "a.nnc").returncode == 1
    assert names(tmp_path) == {"a.nnc"}


def test_a_missing_model_is_an_error_before_any_output(run: Run, tmp_path: Path) -> None:
    last = Block(3, 3_000_000, b"coded by a network", checksum(b""), True)
    blocks = [stored_block(bytes(BLOCK_BYTES), False), last]
    (tmp_path / "a.nnc").write_bytes(frame(blocks, ModelReference(255, bytes(range(8))), b"whatever"))
    result = run("decompress", "-c", "a.nnc")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"0001020304050607" in result.stderr
    assert b"--model PATH" in result.stderr


def test_a_model_that_is_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    result = run("compress", "--model", "nowhere.safetensors", "a")
    assert result.returncode == 1
    assert b"There is no model nowhere.safetensors" in result.stderr
    assert names(tmp_path) == {"a"}


def test_what_cannot_be_read_or_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    for arguments, sentence in (
        (("compress", "folder"), "This is a folder"),
        (("compress", "missing"), "No such file"),
        (("decompress", "a.nnc", "-o", "folder"), "is a folder"),
        (("decompress", "a.nnc", "-o", "missing/a"), "cannot be written: No such file or directory"),
        (("decompress", "folder"), "This is a folder"),
    ):
        result = run(*arguments)
        assert result.returncode == 1
        assert sentence in result.stderr.decode()
    assert names(tmp_path) == {"folder", "a.nnc"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"text"))
    for unbuffered in ("", "1"):
        surroundings = environment() | {"PYTHONUNBUFFERED": unbuffered}
        for arguments in (["decompress", "a.nnc", "-c"], ["list", "a.nnc"], ["--help"]):
            command = [sys.executable, "-m", "nncomp", *arguments]
            with Path("/dev/full").open("wb") as full:
                result = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, env=surroundings, check=False)
            assert result.returncode == 1, result.stderr
            assert b"No space left on device" in result.stderr
            assert result.stderr.count(b"\n") == 1, result.stderr
    # The same for a file: a limit of 1 MB on what the process may write stands for the disk.
    (tmp_path / "large.nnc").write_bytes(stored(bytes(3_000_000)))
    limited = f"trap '' XFSZ; ulimit -f 1000; exec {sys.executable} -m nncomp decompress large.nnc"
    result = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, env=environment(), check=False)
    assert result.returncode == 1
    assert b"large cannot be written: File too large." in result.stderr
    # What is so small that it would wait in a buffer until the file is closed.
    (tmp_path / "b").write_bytes(random.Random(1).randbytes(3000))
    limited = f"trap '' XFSZ; ulimit -f 1; exec {sys.executable} -m nncomp compress --model none b"
    result = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, env=environment(), check=False)
    assert result.returncode == 1
    assert b"b.nnc cannot be written: File too large." in result.stderr
    assert names(tmp_path) == {"a.nnc", "large.nnc", "b"}


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(bytes(3_000_000)))
    pipe = f"{sys.executable} -m nncomp decompress -c a.nnc | head -c 1 | wc -c"
    result = subprocess.run(["bash", "-c", pipe], cwd=tmp_path, capture_output=True, env=environment(), check=False)
    assert (result.stdout.strip(), result.stderr) == (b"1", b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_stdout_gets_every_byte(tmp_path: Path, unbuffered: str) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "a.nnc").write_bytes(stored(data))
    command = [sys.executable, "-m", "nncomp", "decompress", "-q", "-c", "a.nnc"]
    surroundings = environment() | {"PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, env=surroundings, check=True)
    assert result.stdout == data


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 3), (signal.SIGTERM, 1)])
def test_an_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals, times: int) -> None:
    # With kernels ready there is no line about preparing them.
    ready = [sys.executable, "-m", "nncomp", "compress", "-q", "-c", "-"]
    subprocess.run(ready, input=b"ready " * 50, cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment(), check=True)
    (tmp_path / "a").write_bytes(bytes(byte & 31 | 64 for byte in os.urandom(8_000_000)))  # a block takes half a minute
    command = [sys.executable, "-m", "nncomp", "compress", "-T", "2", "a"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        # A test run in the background of a script inherits that Ctrl-C is ignored, and nncomp would honour it.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    place = faults.Place(tmp_path, b"", b"")
    while process.poll() is None and not (place.is_written(process) or place.leftovers()):
        time.sleep(0.05)
    time.sleep(1)  # the workers have begun, or will be when they are ended
    assert process.poll() is None
    sent_s = time.monotonic()
    for _ in range(times):  # a key that repeats
        os.killpg(process.pid, number)  # as a terminal does: to the command and to its workers
        time.sleep(0.005)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - sent_s < 20, "no block is waited for, also on a busy machine"
    assert process.returncode == 1 or (times > 1 and process.returncode == -number), "the last may come at the end of Python"
    assert b"Traceback" not in said
    assert said.count(b"\n") == 1
    assert names(tmp_path) == {"a"}
    assert wait_for_end(process.pid)


def test_list(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.nnc").write_bytes(stored(b"first") + stored(b"second", ModelReference(1, bytes(8))))
    table = run("list", "a.nnc").stdout.decode()
    assert all(len(line) <= 80 for line in table.splitlines())
    assert table == (
        "raw  packed  ratio     bpb  payload  frames  blocks     model    file\n"
        " 11      50   0.22  36.364    8.000       2  stored: 2  default  a.nnc\n"
        "payload: bpb without headers and checksums; nncomp entropy estimates the bound\n"
    )
    result = run("list", "--json", "a.nnc", "missing")
    assert result.returncode == 1
    (row,) = json.loads(result.stdout)["files"]
    assert row["frames"] == 2
    assert row["blocks"] == {"stored": 2}
    assert row["raw_bytes"] == 11
    assert row["packed_bytes"] == (tmp_path / "a.nnc").stat().st_size
    assert row["models"] == ["default 0000000000000000"]


@pytest.mark.parametrize(
    "arguments",
    [["compress", "a", "b", "-o", "c"], ["compress", "a", "-o", "b", "-c"], ["list", "--odd"], ["completion", "tcsh"]],
)
def test_wrong_use_is_exit_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    "command", ["compress", "decompress", "cat", "test", "list", "bench", "entropy", "train", "warmup", "completion"]
)
def test_each_command_has_help(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert b"--help" in result.stdout
    extra = {"entropy": b"nncomp[plot]", "train": b"nncomp[train]"}.get(command, b"")
    assert extra in result.stdout, "brackets are no markup"


def test_compressed_bytes_do_not_go_to_a_terminal(tmp_path: Path) -> None:
    import pty

    (tmp_path / "a").write_bytes(b"text")
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "nncomp", "compress", "-c", "a"]
        result = subprocess.run(command, cwd=tmp_path, stdout=theirs, stderr=subprocess.PIPE, env=environment(), check=False)
    finally:
        os.close(theirs)
        os.close(ours)
    assert result.returncode == 1
    assert b"not written to a terminal" in result.stderr


def test_list_at_any_width(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not fit stands above its figures, whole."""
    long = "a-name-that-says-in-some-detail-what-is-in-the-file-and-when.nnc"
    for name in (long, "b.nnc"):
        (tmp_path / name).write_bytes(stored(b"text"))
    above = run("list", long, "b.nnc").stdout.decode().splitlines()
    assert all(len(line) <= 80 for line in above)
    assert above[1::2] == [long, "b.nnc", above[5]]
    assert above[2] == above[4] == "  4      19   0.21  38.000    8.000  stored: 1  none"
    alone = run("list", "b.nnc").stdout.decode().splitlines()
    assert alone[1] == f"{above[2]}   b.nnc"


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
@pytest.mark.parametrize("encoding", ["", "utf-8", "ascii", "latin-1"])
def test_a_name_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """Bytes that are no UTF-8 come out quoted; letters that the output cannot have come out as escapes."""
    odd, japanese = b"\xff.nnc", "文.nnc".encode()
    for name in (odd, japanese):
        (tmp_path / os.fsdecode(name)).write_bytes(stored(b"text"))
    surroundings = environment() | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command: list[str | bytes] = [sys.executable, "-m", "nncomp", "list", odd, japanese]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, env=surroundings, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    is_utf8 = encoding in ("", "utf-8")
    assert b"$'\\xff.nnc'" in result.stdout
    assert (japanese if is_utf8 else b"\\u6587.nnc") in result.stdout


def test_the_payload_in_a_listing_is_the_running_estimate(run: Run, tmp_path: Path, english: bytes) -> None:
    (tmp_path / "text").write_bytes(english)
    said = run("compress", "--model", "none", "text").stderr.decode()
    estimate = float(said.split("cross-entropy ")[1].split()[0])
    (row,) = json.loads(run("list", "--json", "text.nnc").stdout)["files"]
    rounding = row["payload_bits_per_byte"] - estimate
    assert -0.001 < rounding <= 0.002 + 8 * 11 / len(english)
    assert row["payload_bits_per_byte"] == round(8 * row["payload_bytes"] / len(english), 4) < row["bits_per_byte"]
