"""Options that several commands share, and what some of them may be. Knows nothing of what the commands do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

Files = Annotated[
    list[str] | None,
    typer.Argument(help="Files to read; - is standard input, as is no FILE with a pipe.", metavar="FILE", show_default=False),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Write to this file, - for standard output (one FILE only).", metavar="FILE"),
]
Stdout = Annotated[bool, typer.Option("--stdout", "-c", help="Write to standard output.")]
Range = Annotated[
    str | None,
    typer.Option("--range", help="Only these bytes of the content, END not among them.", metavar="START:END", show_default=False),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Take the files in folders, too.")]
Remove = Annotated[
    bool,
    typer.Option("--rm", help="Remove FILE, once its result was read again and compared."),
]
Keep = Annotated[bool, typer.Option("--keep", "-k", help="Keep FILE, as it is kept without --rm.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite a file that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say also which model and which kinds of block were used.")]
Workers = Annotated[
    int,
    typer.Option("--threads", "-T", min=0, help="Cores to work with, 0 for all.", metavar="N", envvar="NNCOMP_THREADS"),
]
Level = Annotated[
    int,
    typer.Option(
        "--level", min=1, max=9, help="-1, --fast: quickest; to -9, --best: smallest.", metavar="N", envvar="NNCOMP_LEVEL"
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        help="Take at most so much memory, all processes together: 500M, 2G. Without it, 1G for each core.",
        metavar="SIZE",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="In place of the level's model: default, fast, max, a model file of your own, or none.",
        metavar="MODEL",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Run the network on a device of torch: cuda, cuda:1, cpu. The same bytes; needs torch.",
        metavar="DEVICE",
        show_default=False,
    ),
]
GivenModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="The model file that a file was compressed with, if it is your own.", metavar="PATH", show_default=False
    ),
]


class Shell(StrEnum):
    """The shells there are completions for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class Shape(StrEnum):
    """The shapes of a new network: those of the models that come with nncomp."""

    FAST = "fast"
    DEFAULT = "default"
    MAX = "max"


class Objective(StrEnum):
    """What a training makes small."""

    CROSS_ENTROPY = "cross-entropy"
    MIXTURE = "mixture"
    HINGE = "hinge"
    ABSOLUTE = "absolute"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document in place of a table.")]
