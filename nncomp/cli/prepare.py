"""Object code for a wheel: `python -m nncomp.cli.prepare` compiles all kernels for each kind of processor of this platform.

A text is coded with each model to see with what types kernels are called. Then a process for each kind compiles them; a kind's
code is not run, so this machine need not be of the kind. `nncomp.machine.prepared` says where the result is.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from nncomp.cli.warmup_command import prepare_all
from nncomp.machine import kernel_cache, llvm, object_code, prepared, watch

Call = tuple[str, str, tuple[Any, ...]]  # module and name of a kernel, and arguments of the types that it is called with


def calls() -> list[Call]:
    """Return all calls of kernels whose code differs."""
    found = list[Call]()

    def note(kernel: Any, arguments: tuple[Any, ...]) -> None:
        found.append((kernel.__module__, kernel.__name__, object_code.emptied(arguments)))

    watch.on_loaded(note)
    prepare_all()
    watch.on_loaded(None)
    return found


def write_listed(listed: str, folder: str) -> None:
    """Compile for the pickled calls in a file, for the processor that the environment names; write files to a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for module, name, arguments in pickle.loads(Path(listed).read_bytes()):
        file_name, code = getattr(import_module(module), name).code_for(arguments)
        (Path(folder) / file_name).write_bytes(kernel_cache.packed(file_name, code))


def kinds() -> list[prepared.Kind]:
    """Return the kinds of processor of this platform."""
    return [kind for kind in prepared.KINDS if llvm.triple().startswith(f"{kind.machine}-")]


def write_all(folder: Path, found: list[Call], made: list[prepared.Kind]) -> None:
    """Write object code for each kind of processor to a folder of its label in `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary) / "calls"
        listed.write_bytes(pickle.dumps(found))
        for kind in made:
            named = {"NUMBA_CPU_NAME": kind.name, "NUMBA_CPU_FEATURES": kind.features, "XDG_CACHE_HOME": temporary}
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from nncomp.cli.prepare import write_listed; "
                f"write_listed({str(listed)!r}, {str(folder / kind.label)!r})"
            )
            subprocess.run([sys.executable, "-Pc", code], check=True, env=os.environ | named)


def main() -> None:
    """Make the folder of object code anew."""
    shutil.rmtree(prepared.FOLDER, ignore_errors=True)
    folder = prepared.source_folder()
    made = kinds()
    write_all(folder, calls(), made)
    size = sum(path.stat().st_size for path in folder.rglob("*.o"))
    print(f"{folder}: {', '.join(kind.label for kind in made) or 'no kind of this platform'}; {size:,} bytes")


if __name__ == "__main__":
    main()
