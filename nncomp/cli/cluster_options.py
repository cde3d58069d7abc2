"""The options of commands that can run on a cluster; `nncomp/cli/cluster_command.py` runs them."""

from __future__ import annotations

from typing import Annotated

from nncomp.cli.options import Option, WrongUse

Cluster = Annotated[
    str | None,
    Option(
        "--cluster",
        help="Run on the Dask cluster at this scheduler address, such as tcp://HOST:8786. local starts -T processes on this "
        "machine. FILE may be a quoted pattern.",
        metavar="ADDRESS",
        show_default=False,
    ),
]
Resume = Annotated[bool, Option("--resume", help="With --cluster: skip files whose result is complete and valid.")]
ReportJson = Annotated[bool, Option("--json", help="With --cluster: print one JSON document instead of a table.")]


def check(cluster: str | None, with_cluster: dict[str, object], without: dict[str, object]) -> None:
    """Raise WrongUse for an option that needs --cluster without it, or that cannot be used with it."""
    wrong = [name for name, value in (without if cluster else with_cluster).items() if value]
    if wrong:
        raise WrongUse(f"{wrong[0]} {'cannot be used with' if cluster else 'needs'} --cluster.")
