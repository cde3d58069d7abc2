"""What compress, decompress, cat and test do with each of their files: `nncomp/cli/several.py` calls it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from nncomp.cli import transfer
from nncomp.cli.failures import describe, say
from nncomp.cli.file_options import Input, Options
from nncomp.cli.names import STANDARD, SUFFIX, shown
from nncomp.cli.result_line import describe_blocks, describe_sizes
from nncomp.cli.several import each_file
from nncomp.cli.sinks import Discard
from nncomp.cli.sources import open_source
from nncomp.errors import NncompError
from nncomp.network.registry import ModelFile
from nncomp.stream import pipeline
from nncomp.stream.pipeline import Summary
from nncomp.stream.small_files import CompressTask, SmallFile, decompress_task
from nncomp.stream.tasks import Finder, finder


def compress_files(names: list[str], model: ModelFile | None, options: Options) -> None:
    """Compress files; exits with 1 if any failed."""
    each_file(names, options, _Compressing(model))


def decompress_files(names: list[str], given: list[ModelFile], options: Options) -> None:
    """Decompress files; exits with 1 if any failed."""
    each_file(names, options, _Decompressing(finder(given, options.reference)))


def test_files(names: list[str], given: list[ModelFile], options: Options, is_json: bool) -> None:
    """Decompress files and discard the bytes; with `is_json`, print the document of docs/JSON.md. Exits with 1 if any failed."""
    work = _Testing(finder(given, options.reference), is_json)
    try:
        each_file(names, options, work)
    finally:
        if is_json:
            print(json.dumps({"files": work.rows}, indent=1))


def _is_free(target: str, options: Options) -> bool:
    """Return whether a result may have this name: what may not is told at once, before any work."""
    return options.is_forced or target == STANDARD or not Path(target).exists()


@dataclass
class _Compressing:
    model: ModelFile | None

    def alone(self, name: str, options: Options) -> Summary | None:
        return transfer.compress_file(name, self.model, options)

    def workers(self, options: Options) -> int:
        return options.fitting_workers([self.model] if self.model else [], is_coding=True)

    def task(self, file: Input, options: Options) -> SmallFile | None:
        target = options.target_of(file.name, transfer.packed_name)
        kind = transfer.kind_of(file.source)
        is_refused = file.name.endswith(SUFFIX) or not _is_free(target, options) or bool(self.model and self.model.device)
        if is_refused or options.reference or (kind and options.is_skipping):
            return None
        return CompressTask(file.data, options.memory, coding=transfer.coding_of(kind, self.model, options))

    def finish(self, file: Input, options: Options) -> Summary | None:
        return transfer.compress_source(file, self.model, options)

    def describe(self, sums: Summary) -> str:
        return describe_sizes(sums)


@dataclass
class _Decoding:
    """What decompressing and testing have in common."""

    find_model: Finder

    def workers(self, options: Options) -> int:
        return options.fitting_workers(self.find_model.given)

    def task(self, file: Input, options: Options) -> SmallFile | None:
        if options.reference or any(model.device for model in self.find_model.given):
            return None
        return decompress_task(file.data, self.find_model, options.memory)


@dataclass
class _Decompressing(_Decoding):
    def alone(self, name: str, options: Options) -> Summary | None:
        return transfer.decompress_file(name, self.find_model, options)

    def task(self, file: Input, options: Options) -> SmallFile | None:
        is_free = _is_free(options.target_of(file.name, transfer.unpacked_name), options)
        return super().task(file, options) if is_free and options.part is None and not options.is_recovered else None

    def finish(self, file: Input, options: Options) -> Summary | None:
        return transfer.decompress_source(file, self.find_model, options)

    def describe(self, sums: Summary) -> str:
        return f"{sums.raw_bytes:,} bytes"


@dataclass
class _Testing(_Decoding):
    is_json: bool
    rows: list[dict[str, object]] = field(default_factory=list)

    def alone(self, name: str, options: Options) -> Summary | None:
        row = self._new_row(name)
        try:
            summary = self._decode(name, options)
        except NncompError as error:
            row["error"] = describe(error)
            raise
        self._report(name, summary, row, options)
        return summary

    def _new_row(self, name: str) -> dict[str, object]:
        row: dict[str, object] = {"file": name, "is_whole": False, "raw_bytes": None, "blocks": None, "error": None}
        if self.is_json:
            self.rows.append(row)
        return row

    def _decode(self, name: str, options: Options) -> Summary:
        summary = Summary()
        with open_source(name) as source, options.bar(name, source.size, summary) as bar:
            workers, memory = self.workers(options), options.memory
            pipeline.decompress(source, Discard(), self.find_model, workers, bar.update, summary=summary, memory=memory)
        return summary

    def _report(self, name: str, summary: Summary, row: dict[str, object], options: Options) -> None:
        row |= {"is_whole": True, "raw_bytes": summary.raw_bytes, "blocks": dict(summary.kinds)}
        if options.says_result(is_passing=False) and not self.is_json:
            say(f"{shown(name)}: whole, {summary.raw_bytes:,} bytes")
        if options.is_verbose:
            say(f"{shown(name)}: {describe_blocks(summary)}")

    def task(self, file: Input, options: Options) -> SmallFile | None:
        task = super().task(file, options)
        return replace(task, is_kept=False) if task else None

    def finish(self, file: Input, options: Options) -> Summary | None:
        assert file.made
        self._report(file.name, file.made.summary, self._new_row(file.name), options)
        return file.made.summary

    def describe(self, sums: Summary) -> str:
        return f"whole, {sums.raw_bytes:,} bytes"
