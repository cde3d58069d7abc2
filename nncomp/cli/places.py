"""Names of outputs in another folder: `--output-dir` keeps the folders that the sources are in, `--output-dir-flat` does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import PurePath

from nncomp.cli.names import shown
from nncomp.errors import OutputError


@dataclass(frozen=True)
class Places:
    """An output folder, and for each source its name in there. No two sources have the same."""

    folder: str
    inner: Mapping[str, str]
    is_flat: bool = False
    _taken: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return the place of a source, without the suffix that its result has or had; raises OutputError if it has none.

        >>> Places("out/", {"in/a/b": "a/b"}).of("in/a/b"), Places("out", {"in/a/b": "a/b"}, is_flat=True).of("in/a/b")
        ('out/a/b', 'out/b')
        """
        inner = self.inner.get(name, name).lstrip("/")
        if self.is_flat:
            inner = inner.rpartition("/")[2]
        if ".." in PurePath(inner).parts:
            raise OutputError("The name leads out of the output folder. Give a name without .. in it, or --output-dir-flat.")
        inner = normpath(inner)
        other = self._taken.setdefault(inner, name)
        if other != name:
            raise OutputError(f"The result would have the same name as that of {shown(other)}. Give one of them alone.")
        return f"{self.folder.rstrip('/') or '/'}/{inner}"
