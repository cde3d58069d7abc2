"""The commands compress, decompress, cat, test and list, with their options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from nncomp.blocks.levels import STANDARD
from nncomp.cli.cluster_options import Cluster, ReportJson, Resume, check
from nncomp.cli.failures import guarded
from nncomp.cli.options import (
    BlockSize,
    Device,
    Files,
    FilesFrom,
    FilesFromZeros,
    Force,
    GivenModel,
    GivenReference,
    Json,
    Keep,
    Level,
    Long,
    MemoryLimit,
    Model,
    Option,
    Output,
    OutputDir,
    OutputDirFlat,
    Quiet,
    Range,
    Recursive,
    Reference,
    Remove,
    Stdout,
    Verbose,
    Workers,
    WrongUse,
)
from nncomp.cli.root import app

if TYPE_CHECKING:
    from nncomp.cli.inputs import Lists
    from nncomp.cli.places import Places


@app.command()
def compress(
    files: Files = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    rm: Remove = False,
    verify: Annotated[bool, Option("--verify", help="Decode the result and compare it with FILE, as --rm does.")] = False,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    files_from0: FilesFromZeros = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    level: Level = STANDARD,
    long: Long = None,
    block_size: BlockSize = None,
    memory_limit: MemoryLimit = None,
    model: Model = None,
    reference: Reference = None,
    device: Device = "",
    cluster: Cluster = None,
    output_dir: OutputDir = None,
    output_dir_flat: OutputDirFlat = None,
    resume: Resume = False,
    json: ReportJson = False,
    exclude_compressed: Annotated[
        bool,
        Option("--exclude-compressed", help="Skip files that are compressed already; without it they are stored."),
    ] = False,
) -> None:
    """Compress each FILE to FILE.nnc and keep FILE.

    One line for each file gives sizes, ratio, bits per byte (bpb), cross-entropy
    and overhead. The cross-entropy is what the predictions alone would need, and
    the overhead is the rest of the file. nncomp entropy estimates how few bits
    the text needs.
    """
    with guarded():
        from nncomp.blocks import levels
        from nncomp.cli import inputs, model_choice, works
        from nncomp.cli.file_options import Options, listen, worker_count

        lists = inputs.Lists(files_from or (), files_from0 or ())
        folder = _folder(output_dir, output_dir_flat, stdout or output is not None)
        check(
            cluster,
            {"--resume": resume, "--json": json},
            {
                "-c": stdout,
                "-o": output is not None,
                "--rm": rm,
                "--verify": verify,
                "--device": device,
                "--reference": reference,
                "--exclude-compressed": exclude_compressed,
            }
            | _listed(lists),
        )
        inner = [] if cluster else inputs.expand(files, recursive, False, lists)
        names = files or [] if cluster else [name for name, _ in inner]
        is_removed = rm and not keep
        target, cores = _target(names, output, stdout, is_removed), worker_count(workers)
        memory, effort = inputs.parse_memory(memory_limit), levels.level(level).effort
        effort = replace(effort, window_log2=long) if long else effort
        effort = replace(effort, block_bytes=inputs.parse_block_size(block_size)) if block_size is not None else effort
        is_verified = verify or is_removed
        options = Options(
            target,
            force,
            quiet,
            verbose and not quiet,
            cores,
            is_verified,
            is_removed,
            memory=memory,
            effort=effort,
            is_skipping=exclude_compressed,
            places=_places(folder, inner, output_dir_flat),
            reference=inputs.open_reference(reference),
        )
        chosen = model_choice.choose_model(model, level, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            asked = far.Asked(cluster, far.COMPRESS, files, recursive, folder, resume, json, output_dir_flat is not None)
            far.run(asked, options, model=chosen)
            return
        listen(options)
        works.compress_files(names, chosen, options)


@app.command()
def decompress(
    files: Files = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    rm: Remove = False,
    range_: Range = None,
    recover: Annotated[bool, Option("--recover", help="Write the undamaged blocks of a damaged FILE.")] = False,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    files_from0: FilesFromZeros = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
    reference: GivenReference = None,
    device: Device = "",
    cluster: Cluster = None,
    output_dir: OutputDir = None,
    output_dir_flat: OutputDirFlat = None,
    resume: Resume = False,
    json: ReportJson = False,
    sparse: Annotated[
        bool, Option("--sparse/--no-sparse", help="Write long runs of zeros as holes, which take no room on the disk.")
    ] = True,
) -> None:
    """Decompress each FILE.nnc to FILE and keep FILE.nnc.

    Every block is compared with its checksum. After an error there is no output
    file.

    With --recover, the undamaged blocks of a damaged file are written, with zeros
    in place of the others. If blocks are lost, their ranges are printed and the
    exit status is 1.
    """
    with guarded():
        from nncomp.cli import inputs, model_choice, works
        from nncomp.cli.file_options import Options, listen, worker_count

        lists = inputs.Lists(files_from or (), files_from0 or ())
        folder = _folder(output_dir, output_dir_flat, stdout or output is not None)
        check(
            cluster,
            {"--resume": resume, "--json": json},
            {
                "-c": stdout,
                "-o": output is not None,
                "--rm": rm,
                "--range": range_,
                "--recover": recover,
                "--device": device,
                "--reference": reference,
            }
            | _listed(lists),
        )
        inner = [] if cluster else inputs.expand(files, recursive, True, lists)
        names = files or [] if cluster else [name for name, _ in inner]
        part = inputs.parse_range(range_)
        is_removed = rm and not keep
        target, cores = _target(names, output, stdout, is_removed), worker_count(workers)
        if part and (is_removed or len(names) > 1 or (target is None and names != ["-"])):
            raise WrongUse("--range takes one FILE, needs -o or -c, and cannot be used with --rm.")
        if recover and (part or is_removed):
            raise WrongUse("--recover cannot be used with --range or --rm.")
        memory = inputs.parse_memory(memory_limit)
        options = Options(
            target,
            force,
            quiet,
            verbose and not quiet,
            cores,
            is_verified=is_removed,
            is_removed=is_removed,
            part=part,
            memory=memory,
            is_recovered=recover,
            is_sparse=sparse,
            places=_places(folder, inner, output_dir_flat),
            reference=inputs.open_reference(reference),
        )
        given = model_choice.given_models(model, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            asked = far.Asked(cluster, far.DECOMPRESS, files, recursive, folder, resume, json, output_dir_flat is not None)
            far.run(asked, options, given=given)
            return
        listen(options)
        works.decompress_files(names, given, options)


@app.command()
def cat(
    files: Files = None,
    range_: Range = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
    reference: GivenReference = None,
) -> None:
    """Decompress each FILE.nnc to standard output, one after another.

    With --range, only the blocks that hold these bytes are decoded, and those that
    they have copies of. A block has 12 MiB, and the last block of a file up to
    18 MiB, unless compress had --block-size.
    """
    with guarded():
        from nncomp.cli import inputs, model_choice, works
        from nncomp.cli.file_options import Options, listen, worker_count

        names = [name for name, _ in inputs.expand(files, False, True)]
        part = inputs.parse_range(range_)
        if part and len(names) > 1:
            raise WrongUse(f"--range takes one FILE, and {len(names)} are given.")
        memory = inputs.parse_memory(memory_limit)
        told, cores, known = verbose and not quiet, worker_count(workers), inputs.open_reference(reference)
        options = Options("-", False, quiet, told, cores, part=part, memory=memory, reference=known)
        given = model_choice.given_models(model)
        listen(options)
        works.decompress_files(names, given, options)


@app.command("test")
def test(
    files: Files = None,
    json: Json = False,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    files_from0: FilesFromZeros = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    workers: Workers = 0,
    memory_limit: MemoryLimit = None,
    model: GivenModel = None,
    reference: GivenReference = None,
    device: Device = "",
    cluster: Cluster = None,
) -> None:
    """Check that each FILE.nnc is undamaged: decompress it and write nothing."""
    with guarded():
        from nncomp.cli import inputs, model_choice, works
        from nncomp.cli.file_options import Options, listen, worker_count

        lists = inputs.Lists(files_from or (), files_from0 or ())
        check(cluster, {}, {"--device": device, "--reference": reference} | _listed(lists))
        names = [] if cluster else [name for name, _ in inputs.expand(files, recursive, True, lists)]
        memory = inputs.parse_memory(memory_limit)
        told, cores, known = verbose and not quiet, worker_count(workers), inputs.open_reference(reference)
        options = Options(None, False, quiet, told, cores, memory=memory, reference=known)
        given = model_choice.given_models(model, device)
        if cluster:
            from nncomp.cli import cluster_command as far

            far.run(far.Asked(cluster, far.TEST, files, recursive, is_json=json), options, given=given)
            return
        listen(options)
        works.test_files(names, given, options, json)


@app.command("list")
def list_(
    files: Files = None,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    files_from0: FilesFromZeros = None,
    json: Json = False,
) -> None:
    """Show the sizes, ratio, bits per byte (bpb), kinds of block and model of each FILE.nnc.

    Nothing is decoded. payload is the bits per byte without headers and checksums:
    the cross-entropy of nncomp compress and the coder's rounding, about 0.001 bpb.
    nncomp entropy estimates the bound.
    """
    with guarded():
        from nncomp.cli import inputs, listing

        lists = inputs.Lists(files_from or (), files_from0 or ())
        listing.list_files([name for name, _ in inputs.expand(files, recursive, True, lists)], json)


def _listed(lists: Lists) -> dict[str, object]:
    """Return which options for lists of files are given."""
    return {"--files": lists.lines, "--files0": lists.zeros}


def _folder(mirrored: str | None, flat: str | None, has_output: bool) -> str | None:
    """Return the folder of the results, None for results beside their sources; raises WrongUse for two places."""
    if mirrored is not None and flat is not None:
        raise WrongUse("--output-dir and --output-dir-flat cannot be used together.")
    if (mirrored is not None or flat is not None) and has_output:
        raise WrongUse("Results in a folder and -o or -c cannot be used together.")
    if "" in (mirrored, flat):
        raise WrongUse("The name of the output folder is empty. Give the name of a folder; . is this one.")
    return mirrored if flat is None else flat


def _places(folder: str | None, inner: list[tuple[str, str]], flat: str | None) -> Places | None:
    from nncomp.cli.places import Places
    from nncomp.cli.sinks import check_folder

    if folder is not None:
        check_folder(folder)
    return None if folder is None else Places(folder, dict(reversed(inner)), flat is not None)


def _target(names: list[str], output: str | None, is_stdout: bool, is_removed: bool) -> str | None:
    """Return the one output of all files, or None for an output beside each file; raises WrongUse for wrong options."""
    if output is not None and is_stdout:
        raise WrongUse("-o and -c cannot be used together.")
    if output is not None and len(names) > 1:
        raise WrongUse(f"-o takes one FILE, and {len(names)} are given. Leave out -o, or use -c.")
    from nncomp.cli.names import STANDARD
    from nncomp.cli.sources import descriptor_of

    is_named_stdout = output is not None and descriptor_of(output) == 1
    target = STANDARD if is_stdout or is_named_stdout else output
    if is_removed and target == STANDARD:
        raise WrongUse("--rm needs a result in a file, not on standard output.")
    return target
