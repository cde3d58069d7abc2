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


def check(cluster: str | None, needing: dict[str, object], refused: dict[str, object]) -> None:
    """Raise WrongUse for an option `needing` --cluster without it, for one that is `refused` with it, and for no address."""
    if cluster == "":
        raise WrongUse("--cluster needs an address, or the word local.")
    wrong = [name for name, value in (refused if cluster else needing).items() if value]
    if wrong:
        raise WrongUse(f"{wrong[0]} {'cannot be used with' if cluster else 'needs'} --cluster.")
