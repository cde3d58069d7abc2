"""The commands by name: modules of commands add theirs. Nothing is parsed here, and Typer is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


class Commands:
    """The functions of the commands, in the order of the help; a parameter is an option or an argument of the command line."""

    def __init__(self) -> None:
        self.functions: dict[str, Command] = {}

    def command(self, name: str = "") -> Callable[[Command], Command]:
        """Decorate a command; its name is that of the function, if none is given."""

        def added(function: Command) -> Command:
            self.functions[name or function.__name__] = function
            return function

        return added

    def run(self, name: str, values: dict[str, Any]) -> None:
        """Run a command with the values of its parameters. Raises WrongUse for values that do not go together, and SystemExit."""
        self.functions[name](**values)


app = Commands()
