"""The commands bench, entropy and reference, with their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from nncomp.blocks.levels import STANDARD
from nncomp.cli.cluster_options import Cluster, check
from nncomp.cli.failures import guarded
from nncomp.cli.options import Argument, Force, Json, Level, Model, Option, Quiet, Workers, picture
from nncomp.cli.root import app


@app.command()
def bench(
    paths: Annotated[list[str], Argument(help="Files, folders, or names of corpora.", metavar="PATH...")],
    json: Json = False,
    workers: Workers = 0,
    level: Level = STANDARD,
    model: Model = None,
    others: Annotated[bool, Option(help="Also measure gzip, bzip2, xz, zstd, brotli, 7z and zpaq, if installed.")] = True,
    bound: Annotated[bool, Option("--bound", help="Also estimate the bound of each text; takes far longer.")] = False,
    plot: Annotated[
        str | None,
        Option(
            parser=picture,
            help="Plot bits per byte against speed; needs pip install 'nncomp\\[plot]'.",
            metavar="FILE.png|svg",
        ),
    ] = None,
    corpus_dir: Annotated[
        Path | None,
        Option(help="Read corpora from this folder, or from folders of their names in it.", metavar="FOLDER", show_default=False),
    ] = None,
    force: Force = False,
    cluster: Cluster = None,
) -> None:
    """Compress, decompress and compare each file; print sizes, speeds and memory beside those of other compressors.

    No figures are printed for a file that does not come back byte for byte.
    bpb is bits of the compressed file for each byte of the file.

    The corpora enwik8, enwik9, canterbury and silesia are downloaded once and
    kept in the cache, or read from --corpus-dir. Their files are checked by
    SHA-256.
    """
    with guarded():
        from nncomp.cli.bench_command import Asked, run_bench

        check(cluster, {}, {})
        run_bench(paths, Asked(json, workers, level, model, others, bound, corpus_dir, plot, force, cluster))


@app.command()
def entropy(
    file: Annotated[str, Argument(help="A text or a .nnc file; - is standard input.", metavar="FILE", show_default=False)],
    json: Json = False,
    per_token: Annotated[
        str | None,
        Option(help="Write one line of JSON for each token: offset, bytes, bits.", metavar="FILE.jsonl"),
    ] = None,
    html: Annotated[
        str | None,
        Option(help="Write a page with the text coloured by surprisal.", metavar="FILE.html"),
    ] = None,
    plot: Annotated[
        str | None,
        Option(
            parser=picture,
            help="Plot bits per byte along the file; needs pip install 'nncomp\\[plot]'.",
            metavar="FILE.png|svg",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    workers: Workers = 0,
    model: Annotated[
        str | None,
        Option(
            "--model",
            help="Model to compress a text with, or none. For a .nnc file: the model it was made with.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        Option(
            "--reference",
            help="Text that is known beforehand. For a .nnc file: the reference it was made with.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Estimate how few bits a text needs, and say where a file takes more.

    The bound is the lowest surprisal found for the text in one lane, by network
    and mixing or by mixing alone. Bound and the parts above it add up to the
    file. A text is first compressed in memory. docs/ENTROPY.md describes the
    output.
    """
    with guarded(file):
        from nncomp.cli.entropy_command import Wanted, show_entropy
        from nncomp.cli.file_options import Options, worker_count
        from nncomp.cli.inputs import open_reference

        options = Options(None, force, quiet, False, worker_count(workers), reference=open_reference(reference))
        show_entropy(file, Wanted(json, per_token, html, plot), model, options)


@app.command()
def reference(
    samples: Annotated[
        list[str], Option("--from", help="A folder of texts, or a text; may be given again.", metavar="FOLDER|FILE")
    ],
    output: Annotated[str, Option("--output", "-o", help="Write the reference to this file.", metavar="FILE")],
    size: Annotated[str, Option("--size", help="Its size at most: 64Ki, 100K, 1M.", metavar="SIZE")] = "64Ki",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Pick a reference from samples: text that has what the samples have in common.

    The result is plain text, for nncomp compress --reference. Any text can be a
    reference; blocks begin with the last 64 KiB of it.
    """
    with guarded():
        from nncomp.cli.reference_command import write_reference

        write_reference(samples, output, size, force, quiet)
