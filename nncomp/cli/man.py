"""The manual page, made from the help: `python -m nncomp.cli.man > share/man/man1/nncomp.1`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from nncomp.cli.typer_app import typer_app
from nncomp.version import VERSION

_EXIT = (("0", "Done."), ("1", "Failed. A message on standard error says why."), ("2", "Wrong arguments."))
_ENVIRONMENT = (
    (
        "XDG_CACHE_HOME",
        "Folder for compiled kernels and downloaded corpora, in nncomp. The default is ~/.cache.",
    ),
    ("NO_COLOR", "When set, output has no colours."),
)
_FILES = (("FILE.nnc", "A compressed file. docs/FORMAT.md describes the format. All later versions read it."),)
_EXAMPLES = (
    ("nncomp notes.txt", "make notes.txt.nnc and keep notes.txt"),
    ("nncomp -d notes.txt.nnc", "make notes.txt again"),
    ("cat notes.txt | nncomp | nncomp -d | cmp - notes.txt", "in a pipe"),
    ("tar --use-compress-program=nncomp -cf folder.tar.nnc folder", "a folder"),
    ("nncomp cat --range 1000:2000 notes.txt.nnc", "part of a file"),
)


def page() -> str:
    """Return the manual page in the man macros of roff."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    group: Any = typer.main.get_command(typer_app())
    first, *rest = _paragraphs(group.help)
    yield '.\\" Made by python -m nncomp.cli.man from the help of the commands; change it there.'
    yield f'.TH NNCOMP 1 "" "nncomp {VERSION}" "User Commands"'
    yield ".SH NAME"
    yield "nncomp \\- a lossless text compressor"
    yield ".SH SYNOPSIS"
    yield "\\fBnncomp\\fR [\\fIOPTION\\fR]... [\\fIFILE\\fR]...\n.br"
    yield "\\fBnncomp\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIFILE\\fR]..."
    yield ".SH DESCRIPTION"
    yield first
    for text in rest:
        yield f".PP\n{text}"
    yield from _options(group)
    yield ".SH COMMANDS"
    for name, command in group.commands.items():
        yield f".SS {_plain(_usage(name, command))}"
        for i, text in enumerate(_paragraphs(command.help)):
            yield f".PP\n{text}" if i else text
        yield from _options(command)
    yield ".SH ENVIRONMENT"
    yield from _tagged(_environment(group))
    yield ".SH EXIT STATUS"
    yield from _tagged(_EXIT)
    yield ".SH FILES"
    yield from _tagged(_FILES)
    yield ".SH EXAMPLES"
    yield from _tagged(_EXAMPLES)
    yield ".SH SEE ALSO"
    yield ".BR tar (1),\n.BR xz (1),\n.BR zstd (1)"


def _usage(name: str, command: Any) -> str:
    arguments = [_metavar(param) for param in command.params if param.param_type_name == "argument"]
    return " ".join([f"nncomp {name}", "[OPTION]...", *arguments])


def _metavar(param: Any) -> str:
    name = str(param.metavar or param.name.upper())
    return name if param.param_type_name == "option" or param.required else f"[{name}]"


def _options(command: Any) -> Iterator[str]:
    for param in command.params:
        if param.param_type_name != "option" or param.hidden:
            continue
        names = [*sorted(param.opts, key=len), *param.secondary_opts]
        metavar = _plain(_metavar(param))
        value = "" if param.is_flag else f"{'' if metavar.startswith('[') else ' '}\\fI{metavar}\\fR"
        yield f".TP\n{', '.join(_bold(each) for each in names)}{value}\n{_plain(param.help or '')}"
    yield f".TP\n{_bold('-h')}, {_bold('--help')}\nShow the help and exit."


def _bold(text: str) -> str:
    return f"\\fB{_plain(text)}\\fR"


def _environment(group: Any) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for command in group.commands.values():
        for param in command.params:
            if param.param_type_name == "option" and param.envvar:
                found.setdefault(param.envvar, f"The same as {max(param.opts, key=len)}: {param.help}")
    yield from found.items()
    yield from _ENVIRONMENT


def _tagged(entries: Any) -> Iterator[str]:
    for tag, text in entries:
        yield f".TP\n{_bold(tag)}\n{_plain(text)}"


def _paragraphs(text: str) -> list[str]:
    return [_plain(" ".join(part.split())) for part in text.strip().split("\n\n")]


def _plain(text: str) -> str:
    """Return text escaped for roff, without the escapes of the help's markup.

    >>> print(_plain("nncomp\\\\[plot] -d"))
    nncomp[plot] \\-d
    """
    unmarked = re.sub(r"\\\[", "[", text)
    escaped = unmarked.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    print(page(), end="")
