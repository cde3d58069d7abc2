"""The options of commands that can work on a cluster; see `nncomp/cli/cluster_command.py`."""

from __future__ import annotations

from typing import Annotated

import typer

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Work on a Dask cluster: its scheduler's address, tcp://HOST:8786, or local for processes here, as many as -T "
        "says. FILE may be a pattern in quotes.",
        metavar="ADDRESS",
        show_default=False,
    ),
]
OutputDir = Annotated[
    str | None,
    typer.Option("--output-dir", help="With --cluster: where results go.", metavar="FOLDER|URL", show_default=False),
]
Resume = Annotated[bool, typer.Option("--resume", help="With --cluster: leave alone what is finished and valid.")]
ReportJson = Annotated[bool, typer.Option("--json", help="With --cluster: print one JSON document in place of a table.")]


def check(cluster: str | None, with_cluster: dict[str, object], without: dict[str, object]) -> None:
    """Raise BadParameter for options that need a cluster when there is none, and for those that exclude one."""
    wrong = [name for name, value in (without if cluster else with_cluster).items() if value]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} {'does not go with' if cluster else 'is for'} --cluster.")
