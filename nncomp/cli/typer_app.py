"""The commands as an app of Typer: help, completion, messages for wrong arguments, and every command line.

The facts of an option are those of `nncomp/cli/options.py`; `nncomp/cli/plain.py` reads the same for plain command lines.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

import typer
import typer.core

from nncomp.cli.app import app as commands
from nncomp.cli.elsewhere import told
from nncomp.cli.options import Argument, WrongUse
from nncomp.cli.shorthand import spell_out
from nncomp.version import VERSION

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(typer.core.TyperGroup):
    """The commands; of an option that zstd or xz have, and nncomp has not, they say what it is here.

    A shell that asks for completions need not name the command: -d is decompress, and without all of that it is compress.
    """

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        is_asked = extra.get("resilient_parsing", False)  # only then: other arguments have their command already
        words = spell_out(args, self.commands, is_terminal=True) if is_asked else args
        return super().make_context(info_name, words, parent, **extra)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        found = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return found
        usual = self.commands["compress"]
        with usual.make_context("compress", [], parent=ctx, resilient_parsing=True) as inner:
            return list({item.value: item for item in [*usual.shell_complete(inner, incomplete), *found]}.values())

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            context = getattr(error, "ctx", None)
            if sentence := told(getattr(error, "option_name", ""), context.info_name if context else ""):
                error.message, error.possibilities = sentence, []  # type: ignore[attr-defined]
            raise


class _Wrong(typer.BadParameter):
    """Arguments that do not go together: BadParameter alone writes "Invalid value:" before the message."""

    def format_message(self) -> str:
        return self.message


def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"nncomp {VERSION}")
        raise typer.Exit


def _reported(function: Callable[..., Any], kind: type[typer.BadParameter]) -> Callable[..., Any]:
    """Return a function whose WrongUse Typer reports."""

    @functools.wraps(function)
    def run(*arguments: Any, **values: Any) -> Any:
        try:
            return function(*arguments, **values)
        except WrongUse as error:
            raise kind(str(error)) from None

    return run


def _for_typer(hint: Any) -> Any:
    """Return a parameter's annotation with Typer's option in place of ours."""
    kind, ours = get_args(hint)
    facts = dict(ours.facts)
    if "parser" in facts:
        facts["parser"] = _reported(facts["parser"], typer.BadParameter)
    return Annotated[kind, (typer.Argument if isinstance(ours, Argument) else typer.Option)(*ours.names, **facts)]


def _command(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """Return a command as Typer takes it."""
    hints = get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def run(**values: Any) -> None:
        commands.run(name, values)

    parameters = inspect.signature(function).parameters.values()
    given = [each.replace(annotation=_for_typer(hints[each.name])) for each in parameters]
    made = _reported(run, _Wrong)
    made.__annotations__ = {each.name: each.annotation for each in given}
    made.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    return made


@functools.cache
def typer_app() -> typer.Typer:
    """Return the app with all commands."""
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
    app.callback(invoke_without_command=True)(_root)
    for name, function in commands.functions.items():
        app.command(name)(_command(name, function))
    return app


def report(words: list[str], error: WrongUse) -> None:
    """Report as Typer does that the words of a command line, the command's name first, do not go together. Raises SystemExit."""

    def refuse(**_values: object) -> None:
        raise error

    group = typer.main.get_command(typer_app())
    group.commands[words[0]].callback = _reported(refuse, _Wrong)  # type: ignore[attr-defined]
    group(args=words, prog_name="nncomp")
