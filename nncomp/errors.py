"""The errors that nncomp raises. Each message says in a sentence or two what is wrong and what to do."""


class NncompError(Exception):
    """The base of all errors that nncomp raises for wrong data, files, models or machines."""


class FormatError(NncompError, OSError):
    """The bytes are not a valid .nnc file: another format, an unknown version, truncated or altered.

    It is an OSError too, as the errors of gzip and bz2 are: programs that read any compressed file expect that.
    """


class ModelError(NncompError):
    """A model file is missing, is not the model that the .nnc file names, or is not valid."""


class NoReferenceError(NncompError):
    """The reference that a .nnc file names is missing, or another text was given."""


class DataError(NncompError):
    """Input data is missing, unreadable or unusable."""


class OutputError(NncompError):
    """The output cannot be written, or must not be: it exists, is a terminal, or is the source."""


class MemoryLimitError(NncompError):
    """A block needs more memory than the limit."""


class WorkerError(NncompError):
    """A worker process ended before its block was done."""


class DeviceError(NncompError):
    """The device for the network is missing, or computes wrong integers."""
