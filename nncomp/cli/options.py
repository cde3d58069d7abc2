"""Options that several commands share, and the values that some of them take. Knows nothing of what the commands do."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from nncomp.blocks import levels
from nncomp.format.numbers import MAX_WINDOW_LOG2, MODEL_NAMES


class WrongUse(Exception):  # noqa: N818 (its text is for the user)
    """Arguments that are wrong, or do not go together: a message and exit status 2."""


class Option:
    """An option of a command: its names, and its facts (help, metavar, parser, envvar and so on) as Typer calls them."""

    def __init__(self, *names: str, **facts: Any) -> None:
        self.names, self.facts = names, facts


class Argument(Option):
    """What a command takes beside options; it has facts and no names."""


def whole(least: int, most: int | None = None) -> Callable[[str | int], int]:
    """Return what makes a whole number of an option's value; it raises WrongUse for a number out of the range."""
    meant = f"{least} to {most}" if most else f"{least} or more"

    def number(value: str | int) -> int:
        try:
            found = int(value)
        except ValueError:
            raise WrongUse(f"{value!r} is not a whole number. Give {meant}.") from None
        if found < least or (most is not None and found > most):
            raise WrongUse(f"{found} is not possible. Give {meant}.")
        return found

    return number


def picture(name: str) -> str:
    """Return the name of a picture; raises WrongUse for a name that does not say which kind."""
    from nncomp.plots.picture import SUFFIXES

    if not name.lower().endswith(SUFFIXES):
        raise WrongUse(f"{name} is not the name of a picture: let it end in {' or '.join(SUFFIXES)}.")
    return name


Files = Annotated[
    list[str] | None,
    Argument(help="Files to read. - is standard input, and so is no FILE in a pipe.", metavar="FILE...", show_default=False),
]
Output = Annotated[
    str | None,
    Option("--output", "-o", help="Write the result of one FILE to this file; - is standard output.", metavar="FILE"),
]
Stdout = Annotated[bool, Option("--stdout", "-c", help="Write to standard output.")]
Range = Annotated[
    str | None,
    Option("--range", help="Only the bytes from START up to END, without END.", metavar="START:END", show_default=False),
]
Recursive = Annotated[bool, Option("--recursive", "-r", help="Also take the files in folders, but no links.")]
FilesFrom = Annotated[
    list[str] | None,
    Option(
        "--files",
        "--filelist",
        help="Also take the files that this file names, one a line; - is standard input.",
        metavar="LIST",
        show_default=False,
    ),
]
FilesFromZeros = Annotated[
    list[str] | None,
    Option(
        "--files0",
        help="The same with names that end with a zero byte, as find -print0 writes them.",
        metavar="LIST",
        show_default=False,
    ),
]
OutputDir = Annotated[
    str | None,
    Option(
        "--output-dir",
        help="Write results to this folder, below it as the sources are below theirs.",
        metavar="FOLDER|URL",
        show_default=False,
    ),
]
OutputDirFlat = Annotated[
    str | None,
    Option("--output-dir-flat", help="Write all results into this one folder.", metavar="FOLDER|URL", show_default=False),
]
Remove = Annotated[
    bool,
    Option("--rm", help="Remove FILE after its result was read back and compared."),
]
Keep = Annotated[bool, Option("--keep", "-k", help="Keep FILE, even with --rm. Without --rm, FILE is always kept.")]
Force = Annotated[bool, Option("--force", "-f", help="Overwrite existing files.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Also print the model and the kinds of block.")]
Workers = Annotated[
    int,
    Option("--threads", "-T", parser=whole(0), help="Number of cores to use; 0 is all.", metavar="N", envvar="NNCOMP_THREADS"),
]
Level = Annotated[
    int,
    Option(
        "--level",
        parser=whole(levels.FIRST, levels.LAST),
        help="-1 (--fast) is quickest, -9 (--best) is smallest.",
        metavar="N",
        envvar="NNCOMP_LEVEL",
    ),
]
Long = Annotated[
    int | None,
    Option(
        "--long",
        parser=whole(20, MAX_WINDOW_LOG2),
        help="Find repeats up to 2**N bytes back, 20 to 32: 29 without it, 32 at -8, -9 and for --long alone.",
        metavar="[=N]",
        show_default=False,
    ),
]
BlockSize = Annotated[
    str | None,
    Option(
        "--block-size",
        "-B",
        help="Cut the input into blocks of SIZE (64Ki to 12Mi): a part of the file is decoded sooner, and the file is larger.",
        metavar="SIZE",
        show_default=False,
    ),
]
MemoryLimit = Annotated[
    str | None,
    Option(
        "--memory-limit",
        help="Limit the memory of all processes together: 500M, 2G. The default is 1.2G for each core.",
        metavar="SIZE",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    Option(
        "--model",
        help=f"Model to use instead of the level's: {MODEL_NAMES}, a model file, or none.",
        metavar="MODEL",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    Option(
        "--reference",
        help="Text that is like FILE, or an older version of FILE, to code FILE with. Decompressing needs the same text.",
        metavar="TEXT",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    Option(
        "--device",
        help="Run the network with torch on this device: cuda, cuda:1, cpu. The result has the same bytes.",
        metavar="DEVICE",
        show_default=False,
    ),
]
GivenModel = Annotated[
    str | None,
    Option(
        "--model",
        help="Model file of your own that FILE was compressed with.",
        metavar="PATH",
        show_default=False,
    ),
]
GivenReference = Annotated[
    str | None,
    Option(
        "--reference",
        help="Text that FILE was compressed with as its reference.",
        metavar="TEXT",
        show_default=False,
    ),
]


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


Json = Annotated[bool, Option("--json", help="Print one JSON document instead of a table.")]
