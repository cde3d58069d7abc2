"""Plain command lines: known options and files, read without Typer, which takes a seventh of the time of a small command.

A command's parameters say what is known; their facts are those that Typer is given, too (`nncomp/cli/typer_app.py`). Whatever is
not plain is left to Typer: help, wrong arguments, options with a value of another kind than text or a number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from nncomp.cli.options import Argument, Option, WrongUse

Values = dict[str, Any]


class _NotPlainError(Exception):
    pass


class _Parameters:
    """The parameters of a command that plain lines may give, by the names of their options."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.options: dict[str, tuple[str, Any, Option]] = {}  # parameter, type and facts by name
        self.files = ""  # the parameter that takes what is no option
        hints = get_type_hints(function, include_extras=True)
        hints.pop("return", None)
        if len(function.__defaults__ or ()) != len(hints):
            raise _NotPlainError  # some must be given
        for parameter, hint in hints.items():
            kind, facts = get_args(hint)
            if facts.facts.get("envvar", "") in os.environ:
                raise _NotPlainError
            if isinstance(facts, Argument):
                self.files = parameter
            else:
                self.options |= dict.fromkeys(facts.names, (parameter, kind, facts))

    def set(self, values: Values, name: str, value: str | None) -> bool:
        """Set what an option gives; return False, and set nothing, for one that takes a value where there is none."""
        if name not in self.options:
            raise _NotPlainError
        parameter, kind, facts = self.options[name]
        if kind is bool:
            if value is not None:
                raise _NotPlainError
            values[parameter] = True
        elif value is None:
            return False
        elif "parser" in facts.facts:
            values[parameter] = facts.facts["parser"](value)
        elif kind in (str, str | None):
            values[parameter] = value
        elif kind == list[str] | None:
            values.setdefault(parameter, []).append(value)
        else:
            raise _NotPlainError
        return True


def read(function: Callable[..., None], arguments: list[str]) -> Values | None:
    """Return the values that the arguments of a command give its parameters, or None for arguments that are not plain."""
    values, files, remaining = Values(), list[str](), iter(arguments)

    def following() -> str:
        value = next(remaining, "-?")
        if len(value) > 1 and value[0] == "-":
            raise _NotPlainError  # an option without its value, perhaps
        return value

    try:
        parameters = _Parameters(function)
        for argument in remaining:
            if argument == "--":
                files += remaining
            elif argument.startswith("--"):
                name, is_joined, value = argument.partition("=")
                if not parameters.set(values, name, value if is_joined else None):
                    parameters.set(values, name, following())
            elif len(argument) > 1 and argument[0] == "-":
                for i, letter in enumerate(argument[1:], 2):
                    if not parameters.set(values, f"-{letter}", None):
                        parameters.set(values, f"-{letter}", argument[i:] or following())
                        break
            else:
                files.append(argument)
    except (_NotPlainError, WrongUse):
        return None
    if files and not parameters.files:
        return None
    return values | ({parameters.files: files} if files else {})
