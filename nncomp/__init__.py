"""nncomp: a lossless text compressor. A small network predicts, exact integers decide, a range coder writes."""

__version__ = "0.1.0"
