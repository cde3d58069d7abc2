"""What people know from gzip, xz and zstd, through the real command: stdout, stderr, exit status and what is in the folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nncomp.cli import file_options, transfer
from nncomp.cli.hashed import HashedSink
from nncomp.cli.sinks import open_sink
from nncomp.cli.sources import FOLDER, remove_source
from nncomp.errors import OutputError
from nncomp.format.frame_reader import BYTES_FOLLOW
from nncomp.format.frames import Readable, Writable
from nncomp.stream import pipeline
from nncomp.stream.pipeline import Summary
from nncomp.stream.tasks import finder
from tests.blocks import BLOCK_BYTES, stored
from tests.conftest import ROOT, Run, environment
from tests.test_cli import names

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes, terminals and shells are those of POSIX")

TEXT = b"What people know already, they need not learn.\n" * 4
NO_MODEL = "--model", "none"


@pytest.fixture(scope="module", autouse=True)
def _ready() -> None:
    """Prepare all kernels, so that nothing is said about it later."""
    command = [sys.executable, "-m", "nncomp", "-q"]
    subprocess.run(command, input=TEXT, stdout=subprocess.DEVNULL, env=environment(), check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a text and two compressed files."""
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "a.nnc").write_bytes(stored(b"first "))
    (tmp_path / "b.nnc").write_bytes(stored(b"second"))
    return tmp_path


def outcome(result: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes, bytes]:
    return result.returncode, result.stdout, result.stderr


def on_a_terminal(folder: Path, *arguments: str, stdin: bool = False) -> tuple[int, bytes, bytes]:
    """Run nncomp with a terminal as its stdin, or else as its stdout."""
    import pty

    ours, theirs = pty.openpty()
    try:
        result = subprocess.run(
            [sys.executable, "-m", "nncomp", *arguments],
            cwd=folder,
            stdin=theirs if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdin else theirs,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=600,
            check=False,
        )
        shown = b"" if stdin else _read(ours, theirs)
    finally:
        os.close(ours)
    return result.returncode, result.stdout or shown, result.stderr


def _read(ours: int, theirs: int) -> bytes:
    os.close(theirs)
    try:
        return os.read(ours, 10_000)
    except OSError:  # nothing was written, and the other end is closed
        return b""


def test_a_file_is_compressed_and_minus_d_brings_it_back(run: Run, folder: Path) -> None:
    (folder / "text").chmod(0o640)
    os.utime(folder / "text", ns=(10**18, 10**18 + 7))
    result = run(*NO_MODEL, "text")
    size = (folder / "text.nnc").stat().st_size
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr.startswith(f"text: {len(TEXT)} -> {size} bytes, ratio ".encode())
    assert result.stderr.count(b"\n") == 1
    assert outcome(run("-d", "text.nnc", "-o", "back")) == (0, b"", f"text.nnc: {len(TEXT)} bytes\n".encode())
    assert (folder / "back").read_bytes() == TEXT
    for name in ("text.nnc", "back"):  # both ways
        assert (folder / name).stat().st_mode & 0o777 == 0o640
        assert (folder / name).stat().st_mtime_ns == 10**18 + 7
    assert names(folder) == {"text", "text.nnc", "back", "a.nnc", "b.nnc"}


def test_a_file_that_is_named_like_a_command(run: Run, folder: Path) -> None:
    (folder / "list").write_bytes(b"")
    assert outcome(run("./list")) == (0, b"", b"./list: 0 -> 15 bytes\n")
    assert outcome(run("-f", "--", "list")) == (0, b"", b"list: 0 -> 15 bytes\n")
    assert (folder / "list.nnc").read_bytes() == stored(b"")
    said = b"nncomp: fold: The file cannot be read: No such file or directory.\n"
    assert outcome(run("fold")) == (1, b"", said)


