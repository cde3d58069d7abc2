"""Blocks of many files on the workers of a Dask cluster: the same bytes as from one process.

Knows streams, blocks and models, as `nncomp/stream/pipeline.py` does; nothing of file names or terminals. Needs the extra
nncomp[cluster], so it is imported only where a cluster is asked for.
"""
