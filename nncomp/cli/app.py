"""All commands: those of the two modules that are imported here, then train, warmup and completion.

The order of the imports is the order of the commands in the help. What a command does is imported when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from nncomp.cli import file_commands, measuring_commands  # noqa: F401 (they add their commands to the app)
from nncomp.cli.failures import COMPLETE, guarded
from nncomp.cli.options import Argument, Objective, Option, Shell, picture
from nncomp.cli.root import app as app


@app.command()
def train(
    data: Annotated[
        str,
        Option(help="Text to learn from: a file, a folder, a glob pattern or a URL.", metavar="PATH", show_default=False),
    ],
    out: Annotated[str, Option("--out", "-o", help="The model file to write.", metavar="FILE", show_default=False)],
    valid: Annotated[
        str | None,
        Option(
            help="Other text of the same kinds, to measure on. Without it, one document or one byte in 50 is held out.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    shape: Annotated[
        str | None,
        Option(
            help="Size of the network: fast, default or large, also with other sizes: large,width=384. "
            "The model of --init grows to it. If it only has more layers, only these are trained.",
            metavar="SHAPE",
            show_default=False,
        ),
    ] = None,
    time: Annotated[str, Option(help="How long to train: 90s, 30m, 2h.", metavar="TIME")] = "1h",
    tokens: Annotated[
        int,
        Option(min=0, help="Train on so many tokens, however long it takes; repeats exactly.", metavar="N", show_default=False),
    ] = 0,
    work: Annotated[Path | None, Option(help="Folder for checkpoint and log; to go on, give it again.", metavar="FOLDER")] = None,
    threads: Annotated[int, Option(min=0, help="Threads, 0 for as many as torch takes.", metavar="N")] = 0,
    lanes: Annotated[
        int, Option(min=1, help="Places in the text learned from at a time; all processes share them.", metavar="N")
    ] = 32,
    seed: Annotated[int, Option(help="Seed of all random choices.", metavar="N")] = 0,
    init: Annotated[
        str | None,
        Option(help="Start from this model: default, fast, or a model file.", metavar="MODEL", show_default=False),
    ] = None,
    objective: Annotated[
        Objective,
        Option(
            help="What to make small: cross-entropy; mixture (the loss of network and mixing together: smaller files, a longer "
            "start); or a distance of each token's loss from its entropy in --targets: hinge (where it is above) or absolute.",
            metavar="NAME",
        ),
    ] = Objective.CROSS_ENTROPY,
    targets: Annotated[
        Path | None,
        Option(
            help="Estimates of the training text's entropy: the file of nncomp entropy --per-token.",
            metavar="FILE.jsonl",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        int,
        Option(
            min=0,
            max=255,
            help="Learn a table of N codes too: short texts are smaller by a code that says their kind. Takes minutes.",
            metavar="N",
        ),
    ] = 0,
    plot: Annotated[
        str | None,
        Option(
            parser=picture,
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
    with guarded():
        from nncomp.cli.fetched import written_here
        from nncomp.cli.train_command import asked, parse_time
        from nncomp.cli.train_command import train as command
        from nncomp.training.wanted import check_output, work_folder

        training = asked(
            shape=shape,
            seconds=parse_time(time),
            tokens=tokens,
            valid=valid,
            init=init,
            lanes=lanes,
            threads=threads,
            seed=seed,
            objective=objective.value,
            targets=targets,
            code=code,
        )
        with written_here(out) as path:
            check_output(path)
            folder = work_folder(Path(path.name) if "://" in out else path, work)
            command(data, path, folder, training, plot)


@app.command()
def warmup() -> None:
    """Prepare this machine, or an image of one: compile all kernels and hash the models, so that no later run has to.

    What is made is kept in the cache folder, for this processor, this nncomp and this Python.
    """
    with guarded():
        from nncomp.cli.warmup_command import warm_up

        warm_up()


@app.command()
def completion(shell: Annotated[Shell, Argument(help="Shell to print the script for.", metavar="SHELL")]) -> None:
    """Print the script that lets SHELL complete nncomp's commands and options.

    bash: nncomp completion bash > ~/.local/share/bash-completion/completions/nncomp

    zsh: nncomp completion zsh > _nncomp, in a folder of $fpath

    fish: nncomp completion fish > ~/.config/fish/completions/nncomp.fish
    """
    from typer._completion_shared import get_completion_script  # what --show-completion prints, for a shell that is named

    print(get_completion_script(prog_name="nncomp", complete_var=COMPLETE, shell=shell.value))
    if shell is Shell.ZSH:  # which loads the script at the first TAB, and that one is to be answered too
        print('\nif [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n  _nncomp_completion "$@"\nfi')