def test_a_pipe_with_no_arguments(run: Run, folder: Path) -> None:
    packed = run(*NO_MODEL, stdin=TEXT)
    assert (packed.returncode, packed.stderr) == (0, b"")
    assert outcome(run("-d", stdin=packed.stdout)) == (0, TEXT, b"")
    assert outcome(run(stdin=b"")) == (0, stored(b""), b"")
    assert names(folder) == {"text", "a.nnc", "b.nnc"}


def test_a_pipe_says_what_came_out_when_asked(run: Run) -> None:
    result = run("-dv", stdin=stored(b"text"))
    assert outcome(result) == (0, b"text", b"-: 4 bytes\n-: 1 block (stored: 1)\n")


def test_cat(run: Run, folder: Path) -> None:
    assert outcome(run("cat", "a.nnc", "b.nnc")) == (0, b"first second", b"")
    assert outcome(run("cat", "a.nnc", "-", stdin=stored(b"piped"))) == (0, b"first piped", b"")
    assert outcome(run("cat", stdin=stored(b"piped") + stored(b" twice"))) == (0, b"piped twice", b"")
    assert outcome(run("-dc", "a.nnc", "b.nnc")) == (0, b"first second", b"")
    missing = b"nncomp: missing: The file cannot be read: No such file or directory.\n"
    assert outcome(run("cat", "a.nnc", "missing", "b.nnc")) == (1, b"first second", missing)
    assert names(folder) == {"text", "a.nnc", "b.nnc"}


def test_test_and_list(run: Run, folder: Path) -> None:
    assert outcome(run("-t", "a.nnc", "b.nnc")) == (0, b"", b"a.nnc: whole, 6 bytes\nb.nnc: whole, 6 bytes\n")
    assert outcome(run("-tq", stdin=stored(b"piped"))) == (0, b"", b"")
    (folder / "a.nnc").write_bytes(stored(b"first ")[:-1] + b"!")
    result = run("-t", "a.nnc")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"nncomp: a.nnc: A block decodes to other bytes")
    result = run("-l", "b.nnc")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"stored: 1" in result.stdout


def test_keep_and_rm(run: Run, folder: Path) -> None:
    assert run("-q", *NO_MODEL, "--rm", "-k", "text").returncode == 0
    assert names(folder) == {"text", "text.nnc", "a.nnc", "b.nnc"}
    result = run("-f", *NO_MODEL, "--rm", "text")
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr.endswith(b"; verified\n")
    assert names(folder) == {"text.nnc", "a.nnc", "b.nnc"}
    assert outcome(run("-d", "--rm", "text.nnc", "a.nnc")) == (0, b"", b"text.nnc: 188 bytes\na.nnc: 6 bytes\n")
    assert names(folder) == {"text", "a", "b.nnc"}
    assert (folder / "text").read_bytes() == TEXT


def test_rm_keeps_what_has_no_result(run: Run, folder: Path) -> None:
    (folder / "text.nnc").write_bytes(b"something else")
    result = run(*NO_MODEL, "--rm", "text")
    assert outcome(result)[:2] == (1, b"")
    assert b"text.nnc already exists" in result.stderr
    for target in ("-c", "-o-"):
        result = run("--rm", target, "text")
        assert (result.returncode, result.stdout) == (2, b"")
        assert b"--rm needs a result in a file" in result.stderr
    result = run("--rm", "-o", "/dev/null", "text")
    assert outcome(result) == (
        1,
        b"",
        b"nncomp: text: /dev/null cannot be read back and compared. Leave out --rm and --verify.\n",
    )
    result = run("--rm", "-o", "out", "-", stdin=TEXT)
    assert outcome(result) == (1, b"", b"nncomp: -: The input is not a regular file, so it cannot be removed. Leave out --rm.\n")
    (folder / "a.nnc").write_bytes(stored(b"first ")[:-1])
    assert run("-d", "--rm", "a.nnc").returncode == 1
    assert names(folder) == {"text", "text.nnc", "a.nnc", "b.nnc"}


