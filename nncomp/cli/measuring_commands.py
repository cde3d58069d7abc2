"""The commands bench and entropy, with their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nncomp.cli.cluster_options import Cluster
from nncomp.cli.failures import guarded
from nncomp.cli.options import Force, Json, Level, Model, Quiet, Workers
from nncomp.cli.root import app


@app.command()
def bench(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, or the name of a corpus.", metavar="PATH")],
    json: Json = False,
    workers: Workers = 0,
    level: Level = 5,
    model: Model = None,
    others: Annotated[bool, typer.Option(help="Measure gzip, bzip2, xz, zstd, brotli, 7z and zpaq, too, if installed.")] = True,
    bound: Annotated[bool, typer.Option("--bound", help="Estimate each text's bound, too; takes far longer.")] = False,
    plot: Annotated[
        str | None,
        typer.Option(help="Draw bits per byte against speed; needs pip install 'nncomp\\[plot]'.", metavar="FILE.png|svg"),
    ] = None,
    corpus_dir: Annotated[
        Path | None,
        typer.Option(help="Take corpora from this folder, or one in it of that name.", metavar="FOLDER", show_default=False),
    ] = None,
    force: Force = False,
    cluster: Cluster = None,
) -> None:
    """Compress, decompress and compare each file; then print sizes, speeds and memory, beside other compressors.

    Nothing is printed for a file that does not come back byte for byte.
    bpb is of the files as they are; nncomp entropy estimates the bound of a text.

    The corpora enwik8, enwik9, canterbury and silesia are downloaded once and kept
    in the cache, or taken from --corpus-dir. Every file of them is verified.
    """
    with guarded():
        from nncomp.cli.bench_command import Asked, run_bench

        run_bench(paths, Asked(json, workers, level, model, others, bound, corpus_dir, plot, force, cluster))


@app.command()
def entropy(
    file: Annotated[str, typer.Argument(help="A text, or a .nnc file; - is standard input.", metavar="FILE", show_default=False)],
    json: Json = False,
    per_token: Annotated[
        str | None,
        typer.Option(help="Write a line of JSON for each token: offset, bytes, bits.", metavar="FILE.jsonl"),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(help="Write a page that shows the text coloured by surprisal.", metavar="FILE.html"),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(help="Draw bits per byte along the file; needs pip install 'nncomp\\[plot]'.", metavar="FILE.png|svg"),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    workers: Workers = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A model to compress a text with, or none; or the one a .nnc file was made with.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Estimate how few bits a text needs, and say where a file takes more.

    The bound is the surprisal of the whole text in one lane: network and mixing,
    or mixing alone where that is lower. The parts above it add up to the file.
    A text is compressed in memory first. docs/ENTROPY.md describes all output.
    """
    with guarded(file):
        from nncomp.cli.entropy_command import Wanted, show_entropy

        show_entropy(file, Wanted(json, per_token, html, plot), force, quiet, workers, model)
