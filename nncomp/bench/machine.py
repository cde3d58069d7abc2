"""What a figure of speed depends on: the processor, its caches and instructions, the operating system."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from nncomp.machine import processor

_INSTRUCTIONS = "avx2", "avxvnni", "avx512vnni", "amx-int8", "dotprod"  # those that products of the network are made of


def this_machine() -> dict[str, Any]:
    """Return the processor by its own name and by LLVM's, its instructions and caches, cores and operating system."""
    return {
        "cpu": _cpu(),
        "kind": processor.name(),
        "instructions": [name for name in _INSTRUCTIONS if f"+{name}" in processor.features()],
        "caches": caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def caches(cores_folder: Path) -> dict[str, int]:
    """Return the KiB of a core's data caches by level, as Linux tells them in a folder; nothing on another system."""
    found = {}
    for folder in sorted(cores_folder.glob("index*")):
        with suppress(OSError, ValueError):
            if (folder / "type").read_text(encoding="ascii").strip() != "Instruction":
                level = (folder / "level").read_text(encoding="ascii").strip()
                found[f"L{level}"] = int((folder / "size").read_text(encoding="ascii").strip().removesuffix("K"))
    return found