def test_verify(run: Run, folder: Path) -> None:
    result = run(*NO_MODEL, "--verify", "text")
    assert result.returncode == 0
    assert result.stderr.endswith(b"; verified\n")
    result = run(*NO_MODEL, "--verify", "-o", "piped.nnc", "-", stdin=TEXT)
    assert result.returncode == 0
    assert (folder / "piped.nnc").read_bytes() == (folder / "text.nnc").read_bytes()


@pytest.mark.parametrize("written", [stored(b"other bytes"), stored(TEXT)[:-1], b""])
def test_what_does_not_come_back_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch, written: bytes) -> None:
    def compress(source: Readable, sink: Writable, *_: object, **_options: object) -> Summary:
        source.read(1 << 20)
        sink.write(written)
        return Summary()

    monkeypatch.setattr(pipeline, "compress", compress)
    options = file_options.Options(None, False, True, False, 0, is_verified=True, is_removed=True)
    with pytest.raises(OutputError, match="was read back and is wrong"):
        transfer.compress_file(str(folder / "text"), None, options)
    assert names(folder) == {"text", "a.nnc", "b.nnc"}


def test_a_decompressed_file_that_is_not_what_was_decoded_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Losing(HashedSink):
        def write(self, data: bytes) -> int:
            self._hash.update(b"lost on the way")
            return super().write(data)

    monkeypatch.setattr(transfer, "HashedSink", Losing)
    options = file_options.Options(None, False, True, False, 0, is_verified=True, is_removed=True)
    with pytest.raises(OutputError, match="was read back and is wrong"):
        transfer.decompress_file(str(folder / "a.nnc"), finder([]), options)
    assert names(folder) == {"text", "a.nnc", "b.nnc"}


def test_a_file_that_changed_meanwhile_is_not_removed(folder: Path) -> None:
    text = folder / "text"
    before = text.stat()
    with text.open("ab") as file:
        file.write(b"more")
    with pytest.raises(OutputError, match="changed while it was read"):
        remove_source(str(text), before)
    assert text.exists()
    with pytest.raises(OutputError, match="cannot be removed"):
        remove_source(str(folder / "missing"), before)


def test_written_bytes_can_be_read_before_they_have_their_name(folder: Path) -> None:
    with open_sink(str(folder / "out"), False, None) as sink:
        sink.write(b"text")
        assert not (folder / "out").exists()
        with sink.written() as stream:
            assert stream.read() == b"text"


def test_folders(run: Run, folder: Path) -> None:
    (folder / "d" / "e").mkdir(parents=True)
    for name in ("d/z", "d/e/y"):
        (folder / name).write_bytes(b"")
    (folder / "d" / "done.nnc").write_bytes(stored(b"done"))
    (folder / "d" / ".nncomp-x.part").write_bytes(b"left behind")
    (folder / "d" / "link").symlink_to(folder / "text")
    (folder / "d" / "circle").symlink_to(folder / "d")
    assert outcome(run("d")) == (1, b"", f"nncomp: d: {FOLDER}\n".encode())
    assert outcome(run("-r", "d")) == (0, b"", b"d/z: 0 -> 15 bytes\nd/e/y: 0 -> 15 bytes\n")
    assert names(folder / "d") == {"z", "z.nnc", "done.nnc", ".nncomp-x.part", "link", "circle", "e"}
    assert names(folder / "d" / "e") == {"y", "y.nnc"}
    said = b"a.nnc: whole, 6 bytes\nd/done.nnc: whole, 4 bytes\nd/z.nnc: whole, 0 bytes\nd/e/y.nnc: whole, 0 bytes\n"
    assert outcome(run("-t", "-r", "a.nnc", "d")) == (0, b"", said)
    assert outcome(run("-rdf", "--rm", "-q", "d")) == (0, b"", b"")
    assert names(folder / "d") == {"z", "done", ".nncomp-x.part", "link", "circle", "e"}


