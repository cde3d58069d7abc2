"""Options that several commands share, and the values that some of them take. Knows nothing of what the commands do."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer


def whole(least: int, most: int | None = None) -> Callable[[str | int], int]:
    """Return what makes a whole number of an option's value; it raises BadParameter for a number out of the range."""
    meant = f"{least} to {most}" if most else f"{least} or more"

    def number(value: str | int) -> int:
        try:
            found = int(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not a whole number. Give {meant}.") from None
        if found < least or (most is not None and found > most):
            raise typer.BadParameter(f"{found} is not possible. Give {meant}.")
        return found

    return number


Files = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files to read. - is standard input, and so is no FILE in a pipe.", metavar="FILE...", show_default=False
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Write the result of one FILE to this file; - is standard output.", metavar="FILE"),
]
Stdout = Annotated[bool, typer.Option("--stdout", "-c", help="Write to standard output.")]
Range = Annotated[
    str | None,
    typer.Option("--range", help="Only the bytes from START up to END, without END.", metavar="START:END", show_default=False),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Also take the files in folders, but no links.")]
FilesFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--files",
        "--filelist",
        help="Also take the files that this file names, one a line; - is standard input.",
        metavar="LIST",
        show_default=False,
    ),
]
FilesFromZeros = Annotated[
    list[str] | None,
    typer.Option(
        "--files0",
        help="The same with names that end with a zero byte, as find -print0 writes them.",
        metavar="LIST",
        show_default=False,
    ),
]
OutputDir = Annotated[
    str | None,
    typer.Option(
        "--output-dir",
        help="Write results to this folder, below it as the sources are below theirs.",
        metavar="FOLDER|URL",
        show_default=False,
    ),
]
OutputDirFlat = Annotated[
    str | None,
    typer.Option("--output-dir-flat", help="Write all results into this one folder.", metavar="FOLDER|URL", show_default=False),
]
Remove = Annotated[
    bool,
    typer.Option("--rm", help="Remove FILE after its result was read back and compared."),
]
Keep = Annotated[bool, typer.Option("--keep", "-k", help="Keep FILE, even with --rm. Without --rm, FILE is always kept.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print the model and the kinds of block.")]
Workers = Annotated[
    int,
    typer.Option(
        "--threads", "-T", parser=whole(0), help="Number of cores to use; 0 is all.", metavar="N", envvar="NNCOMP_THREADS"
    ),
]
Level = Annotated[
    int,
    typer.Option(
        "--level",
        parser=whole(1, 9),
        help="-1 (--fast) is quickest, -9 (--best) is smallest.",
        metavar="N",
        envvar="NNCOMP_LEVEL",
    ),
]
Long = Annotated[
    int | None,
    typer.Option(
        "--long",
        parser=whole(20, 32),
        help="Find repeats up to 2**N bytes back, 20 to 32: 26 at -1 to -3, 29 at -4 to -7, 32 at -8, -9 and for --long alone.",
        metavar="N",
        show_default=False,
    ),
]
BlockSize = Annotated[
    str | None,
    typer.Option(
        "--block-size",
        "-B",
        help="Cut the input into blocks of SIZE (64Ki to 12Mi): a part of the file is decoded sooner, and the file is larger.",
        metavar="SIZE",
        show_default=False,
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        help="Limit the memory of all processes together: 500M, 2G. The default is 1.2G for each core.",
        metavar="SIZE",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Model to use instead of the level's: default, fast, a model file, or none.",
        metavar="MODEL",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="Text that is like FILE, or an older version of it: FILE is coded knowing it, and decoding needs the same text.",
        metavar="TEXT",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Run the network with torch on this device: cuda, cuda:1, cpu. The result has the same bytes.",
        metavar="DEVICE",
        show_default=False,
    ),
]
GivenModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Model file of your own that FILE was compressed with.",
        metavar="PATH",
        show_default=False,
    ),
]


class WrongUse(typer.BadParameter):
    """Arguments that do not go together: the message and exit status 2. BadParameter alone writes "Invalid value:" first."""

    def format_message(self) -> str:
        return self.message


class Shell(StrEnum):
    """The shells there are completions for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class Objective(StrEnum):
    """What a training makes small."""

    CROSS_ENTROPY = "cross-entropy"
    MIXTURE = "mixture"
    HINGE = "hinge"
    ABSOLUTE = "absolute"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
