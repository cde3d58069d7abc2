"""Compression and decompression of many files on a Dask cluster, with the same bytes as from one process.

Knows streams, blocks and models, like `nncomp/stream/pipeline.py`; nothing of file names or terminals. It needs the extra
nncomp[cluster], so only commands with --cluster import it.
"""