def test_an_unreadable_folder_is_said(run: Run, folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "d").mkdir(0o000)
    assert outcome(run("-r", "d")) == (1, b"", b"nncomp: d: The file cannot be read: Permission denied.\n")


def test_the_size_of_blocks(run: Run, folder: Path) -> None:
    """-B and --block-size, in any order with a level; out of bounds it is wrong usage."""
    data = os.urandom(150_000)
    (folder / "large").write_bytes(data)
    for arguments in (("-1", "-B64Ki"), ("--block-size", "64Ki", "-1"), ("--block-size=65536",), ("compress", "-B", "65536")):
        assert run(*arguments, "-qf", "--model", "none", "large").returncode == 0
        assert json.loads(run("list", "--json", "large.nnc").stdout)["files"][0]["blocks"]["stored"] == 2
        assert run("-dc", "large.nnc").stdout == data
    for size, said in (("1", b"64Ki to 12Mi"), ("13Mi", b"64Ki to 12Mi"), ("many", b"is not a size")):
        result = run("-B", size, "-f", "large")
        assert result.returncode == 2 and said in b" ".join(result.stderr.split())


def test_a_range(run: Run, folder: Path) -> None:
    data = os.urandom(2 * BLOCK_BYTES + 600_000)
    packed = bytearray(stored(data))
    (folder / "large.nnc").write_bytes(packed)
    start, end = BLOCK_BYTES - 500, BLOCK_BYTES + 500
    assert outcome(run("cat", "--range", f"{start}:{end}", "large.nnc")) == (0, data[start:end], b"")
    assert outcome(run("cat", "--range", f"{start}:{end}", stdin=bytes(packed))) == (0, data[start:end], b"")
    assert outcome(run("-dc", "--range", f"{len(data) - 7}:", "large.nnc")) == (0, data[-7:], b"")
    said = b"large.nnc: 10 bytes\n"
    assert outcome(run("-d", "--range", ":10", "large.nnc", "-o", "ten")) == (0, b"", said)
    assert (folder / "ten").read_bytes() == data[:10]
    assert outcome(run("cat", "--range", "5:5", "large.nnc")) == (0, b"", b"")
    assert outcome(run("cat", "--range", f"{len(data) - 1}:{len(data) + 100}", "large.nnc")) == (0, data[-1:], b"")
    said = b"nncomp: large.nnc: The range begins at byte 99,999,999, but there are 2,697,152 bytes; give a smaller START.\n"
    assert outcome(run("cat", "--range", "99999999:", "large.nnc")) == (1, b"", said)
    # Only the block that is asked for is decoded: damage elsewhere is not seen.
    packed[100] ^= 1
    (folder / "large.nnc").write_bytes(packed)
    assert outcome(run("cat", "--range", f"{BLOCK_BYTES}:{end}", "large.nnc")) == (0, data[BLOCK_BYTES:end], b"")
    assert run("cat", "--range", "0:10", "large.nnc").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["cat", "--range", "5", "a.nnc"],
        ["cat", "--range", "5:4", "a.nnc"],
        ["cat", "--range", "-5:", "a.nnc"],
        ["cat", "--range", "0:1", "a.nnc", "b.nnc"],
        ["-d", "--range", "0:1", "a.nnc"],
        ["-d", "--range", "0:1", "--rm", "a.nnc", "-o", "b"],
        ["-d", "-c", "-o", "b", "a.nnc"],
        ["-d", "a.nnc", "b.nnc", "-o", "c"],
        ["-d", "-T", "many", "a.nnc"],
        ["-0", "text"],
        ["--odd", "text"],
        ["-d", "-o"],
    ],
)
def test_wrong_use_is_exit_2_and_writes_nothing(run: Run, folder: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr
    assert names(folder) == {"text", "a.nnc", "b.nnc"}


def test_threads_from_the_environment(folder: Path) -> None:
    command = [sys.executable, "-m", "nncomp", "-dc", "a.nnc"]
    for value, code in (("1", 0), ("many", 2), ("", 0)):
        surroundings = environment() | {"NNCOMP_THREADS": value}
        result = subprocess.run(command, cwd=folder, capture_output=True, env=surroundings, check=False)
        assert result.returncode == code
        assert (b"NNCOMP_THREADS" in result.stderr) == bool(code)


def test_a_terminal(folder: Path) -> None:
    refused = b"nncomp: text: Compressed data is not written to a terminal. Redirect standard output, or give a file with -o.\n"
    assert on_a_terminal(folder, "-c", "text") == (1, b"", refused)
    assert on_a_terminal(folder, "cat", "a.nnc") == (0, b"first ", b"")
    code, shown, said = on_a_terminal(folder, stdin=True)
    assert code == 2
    assert b"Usage: nncomp" in shown + said
    code, shown, said = on_a_terminal(folder, "-d", stdin=True)
    assert (code, shown) == (2, b"")
    assert b"nothing is piped in" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("- <&-", 1, b"nncomp: -: Standard input is closed. Give a file.\n"),
        ("-dc a.nnc >&-", 1, b"nncomp: a.nnc: Standard output is closed. Give a file with -o.\n"),
        ("-dc a.nnc missing 2>&-", 1, b""),
        ("-d a.nnc b.nnc <&- >&- 2>&-", 0, b""),
    ],
)
def test_closed_streams(folder: Path, arguments: str, code: int, said: bytes) -> None:
    command = f"{sys.executable} -m nncomp {arguments}"
    result = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, env=environment(), check=False)
    assert outcome(result) == (code, b"first " if "missing" in arguments else b"", said)


