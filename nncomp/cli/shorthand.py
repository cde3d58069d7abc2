"""Arguments in the style of gzip, xz and zstd: `nncomp FILE`, `nncomp -d FILE.nnc`, `nncomp -dc < FILE.nnc`.

Translates them to `nncomp compress FILE` and so on. Knows nothing of what options mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from nncomp.blocks.levels import FIRST, LAST
from nncomp.format.numbers import MAX_WINDOW_LOG2

MODES = {
    **dict.fromkeys(("z", "--compress"), "compress"),
    **dict.fromkeys(("d", "--decompress", "--uncompress"), "decompress"),
    **dict.fromkeys(("t", "--test"), "test"),
    **dict.fromkeys(("l", "--list"), "list"),
}
LEVELLED = {"compress", "bench"}  # commands with a level; for the others -9 is dropped
_SETTINGS = {"--level", "--long", "--block-size", "B", "--exclude-compressed"}  # of compressing
_SPARSE = {"--sparse", "--no-sparse"}  # of decompressing
_RESULT = {"k", "--keep", "f", "--force", "c", "--stdout"}  # about a result
_WORK = {"q", "--quiet", "T", "--threads", "--memory-limit"}  # about the work that makes one
# Options that say nothing with -z, -d, -t and -l. zstd and xz take them, and tar says the same both ways.
_SILENT = {
    "compress": _SPARSE,
    "decompress": _SETTINGS,
    "test": _SETTINGS | _SPARSE | _RESULT,
    "list": _SETTINGS | _SPARSE | _RESULT | _WORK,
}
NAMED_LEVELS = {"--fast": str(FIRST), "--best": str(LAST)}
# Options of these commands that take a value: the next argument is never an option.
VALUED = {
    "o", "T", "B", "--output", "--threads", "--block-size", "--model", "--range", "--level", "--memory-limit", "--device",
    "--cluster", "--output-dir", "--output-dir-flat", "--files", "--filelist", "--files0", "--reference",
}  # fmt: skip
_ROOT = {"-h", "--help", "-V", "--version"}
_DIGITS = "0123456789"


def spell_out(arguments: list[str], commands: Collection[str], is_terminal: bool) -> list[str]:
    """Return the arguments with the command first. The last of -d, -t, -l and -z is the command; the default is compress.
    The last of -1 to -9, --fast, --best and --level N is the level; -19 is --level 19, which the command refuses.

    With no arguments at all, standard input is compressed, unless it is a terminal (`is_terminal`).

    >>> spell_out(["-dk", "a.nnc"], ["compress", "decompress"], True)
    ['decompress', '-k', 'a.nnc']
    >>> spell_out(["-o", "-d", "notes.txt"], ["compress", "decompress"], True)
    ['compress', '-o', '-d', 'notes.txt']
    >>> spell_out(["-9k", "notes.txt"], ["compress", "decompress"], True)
    ['compress', '--level', '9', '-k', 'notes.txt']
    >>> spell_out(["--long", "-B", "1Mi", "-d"], ["compress", "decompress"], True)
    ['decompress']
    """
    if not arguments:
        return [] if is_terminal else ["compress"]
    if arguments[0] in _ROOT or arguments[0] in set(commands) - LEVELLED:
        return arguments
    is_named = arguments[0] in commands
    command, modes, level = arguments[0] if is_named else "compress", {} if is_named else MODES, ""
    rest: list[list[str]] = []  # each with its value
    level_place = after_level = 0  # places in the rest: of the level, and after --level N
    remaining = iter(arguments[is_named:])
    for argument in remaining:
        if argument == "--":
            rest.append([argument, *remaining])
        elif argument in modes and argument.startswith("--"):
            command = modes[argument]
        elif argument in NAMED_LEVELS:
            level, level_place = NAMED_LEVELS[argument], after_level
        elif argument.startswith("--"):
            word = f"--long={MAX_WINDOW_LOG2}" if argument == "--long" else argument
            rest.append([word, *(_next(remaining) if argument in VALUED else [])])
            after_level = len(rest) if argument.partition("=")[0] == "--level" else after_level
        elif len(argument) > 1 and argument[0] == "-":
            named, number, letters, needs_value = _group(argument, modes)
            command = named or command
            level, level_place = (number, after_level) if number else (level, level_place)
            words = [*([f"-{letters}"] if letters else []), *(_next(remaining) if needs_value else [])]
            rest += [words] if words else []
        else:
            rest.append([argument])
    if level and command in LEVELLED:
        rest.insert(level_place, ["--level", level])
    silent = set[str]() if is_named else _SILENT[command]
    return [command, *(word for words in rest for word in _told(words, silent))]


def _group(argument: str, modes: Mapping[str, str]) -> tuple[str, str, str, bool]:
    """Return what a group of short options says: the command and the level, "" for none; the other letters; and whether the next
    argument is the value of the last of them.

    >>> _group("-d9k", MODES), _group("-19T", MODES), _group("-T19", MODES)
    (('decompress', '9', 'k', False), ('', '19', 'T', True), ('', '', 'T19', False))
    """
    command = level = letters = ""
    is_number = False
    for i, letter in enumerate(argument[1:], 1):
        if letter in modes:
            command, is_number = modes[letter], False
        elif letter in _DIGITS:  # 19 is a number, and no level
            level, is_number = level * is_number + letter, True
        else:
            letters, is_number = letters + letter, False
            if letter in VALUED:  # the rest of the argument is its value
                return command, level, letters + argument[i + 1 :], i + 1 == len(argument)
    return command, level, letters, False


def _told(words: list[str], silent: Collection[str]) -> list[str]:
    """Return an option or a group of them, with the value of the last, without those that say nothing.

    >>> _told(["-kT", "4"], "k"), _told(["-kqT4"], "qT"), _told(["-T", "4"], "T"), _told(["--long=31"], ["--long"])
    (['-T', '4'], ['-k'], [], [])
    """
    first = words[0]
    if first.startswith("--"):
        return [] if first.partition("=")[0] in silent else words
    if len(first) < 2 or first[0] != "-":  # a file, perhaps without a name
        return words
    kept = "-"
    for i, letter in enumerate(first[1:], 1):
        if letter in VALUED:
            if letter in silent:
                break
            return [kept + first[i:], *words[1:]]
        kept += "" if letter in silent else letter
    return [kept] if len(kept) > 1 else []


def _next(remaining: Iterator[str]) -> list[str]:
    """Return the value that follows. Without one the list is empty, and the command reports the missing value."""
    value = next(remaining, None)
    return [] if value is None else [value]
