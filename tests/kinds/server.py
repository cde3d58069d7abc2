"""A process that has nncomp loaded and forks for each command: `python -m tests.kinds.server SOCKET MORE`.

A request is one message with the descriptors of the command. The answers are the process number, and later how it ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

MESSAGE_BYTES = 1 << 16
_FREE = 200  # descriptors of a command are moved above this number, and back into their places


def load(more: str) -> None:
    """Import what commands use, and load the compiled functions of mixing on bytes; with "models" all of them, with "training"
    import what `nncomp train` uses."""
    import concurrent.futures  # noqa: F401 (a command as another user may not read them)
    import multiprocessing.connection
    import multiprocessing.popen_spawn_posix
    import multiprocessing.resource_tracker  # noqa: F401

    import typer.main

    import nncomp
    from nncomp.cli import entropy_command, inputs, listing, main, model_choice, plain, transfer, typer_app, works  # noqa: F401
    from nncomp.entropy import gap, report  # noqa: F401
    from nncomp.network import registry

    # Typer makes all commands anew for each run, of the same functions: half the time of a small command.
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(typer_app.typer_app())
    registry.installed_models()  # their hashes are remembered
    text = b"what a command does with a text, what a text does with a command\n" * 20
    assert nncomp.decompress(nncomp.compress(text, model=None)) == text
    if more == "models" and registry.shipped_path("default").exists():
        assert nncomp.decompress(nncomp.compress(text)) == text
    if more == "training":
        from nncomp.training import restore, whole_run  # noqa: F401


def run(request: dict[str, Any], given: list[int]) -> NoReturn:
    """Become the command that a request asks for."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, _FREE) for each in given]
    os.closerange(0, _FREE)
    for place, each in zip(request["places"], moved, strict=True):
        os.dup2(each, place)
    os.closerange(_FREE, 2 * _FREE)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    for name in request["without"]:
        os.environ.pop(name, None)
    os.umask(request["umask"])
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if request["user"]:
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    sys.argv = ["nncomp", *request["arguments"]]
    places = request["places"]
    sys.stdin = open(0, encoding="utf-8") if 0 in places else None  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8") if 1 in places else None  # noqa: SIM115
    sys.stderr = (
        open(2, "w", 1, encoding="utf-8", errors="backslashreplace") if 2 in places else None  # noqa: SIM115
    )
    code: Any = 99
    try:
        from nncomp.cli.main import main

        if request["fault"]:
            call, number, error = request["fault"]
            ctypes.CDLL(None).nncomp_arm(call.encode(), number, error)
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    if request["fault"]:
        library = ctypes.CDLL(None)
        calls = library.nncomp_calls()
        library.nncomp_arm(b"", 0, 0)
        with open(request["told"], "w", encoding="utf-8") as told:  # noqa: PTH123
            told.write(str(calls))
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        code = 120  # as an interpreter ends
    os._exit(code)


def serve(path: str, more: str) -> None:
    """Answer requests until standard input ends."""
    # What is loaded may hold descriptors (a mapped model does) and close them in a command: they are none of the command's.
    low = [os.open(os.devnull, os.O_RDONLY) for _ in range(2 * _FREE)]
    load(more)
    for descriptor in low:
        os.close(descriptor)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for each in (listening, woken, sys.stdin):
            selector.register(each, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    for process in running:
                        with suppress(OSError):
                            os.killpg(process, signal.SIGKILL)
                    return
                if key.fileobj is listening:
                    connection = listening.accept()[0]
                    message, given, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 16)
                    process = os.fork()
                    if not process:
                        run(json.loads(message), given)
                    for each in given:
                        os.close(each)
                    running[process] = connection
                    connection.sendall(b"%d\n" % process)
                else:
                    os.read(woken, 4096)
            while running:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    break
                with running.pop(process) as connection, suppress(OSError):
                    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve(*sys.argv[1:])
