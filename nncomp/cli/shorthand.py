"""Arguments in the style of gzip, xz and zstd: `nncomp FILE`, `nncomp -d FILE.nnc`, `nncomp -dc < FILE.nnc`.

Translates them to `nncomp compress FILE` and so on. Knows nothing of what options mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nncomp.format.numbers import MAX_WINDOW_LOG2

MODES = {
    **dict.fromkeys(("z", "--compress"), "compress"),
    **dict.fromkeys(("d", "--decompress", "--uncompress"), "decompress"),
    **dict.fromkeys(("t", "--test"), "test"),
    **dict.fromkeys(("l", "--list"), "list"),
}
LEVELLED = {"compress", "bench"}  # commands with a level; for the others -9 is dropped
_ONLY_COMPRESS = {"--level", "--long", "--block-size"}  # and -B; dropped with -d, -t and -l, for tar says the same both ways
NAMED_LEVELS = {"--fast": "1", "--best": "9"}
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
    command, modes, level = (arguments[0], {}, "") if is_named else ("compress", MODES, "")
    rest: list[str] = []
    only_compress: set[int] = set()  # places in the rest
    level_place = after_level = 0  # places in the rest: of the level, and after --level N
    remaining = iter(arguments[is_named:])
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in modes and argument.startswith("--"):
            command = modes[argument]
        elif argument in NAMED_LEVELS:
            level, level_place = NAMED_LEVELS[argument], after_level
        elif argument.startswith("--"):
            words = [f"--long={MAX_WINDOW_LOG2}" if argument == "--long" else argument]
            words += _next(remaining) if argument in VALUED else []
            only_compress |= _places(rest, words) if argument.partition("=")[0] in _ONLY_COMPRESS else set()
            rest += words
            after_level = len(rest) if argument.partition("=")[0] == "--level" else after_level
        elif len(argument) > 1 and argument[0] == "-":
            letters, needs_value, is_number = "", False, False
            for i, letter in enumerate(argument[1:], 1):
                if letter in modes:
                    command, is_number = modes[letter], False
                    continue
                if letter in _DIGITS:  # 19 is a number, and no level
                    level, is_number, level_place = level * is_number + letter, True, after_level
                    continue
                if letter == "B" and letters:  # it may be dropped, and those before it stay
                    rest, letters = [*rest, f"-{letters}"], ""
                letters, is_number = letters + letter, False
                if letter in VALUED:  # the rest of the argument is its value
                    letters += argument[i + 1 :]
                    needs_value = i + 1 == len(argument)
                    break
            words = [*([f"-{letters}"] if letters else []), *(_next(remaining) if needs_value else [])]
            only_compress |= _places(rest, words) if letters.startswith("B") else set()
            rest += words
        else:
            rest.append(argument)
    if command not in LEVELLED:
        rest = [word for place, word in enumerate(rest) if place not in only_compress]
    elif level:
        rest[level_place:level_place] = ["--level", level]
    return [command, *rest]


def _next(remaining: Iterator[str]) -> list[str]:
    """Return the value that follows. Without one the list is empty, and the command reports the missing value."""
    value = next(remaining, None)
    return [] if value is None else [value]


def _places(rest: list[str], words: list[str]) -> set[int]:
    """Return the places that words will have at the end of the rest."""
    return set(range(len(rest), len(rest) + len(words)))
