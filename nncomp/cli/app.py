"""The commands and their options. What they do is imported when they run, so that `nncomp --help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nncomp.cli.cluster_options import Cluster, OutputDir, ReportJson, Resume, check
from nncomp.cli.failures import COMPLETE, guarded
from nncomp.cli.options import (
    Device,
    Files,
    Force,
    GivenModel,
    Json,
    Keep,
    Level,
    MemoryLimit,
    Model,
    Objective,
    Output,
    Quiet,
    Range,
    Recursive,
    Remove,
    Shape,
    Shell,
    Stdout,
    Verbose,
    Workers,
)

app = typer.Typer(
    help="Compress text with a small network and exact integers: smaller than xz and zstd, and the same on any machine.\n\n"
    "nncomp FILE compresses, nncomp -d FILE.nnc decompresses, -t tests, -l lists; with no FILE, standard input goes to "
    "standard output. A file that is named like a command is given as ./compress.",
    epilog="Start with: nncomp notes.txt, and later nncomp -d notes.txt.nnc",
    no_args_is_help=True,
    subcommand_metavar="COMMAND | FILE [ARGS]...",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False) -> None:
    if version:
        from nncomp.version import VERSION

        typer.echo(f"nncomp {VERSION}")
        raise typer.Exit


@app.command()
def compress(
    files: Files = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    rm: Remove = False,
    verify: Annotated[bool, typer.Option("--verify", help="Decode what was written and compare; --rm always does.")] = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    level: Level = 5,
    memory_limit: MemoryLimit = None,
    model: Model = None,
    device: Device = "",
    cluster: Cluster = None,
    output_dir: OutputDir = None,
    resume: Resume = False,
    json: ReportJson = False,
) -> None:
    """Compress each FILE to FILE.nnc and keep FILE.

    One line says what came out: sizes, ratio, bits per byte (bpb), cross-entropy
    (what the prediction alone would need) and what the file takes above it.
    This is the running estimate, which costs nothing; the full one is nncomp entropy.
    """
    with guarded():
        from nncomp.blocks import levels
        from nncomp.cli import inputs, transfer

        check(
            cluster,
            {"--output-dir": output_dir, "--resume": resume, "--json": json},
            {"-c": stdout, "-o": output, "--rm": rm, "--verify": verify, "--device": device},
        )
        names = files or [] if cluster else inputs.expand(files, recursive, is_packed=False)
        is_removed = rm and not keep
        target, cores = _target(names, output, stdout, is_removed), transfer.worker_count(workers)
        memory, effort = inputs.parse_memory(memory_limit), levels.level(level).effort
        is_verified = verify or is_removed
        options = transfer.Options(target, force, quiet, verbose, cores, is_verified, is_removed, memory=memory, effort=effort)
        chosen = transfer.choose_model(model, level, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            asked = far.Asked(cluster, far.COMPRESS, files, recursive, output_dir, resume, json)
            far.run(asked, options, model=chosen)
            return
        transfer.listen(options)
        transfer.each_file(names, options, lambda name, known: transfer.compress_file(name, chosen, known))


@app.command()
def decompress(
    files: Files = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    rm: Remove = False,
    range_: Range = None,
    recover: Annotated[bool, typer.Option("--recover", help="Of a damaged FILE, write all blocks that are whole.")] = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
    device: Device = "",
    cluster: Cluster = None,
    output_dir: OutputDir = None,
    resume: Resume = False,
    json: ReportJson = False,
) -> None:
    """Decompress each FILE.nnc to FILE and keep FILE.nnc.

    Every block is compared with its checksum. If anything is wrong, there is no output file.
    With --recover there is: one damaged block costs that block only, zeros stand in its place,
    the lost ranges are named, and the exit code is 1.
    """
    with guarded():
        from nncomp.cli import inputs, transfer

        check(
            cluster,
            {"--output-dir": output_dir, "--resume": resume, "--json": json},
            {"-c": stdout, "-o": output, "--rm": rm, "--range": range_, "--recover": recover, "--device": device},
        )
        names = files or [] if cluster else inputs.expand(files, recursive, is_packed=True)
        part = inputs.parse_range(range_)
        is_removed = rm and not keep
        target, cores = _target(names, output, stdout, is_removed), transfer.worker_count(workers)
        if part and (is_removed or len(names) > 1 or (target is None and names != ["-"])):
            raise typer.BadParameter("--range is for one FILE, with -o or -c, and without --rm.")
        if recover and (part or is_removed):
            raise typer.BadParameter("--recover takes all that is left of FILE and keeps FILE: leave --range and --rm away.")
        memory = inputs.parse_memory(memory_limit)
        options = transfer.Options(target, force, quiet, verbose, cores, is_removed, is_removed, part, memory, recover)
        given = transfer.given_models(model, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            asked = far.Asked(cluster, far.DECOMPRESS, files, recursive, output_dir, resume, json)
            far.run(asked, options, given=given)
            return
        transfer.listen(options)
        transfer.each_file(names, options, lambda name, known: transfer.decompress_file(name, given, known))


@app.command()
def cat(
    files: Files = None,
    range_: Range = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
) -> None:
    """Decompress each FILE.nnc to standard output, one after another.

    With --range only the blocks are decoded that hold some of it, each of 3.5 MiB or a little more.
    """
    with guarded():
        from nncomp.cli import inputs, transfer

        names = inputs.expand(files, False, is_packed=True)
        part = inputs.parse_range(range_)
        if part and len(names) > 1:
            raise typer.BadParameter(f"--range is for one FILE, and there are {len(names)}.")
        memory = inputs.parse_memory(memory_limit)
        options = transfer.Options("-", False, quiet, verbose, transfer.worker_count(workers), part=part, memory=memory)
        given = transfer.given_models(model)
        transfer.listen(options)
        transfer.each_file(names, options, lambda name, known: transfer.decompress_file(name, given, known))


@app.command("test")
def test(
    files: Files = None,
    json: Json = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
    device: Device = "",
    cluster: Cluster = None,
) -> None:
    """Decompress each FILE.nnc without writing it, to see that it is whole."""
    with guarded():
        from nncomp.cli import inputs, transfer

        check(cluster, {}, {"--device": device})
        names = [] if cluster else inputs.expand(files, recursive, is_packed=True)
        memory = inputs.parse_memory(memory_limit)
        options = transfer.Options(None, False, quiet, verbose, transfer.worker_count(workers), memory=memory)
        given = transfer.given_models(model, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            far.run(far.Asked(cluster, far.TEST, files, recursive, is_json=json), options, given=given)
            return
        transfer.listen(options)
        transfer.test_files(names, given, options, json)


@app.command("list")
def list_(files: Files = None, recursive: Recursive = False, json: Json = False) -> None:
    """Show what is in each FILE.nnc: frames, blocks by kind, sizes, ratio, bits per byte (bpb), bound and model.

    Nothing is decoded, so the bound is the running estimate of nncomp compress with the
    coder's rounding (some 0.001 bpb); nncomp entropy gives the full estimate.
    """
    with guarded():
        from nncomp.cli import inputs, listing

        listing.list_files(inputs.expand(files, recursive, is_packed=True), json)


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


@app.command()
def train(
    data: Annotated[
        str,
        typer.Option(help="Text to learn from: a file, a folder, a glob pattern or a URL.", metavar="PATH", show_default=False),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="The model file to write.", metavar="FILE", show_default=False)],
    valid: Annotated[
        str | None,
        typer.Option(
            help="Other text of the same kinds, to measure on. Without it, one document or one byte in 50 is held out.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    shape: Annotated[
        Shape,
        typer.Option(
            help="Size of the new network. If it only has more layers than --init, only the new layers are trained.",
            metavar="NAME",
        ),
    ] = Shape.DEFAULT,
    time: Annotated[str, typer.Option(help="How long to train: 90s, 30m, 2h.", metavar="TIME")] = "1h",
    tokens: Annotated[
        int,
        typer.Option(
            min=0, help="Train on so many tokens, however long it takes; repeats exactly.", metavar="N", show_default=False
        ),
    ] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder for checkpoint and log; to go on, give it again.", metavar="FOLDER")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads, 0 for as many as torch takes.", metavar="N")] = 0,
    lanes: Annotated[
        int, typer.Option(min=1, help="Places in the text learned from at a time; all processes share them.", metavar="N")
    ] = 32,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", metavar="N")] = 0,
    init: Annotated[
        str | None,
        typer.Option(help="Start from this model: a level or a model file.", metavar="MODEL", show_default=False),
    ] = None,
    objective: Annotated[
        Objective,
        typer.Option(
            help="What to make small: cross-entropy; mixture (the loss of network and mixing together: smaller files, a longer "
            "start); or a distance of each token's loss from its entropy in --targets: hinge (where it is above) or absolute.",
            metavar="NAME",
        ),
    ] = Objective.CROSS_ENTROPY,
    targets: Annotated[
        Path | None,
        typer.Option(
            help="Estimates of the training text's entropy: the file of nncomp entropy --per-token.",
            metavar="FILE.jsonl",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        int,
        typer.Option(
            min=0, max=64, help="Train an encoder too: it says N numbers of each text that are sent ahead of it.", metavar="N"
        ),
    ] = 0,
    plot: Annotated[
        str | None,
        typer.Option(
            help="Draw bits per byte over the text seen; needs pip install 'nncomp\\[plot]'.",
            metavar="FILE.png|svg",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model on text of your own; compress and decompress take it with --model FILE.

    Needs the train extra: pip install 'nncomp\\[train]'. A GPU is used if there is one; several, or several machines,
    with torchrun: torchrun --nproc-per-node 4 -m nncomp train ...
    """
    if (targets is None) != (objective in (Objective.CROSS_ENTROPY, Objective.MIXTURE)):
        raise typer.BadParameter("--targets and an --objective of hinge or absolute need each other.")
    if targets is not None and valid is None:
        raise typer.BadParameter("--targets are of all of the training text: hold none of it out, give other text with --valid.")
    with guarded():
        from nncomp.cli.fetched import written_here
        from nncomp.cli.train_command import Wanted
        from nncomp.cli.train_command import train as command

        folder = work or Path(out.rpartition("/")[2] if "://" in out else out).with_suffix(".work")
        with written_here(out) as path:
            command(
                Wanted(
                    data,
                    valid,
                    shape.value,
                    time,
                    path,
                    folder,
                    threads,
                    seed,
                    init,
                    tokens,
                    lanes,
                    code,
                    objective.value,
                    targets,
                    plot,
                )
            )


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="Whose completions to print.")]) -> None:
    """Print what makes SHELL complete nncomp's commands and options.

    bash: nncomp completion bash > ~/.local/share/bash-completion/completions/nncomp

    zsh: nncomp completion zsh > _nncomp, in a folder of $fpath

    fish: nncomp completion fish > ~/.config/fish/completions/nncomp.fish
    """
    from typer._completion_shared import get_completion_script  # what --show-completion prints, for a shell that is named

    print(get_completion_script(prog_name="nncomp", complete_var=COMPLETE, shell=shell.value))


def command_names() -> set[str]:
    """Return the names of all commands."""
    return {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}


def _target(names: list[str], output: str | None, is_stdout: bool, is_removed: bool) -> str | None:
    """Return where everything goes, or None for beside each file; raises BadParameter when that is not one place."""
    if output is not None and is_stdout:
        raise typer.BadParameter("-o and -c exclude each other.")
    if output is not None and len(names) > 1:
        raise typer.BadParameter(f"-o takes the result of one FILE, and there are {len(names)}; leave -o away or use -c.")
    target = "-" if is_stdout else output
    if is_removed and target == "-":
        raise typer.BadParameter("--rm needs a result in a file, not on standard output.")
    return target
