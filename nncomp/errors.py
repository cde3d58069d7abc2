"""The errors a caller may meet. Each message is a full sentence: what was found, what was expected, what to do."""


class NncompError(Exception):
    """Anything from outside that stops the work: the base of all errors nncomp raises on purpose."""


class FormatError(NncompError):
    """The bytes are not a .nnc file, are of an unknown version, truncated, altered, or claim what cannot be."""


class ModelError(NncompError):
    """A model file is missing, is not the one the .nnc file names, or is not a valid model."""


class DataError(NncompError):
    """Training or benchmark data is missing, empty or unusable."""


class OutputError(NncompError):
    """The result cannot go where it was asked to go: it exists, is a terminal, is the source, or cannot be written."""


class MemoryLimitError(NncompError):
    """To decode or code a block would take more memory than is allowed."""


class WorkerError(NncompError):
    """A worker process ended before its block was done."""


class DeviceError(NncompError):
    """The device that the network is to run on is not here, or does not give the exact integers."""
