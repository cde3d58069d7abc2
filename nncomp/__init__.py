"""nncomp: a lossless text compressor. A small network predicts, exact integers decide, a range coder writes.

>>> import nncomp
>>> packed = nncomp.compress(b"the same words, the same words", model=None)
>>> nncomp.decompress(packed)
b'the same words, the same words'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nncomp.api import Compressor as Compressor
    from nncomp.api import Decompressor as Decompressor
    from nncomp.api import NncompFile as NncompFile
    from nncomp.api import compress as compress
    from nncomp.api import decompress as decompress
    from nncomp.api import open as open
    from nncomp.api import register_fsspec as register_fsspec
    from nncomp.api.estimates import Estimate as Estimate
    from nncomp.api.estimates import estimate as estimate
    from nncomp.api.file_info import Info as Info
    from nncomp.api.file_info import info as info
    from nncomp.api.training_run import Trained as Trained
    from nncomp.api.training_run import Training as Training
    from nncomp.api.training_run import train as train
    from nncomp.errors import NncompError as NncompError

    __version__: str

__all__ = [  # what a program of one's own may rely on
    "Compressor",
    "Decompressor",
    "Estimate",
    "Info",
    "NncompError",
    "NncompFile",
    "Trained",
    "Training",
    "compress",
    "decompress",
    "estimate",
    "info",
    "open",
    "register_fsspec",
    "train",
]
_ELSEWHERE = {  # names that are not of nncomp.api itself, by module
    "nncomp.api.estimates": ("Estimate", "estimate"),
    "nncomp.api.file_info": ("Info", "info"),
    "nncomp.api.training_run": ("Trained", "Training", "train"),
}


def __getattr__(name: str) -> object:
    """Load the part that is asked for: `import nncomp` itself loads nothing."""
    if name == "NncompError":
        from nncomp import errors

        return errors.NncompError
    if name == "__version__":
        from nncomp import version

        return version.VERSION
    for module, names in _ELSEWHERE.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    if name in __all__:
        from nncomp import api

        return getattr(api, name)
    raise AttributeError(f"module 'nncomp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
