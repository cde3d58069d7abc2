"""The app without its commands: `nncomp --help` and `nncomp --version`. The modules of commands add commands to `app`."""

from __future__ import annotations

from typing import Annotated

import typer
import typer.core

from nncomp.cli.elsewhere import told

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(typer.core.TyperGroup):
    """The commands; of an option that zstd or xz have, and nncomp has not, they say what it is here."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            context = getattr(error, "ctx", None)
            if sentence := told(getattr(error, "option_name", ""), context.info_name if context else ""):
                error.message, error.possibilities = sentence, []  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    cls=_Commands,
    help="Compress text with a small neural network. Compressed text is smaller than with xz and zstd, and decodes to the "
    "same bytes on every machine.\n\n"
    "nncomp FILE compresses, nncomp -d FILE.nnc decompresses, -t tests, -l lists. Without FILE, nncomp reads standard input "
    "and writes standard output. For a file with the name of a command, write ./compress.",
    epilog="Start with: nncomp notes.txt, and later nncomp -d notes.txt.nnc",
    no_args_is_help=True,
    subcommand_metavar="COMMAND | FILE [ARGS]...",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from nncomp.version import VERSION

        typer.echo(f"nncomp {VERSION}")
        raise typer.Exit
