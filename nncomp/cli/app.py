"""The commands and their options. What they do is imported when they run, so that `nncomp --help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nncomp.cli.failures import for_each, guarded

app = typer.Typer(
    help="Compress text with a small network and exact integers: smaller than xz and zstd, and the same on any machine.",
    epilog="Start with: nncomp compress notes.txt, and later nncomp decompress notes.txt.nnc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Files = Annotated[list[str], typer.Argument(help="Files to read; - is standard input.", metavar="FILE", show_default=False)]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Write to this file, - for standard output (one FILE only).", metavar="FILE"),
]
Stdout = Annotated[bool, typer.Option("--stdout", "-c", help="Write to standard output.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite a file that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say also which model and which kinds of block were used.")]
Workers = Annotated[
    int,
    typer.Option("--workers", "-T", min=0, help="Cores to work with, 0 for all there are.", metavar="N"),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A level (default), a model file of your own, or none.", metavar="MODEL", show_default=False),
]
GivenModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="The model file that a file was compressed with, if it is your own.", metavar="PATH", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document in place of a table.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False) -> None:
    if version:
        from nncomp import __version__

        typer.echo(f"nncomp {__version__}")
        raise typer.Exit


@app.command()
def compress(
    files: Files,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    model: Model = None,
) -> None:
    """Compress each FILE to FILE.nnc and keep FILE.

    One line says what came out: sizes, ratio, bits per byte (bpb), cross-entropy
    (what the prediction alone would need) and what the file takes above it.
    This is the running estimate, which costs nothing; the full one is nncomp entropy.
    """
    with guarded():
        from nncomp.cli import transfer

        options = transfer.Options(_target(files, output, stdout), force, quiet, verbose, transfer.worker_count(workers))
        chosen = transfer.choose_model(model)
        transfer.listen(options)
        for_each(files, lambda name: transfer.compress_file(name, chosen, options))


@app.command()
def decompress(
    files: Files,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    model: GivenModel = None,
) -> None:
    """Decompress each FILE.nnc to FILE and keep FILE.nnc.

    Every block is compared with its checksum. If anything is wrong, there is no output file.
    """
    with guarded():
        from nncomp.cli import transfer

        options = transfer.Options(_target(files, output, stdout), force, quiet, verbose, transfer.worker_count(workers))
        given = transfer.given_models(model)
        transfer.listen(options)
        for_each(files, lambda name: transfer.decompress_file(name, given, options))


@app.command("test")
def test(files: Files, quiet: Quiet = False, verbose: Verbose = False, workers: Workers = 0, model: GivenModel = None) -> None:
    """Decompress each FILE.nnc without writing it, to see that it is whole."""
    with guarded():
        from nncomp.cli import transfer

        options = transfer.Options(None, False, quiet, verbose, transfer.worker_count(workers))
        given = transfer.given_models(model)
        transfer.listen(options)
        for_each(files, lambda name: transfer.test_file(name, given, options))


@app.command("list")
def list_(files: Files, json: Json = False) -> None:
    """Show what is in each FILE.nnc: frames, blocks by kind, sizes, ratio, bits per byte (bpb) and model.

    Nothing is decoded; nncomp entropy estimates the bound of the text.
    """
    with guarded():
        from nncomp.cli import listing

        listing.list_files(files, json)


@app.command()
def bench(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, or the name enwik8.", metavar="PATH")],
    json: Json = False,
    workers: Workers = 0,
    model: Model = None,
    others: Annotated[bool, typer.Option(help="Measure gzip, bzip2, xz, and zstd and brotli if installed, too.")] = True,
) -> None:
    """Compress, decompress and compare each file; then print sizes, speeds and memory, beside other compressors.

    Nothing is printed for a file that does not come back byte for byte.
    bpb is of the files as they are; nncomp entropy estimates the bound of a text.

    enwik8 is taken from ./enwik8 or the cache, or downloaded (36 MB) and verified.
    """
    with guarded():
        from nncomp.cli.bench import run_bench

        run_bench(paths, json, workers, model, others)


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
        from nncomp.cli.entropy import Wanted, show_entropy

        show_entropy(file, Wanted(json, per_token, html, plot), force, quiet, workers, model)


@app.command()
def train(
    data: Annotated[str, typer.Option(help="File or folder of text to learn from.", metavar="PATH", show_default=False)],
    valid: Annotated[str, typer.Option(help="Other text of the same kinds, to measure on.", metavar="PATH", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model file to write.", metavar="FILE", show_default=False)],
    time: Annotated[str, typer.Option(help="How long to train: 90s, 30m, 2h.", metavar="TIME")] = "1h",
    work: Annotated[Path | None, typer.Option(help="Folder for checkpoint and log; to go on, give it again.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads, 0 for as many as torch takes.", metavar="N")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", metavar="N")] = 0,
    init: Annotated[
        str | None,
        typer.Option(help="Start from this model: a level or a model file.", metavar="MODEL", show_default=False),
    ] = None,
) -> None:
    """Train a model on text of your own; compress and decompress take it with --model FILE.

    Needs the train extra: pip install 'nncomp\\[train]'.
    """
    with guarded():
        from nncomp.cli.train import train as command

        command(data, valid, time, out, work, threads, seed, init)


def _target(files: list[str], output: str | None, is_stdout: bool) -> str | None:
    """Return where everything goes, or None for beside each file; raises BadParameter when that is not one place."""
    if output is not None and is_stdout:
        raise typer.BadParameter("-o and -c exclude each other.")
    if output is not None and len(files) > 1:
        raise typer.BadParameter(f"-o takes the result of one FILE, and there are {len(files)}; leave -o away or use -c.")
    return "-" if is_stdout else output
