"""Options of zstd and xz that have another name here, or that are not here: what to say when one is given.

docs/CONVENTIONS.md has them all, with the reasons.
"""

from __future__ import annotations

_OTHER_NAMES = {
    "-9": "-e --extreme --ultra --max",
    "-h": "-H --long-help",
    "--memory-limit SIZE": "-M --memory --memlimit --memlimit-compress --memlimit-decompress --memlimit-mt-decompress",
    "--reference TEXT": "-D --patch-from",
    "--output-dir FOLDER": "--output-dir-mirror",
    "-o FILE": "-S --suffix",
    "-c": "--to-stdout",
    "-v": "--show-default-cparams",
    "-T 1": "--single-thread",
    "-q": "--no-progress --no-warn -Q",
    "--json": "--robot --trace",
    "nncomp train or nncomp reference": "--train --train-cover --train-fastcover --train-legacy --maxdict --dictID --no-dictID",
    "nncomp bench": "-b -i --priority",
}
_NOT_HERE = (
    "--progress -C --check --no-check --ignore-check --pass-through --no-pass-through --block-list --rsyncable "
    "--adapt --auto-threads --asyncio --no-asyncio --stream-size --size-hint --content-size --no-content-size "
    "--target-compressed-block-size --compress-literals --no-compress-literals --row-match-finder --no-row-match-finder --zstd "
    "--format -F --no-name -n --single-stream --flush-timeout --lzma1 --lzma2 --delta --x86 --arm "
    "--armthumb --arm64 --powerpc --ia64 --sparc --info-memory --no-adjust"
)
_SENTENCES = {
    "--fast": "--fast takes no value here; it is -1.",
    "--best": "--best takes no value here; it is -9.",
    "-V": "-V and --version stand alone.",
    "--version": "-V and --version stand alone.",
}
_HERE = {theirs: ours for ours, each in _OTHER_NAMES.items() for theirs in each.split()}
_FOREIGN = frozenset(_NOT_HERE.split())


def told(option: str, command: str = "") -> str | None:
    """Return a sentence for an option that a command does not have, or None if no other compressor or command has it.

    >>> told("-D"), told("--rsyncable"), told("--colour")
    ('There is no -D here; it is --reference TEXT.', 'There is no --rsyncable here; docs/CONVENTIONS.md says why.', None)
    """
    if command == "bench" and option in ("--reference", "-D", "--patch-from"):
        return "nncomp bench takes no reference: it measures a text by itself."
    if command == "list" and option in ("-v", "--verbose"):
        return "nncomp list always shows all that it knows. Programs take --json."
    if option in _SENTENCES:
        return _SENTENCES[option]
    if option in _HERE:
        return f"There is no {option} here; it is {_HERE[option]}."
    return f"There is no {option} here; docs/CONVENTIONS.md says why." if option in _FOREIGN else None