def shim(folder: Path) -> dict[str, str]:
    """Return an environment whose PATH has a `nncomp` that is this checkout's."""
    (folder / "bin").mkdir()
    (folder / "bin" / "nncomp").write_text(f'#!/bin/sh\nexec {sys.executable} -m nncomp "$@"\n')
    (folder / "bin" / "nncomp").chmod(0o755)
    return environment() | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(not shutil.which("tar"), reason="there is no tar")
@pytest.mark.parametrize("program", ["nncomp", "nncomp --model none -T 1"])
def test_tar(folder: Path, program: str) -> None:
    surroundings = shim(folder)
    (folder / "d").mkdir()
    (folder / "d" / "text").write_bytes(TEXT)
    for arguments in (
        ["-cf", "d.tar.nnc", f"--use-compress-program={program}", "d"],
        ["-xf", "d.tar.nnc", f"--use-compress-program={program}", "-C", "bin"],
    ):
        result = subprocess.run(["tar", *arguments], cwd=folder, capture_output=True, env=surroundings, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert (folder / "bin" / "d" / "text").read_bytes() == TEXT


@pytest.mark.skipif(not shutil.which("tar"), reason="there is no tar")
def test_tar_of_this_repository(folder: Path) -> None:
    """Some of its sources there and back; -1 and no network, for the test is about tar."""
    parts = "nncomp/plots", "share"
    program = "--use-compress-program=nncomp --model none -1"
    made = ["tar", "-C", str(ROOT), "--exclude=__pycache__", "-cf", str(folder / "r.tar.nnc"), program, *parts]
    (folder / "back").mkdir()
    for command in (made, ["tar", "-C", "back", "-xf", "r.tar.nnc", program]):
        result = subprocess.run(command, cwd=folder, capture_output=True, env=shim(folder), check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        shutil.rmtree(folder / "bin")
    for part in parts:
        for path in (ROOT / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (folder / "back" / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


def test_quiet_still_says_what_fails(run: Run, folder: Path) -> None:
    said = b"nncomp: missing.nnc: The file cannot be read: No such file or directory.\n"
    for option in ("-q", "-dq", "-tq"):
        assert outcome(run(option, "missing.nnc", *(["a.nnc"] if option == "-dq" else []))) == (1, b"", said)
    assert (folder / "a").read_bytes() == b"first "


def test_bytes_after_the_end_are_an_error(run: Run, folder: Path) -> None:
    (folder / "a.nnc").write_bytes(stored(b"first ") + b"garbage")
    said = f"nncomp: a.nnc: {BYTES_FOLLOW}\n".encode()
    for arguments in (["-t", "a.nnc"], ["-l", "a.nnc"]):
        assert outcome(run(*arguments)) == (1, b"", said)
    assert names(folder) == {"text", "a.nnc", "b.nnc"}
    assert outcome(run("-d", "a.nnc")) == (1, b"", b"a.nnc: 6 bytes\n" + said)  # the content comes first
    assert (folder / "a").read_bytes() == b"first "


def test_a_pipeline_of_the_shell(folder: Path) -> None:
    piped = "cat text | nncomp --model none | nncomp -d | cmp - text"
    result = subprocess.run(["sh", "-c", piped], cwd=folder, capture_output=True, env=shim(folder), check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(run: Run, folder: Path, shell: str) -> None:
    script = run("completion", shell)
    assert (script.returncode, script.stderr) == (0, b"")
    assert b"_NNCOMP_COMPLETE=complete_" + shell.encode() in script.stdout
    assert (b"loadautofunc ]]; then\n  _nncomp_completion" in script.stdout) == (shell == "zsh"), "the first TAB loads the script"
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} to read its script")
    (folder / "script").write_bytes(script.stdout)
    result = subprocess.run([shell, "-n", "script"], cwd=folder, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "nncomp com", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "nncomp com"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "nncomp com", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_is_told_what_the_words_could_become(folder: Path, shell: str, words: dict[str, str]) -> None:
    surroundings = environment() | words | {"_NNCOMP_COMPLETE": f"complete_{shell}"}
    command = [sys.executable, "-m", "nncomp"]
    result = subprocess.run(command, cwd=folder, capture_output=True, env=surroundings, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"compress" in result.stdout
    assert b"completion" in result.stdout
    assert b"decompress" not in result.stdout


def test_completion_in_a_real_bash(folder: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    script = (
        'eval "$(nncomp completion bash)"; complete -p nncomp; '
        'COMP_WORDS=(nncomp decomp); COMP_CWORD=1; _nncomp_completion nncomp; echo "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, env=shim(folder), check=False)
    said = b"complete -o default -F _nncomp_completion nncomp\ndecompress\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, said, b"")


@pytest.mark.parametrize(
    ("words", "told", "not_told"),
    [
        ("-", {"-k", "--output", "--version", "--level"}, {"compress"}),
        ("--mem", {"--memory-limit"}, {"--model"}),
        ("-d -", {"--recover", "-k"}, {"--level"}),
        ("-kd notes.txt.nnc --r", {"--rm", "--recover", "--range"}, {"--verify"}),
        ("notes.txt --le", {"--level"}, {"--recover"}),
        ("-T 2 -t --q", {"--quiet"}, {"--keep"}),
        ("train --sh", {"--shape"}, {"--model"}),
    ],
)
def test_completions_need_no_name_of_a_command(folder: Path, words: str, told: set[str], not_told: set[str]) -> None:
    asked = {"COMP_WORDS": f"nncomp {words}", "COMP_CWORD": str(len(words.split())), "_NNCOMP_COMPLETE": "complete_bash"}
    command = [sys.executable, "-m", "nncomp"]
    result = subprocess.run(command, cwd=folder, capture_output=True, env=environment() | asked, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    said = set(result.stdout.decode().split())
    assert told <= said and not said & not_told


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "-h"], ["-d", "-h"], ["cat", "-h"], ["completion", "-h"]])
def test_help_fits_80_columns(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, b"")
    assert all(len(line) <= 80 for line in result.stdout.decode().splitlines())
