"""The app without its commands: `nncomp --help` and `nncomp --version`. The modules of commands add theirs to `app`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Compress text with a small network and exact integers: smaller than xz and zstd, and the same on any machine.\n\n"
    "nncomp FILE compresses, nncomp -d FILE.nnc decompresses, -t tests, -l lists; with no FILE, standard input goes to "
    "standard output. A file that is named like a command is given as ./compress.",
    epilog="Start with: nncomp notes.txt, and later nncomp -d notes.txt.nnc",
    no_args_is_help=True,
    subcommand_metavar="COMMAND | FILE [ARGS]...",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False) -> None:
    if version:
        from nncomp.version import VERSION

        typer.echo(f"nncomp {VERSION}")
        raise typer.Exit
