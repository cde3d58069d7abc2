"""`nncomp entropy`: the estimated bound of a text and the parts of its file, as a table, JSON, a page or a plot."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.cli.failures import say
from nncomp.cli.file_options import Options, listen
from nncomp.cli.model_choice import choose_model, given_models
from nncomp.cli.names import STANDARD, SUFFIX, shown
from nncomp.cli.options import WrongUse
from nncomp.cli.progress import Bar
from nncomp.cli.sinks import Sink, open_sink
from nncomp.cli.sources import open_source
from nncomp.cli.transfer import check_reference_stays
from nncomp.format.numbers import MAGIC
from nncomp.stream.tasks import Coding, finder

if TYPE_CHECKING:
    from nncomp.entropy.gap import Analysis
    from nncomp.stream.reference import Reference


@dataclass(frozen=True)
class Wanted:
    """The outputs besides the summary: file names, or None."""

    is_json: bool
    per_token: str | None
    page: str | None
    plot: str | None

    @property
    def names(self) -> list[str]:
        return [name for name in (self.per_token, self.page, self.plot) if name is not None]


def show_entropy(name: str, wanted: Wanted, model: str | None, options: Options) -> None:
    """Analyse one file, write the outputs and print the summary. The options are those of compressing and decompressing."""
    listen(options)
    _check_names(wanted, options.reference)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(name, takes_folders=False))
        # Outputs are opened before the work: a wrong name fails at once. At the end all of them exist, or none.
        sinks = {each: stack.enter_context(open_sink(each, options.is_forced, source, is_same=False)) for each in wanted.names}
        analysis = _analyse(name, source.read(-1), model, options)
        _write(name, analysis, wanted, sinks, options)
    if wanted.is_json:
        from nncomp.entropy.report import document

        print(json.dumps(document(name, analysis), indent=1))
    elif not options.is_quiet:
        _print_summary(name, analysis)
    for each in wanted.names if not options.is_quiet else []:
        say(f"wrote {shown(each)}")


def _check_names(wanted: Wanted, reference: Reference | None) -> None:
    if STANDARD in wanted.names:
        raise WrongUse("Standard output is for the summary. Give the files names.")
    if len({os.path.realpath(name) for name in wanted.names}) < len(wanted.names):
        raise WrongUse("Two of the files to write have the same name. Give each its own.")
    for name in wanted.names:
        check_reference_stays(name, reference)
    if wanted.plot is not None:
        from nncomp.plots.picture import check_can_plot

        check_can_plot()


def _analyse(name: str, data: bytes, model: str | None, options: Options) -> Analysis:
    from nncomp.entropy.gap import analyse, compress_and_analyse, strongest_model

    is_packed = name.endswith(SUFFIX) or data.startswith(MAGIC)
    with Bar(name, None, options.is_quiet) as bar:
        if is_packed:
            find_model = finder(given_models(model), options.reference)
            return analyse(data, find_model, strongest_model(), options.workers, bar.update_of)
        coding = Coding(choose_model(model), reference=options.reference)
        return compress_and_analyse(data, coding, strongest_model(), options.workers, bar.update_of)


def _write(name: str, analysis: Analysis, wanted: Wanted, sinks: dict[str, Sink], options: Options) -> None:
    if wanted.per_token is not None:
        from nncomp.entropy.report import unit_lines

        for line in unit_lines(analysis):
            sinks[wanted.per_token].write(line)
    if wanted.page is not None:
        from nncomp.entropy.html_page import make_page

        with Bar(wanted.page, None, options.is_quiet) as bar:
            sinks[wanted.page].write(make_page(Path(name).name, analysis, options.workers, bar.update_of))
    if wanted.plot is not None:
        from nncomp.plots.bits_along import draw
        from nncomp.plots.picture import kind_of

        sinks[wanted.plot].write(draw(analysis, Path(name).name, kind_of(wanted.plot)))


def _print_summary(name: str, analysis: Analysis) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nncomp.entropy.report import PART_SAYS, code_of, tenths, titled

    raw_bytes = analysis.raw_bytes
    table = Table(box=None, pad_edge=False, header_style="italic")
    table.add_column("", no_wrap=True)
    for heading in ("bytes", "bpb"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")

    def rate(bits: float) -> str:
        return f"{bits / raw_bytes:.4f}" if raw_bytes else "-"

    for part, count in tenths(analysis.parts).items():
        label = "estimated bound" if part == "bound" else f"+ {part.replace('_', ' ')}"
        if part == "code_z" and code_of(analysis) is None:
            table.add_row(label, "none", "", "no block has a code")
            continue
        table.add_row(label, f"{count / 10:,.1f}", rate(analysis.parts[part]), PART_SAYS.get(part, analysis.source))
    file_bits = 8.0 * analysis.file_bytes
    table.add_row("= file", f"{analysis.file_bytes:,}.0", rate(file_bits), "", style="bold")
    console = Console()
    console.print(Text(f"{titled(name, analysis)}: {raw_bytes:,} bytes of text", style="bold"))
    console.print(table)
