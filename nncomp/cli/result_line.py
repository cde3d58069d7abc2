"""The words of the line about a result: sizes, ratio, cross-entropy, overhead, kinds of block."""

from __future__ import annotations

from nncomp.stream.pipeline import Summary


def describe_sizes(summary: Summary) -> str:
    """Return sizes, ratio, bits per byte, cross-entropy and overhead: the bytes of the file above the cross-entropy.

    >>> describe_sizes(Summary(raw_bytes=1000, packed_bytes=250, cost_bits=1880.0))
    '1,000 -> 250 bytes, ratio 4.00, 2.000 bpb; cross-entropy 1.880 bpb, overhead 15 bytes'
    """
    sizes = f"{summary.raw_bytes:,} -> {summary.packed_bytes:,} bytes"
    if not summary.raw_bytes:
        return sizes
    ratio = summary.raw_bytes / summary.packed_bytes
    bpb = 8 * summary.packed_bytes / summary.raw_bytes
    overhead_bytes = summary.packed_bytes - summary.cost_bits / 8
    return (
        f"{sizes}, ratio {ratio:.2f}, {bpb:.3f} bpb; "
        f"cross-entropy {summary.cost_bits / summary.raw_bytes:.3f} bpb, overhead {overhead_bytes:,.0f} bytes"
    )


def describe_blocks(summary: Summary) -> str:
    """Return the number of blocks and of each kind.

    >>> from collections import Counter
    >>> describe_blocks(Summary(kinds=Counter(lzma=2, stored=1)))
    '3 blocks (lzma: 2, stored: 1)'
    """
    count = summary.kinds.total()
    kinds = ", ".join(f"{kind}: {n}" for kind, n in summary.kinds.most_common())
    return f"{count} block{'' if count == 1 else 's'} ({kinds})"
