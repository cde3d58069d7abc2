"""What a training is asked for: values that cannot be are refused before any work, for a program and for the command alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nncomp
from nncomp.cli.options import Objective
from nncomp.errors import DataError
from nncomp.training.objectives import DISTANCES
from nncomp.training.wanted import OBJECTIVES, plan_of, work_folder
from tests.conftest import Run


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seconds": -1}, "seconds is more than 0; -1 is not possible"),
        ({"seconds": 0}, "seconds is more than 0"),
        ({"seconds": float("nan")}, "seconds is more than 0; nan is not possible"),
        ({"seconds": float("inf")}, "seconds is more than 0; inf is not possible"),
        ({"tokens": -5}, "tokens is 0 to .*; -5 is not possible"),
        ({"lanes": 0}, "lanes is 1 to .*; 0 is not possible"),
        ({"threads": -1}, "threads is 0 to .*; -1 is not possible"),
        ({"seed": -1}, "seed is 0 to .*; -1 is not possible"),
        ({"code": -1}, "code is 0 to 255; -1 is not possible"),
        ({"code": 300}, "code is 0 to 255; 300 is not possible"),
        ({"shape": "foo"}, "There is no shape 'foo'"),
        ({"shape": ""}, "shape is empty"),
        ({"valid": ""}, "valid is empty"),
        ({"objective": "foo"}, "There is no objective 'foo': objectives are cross-entropy, mixture, hinge, absolute"),
        ({"objective": "hinge"}, "targets and an objective of hinge or absolute need each other"),
        ({"targets": "t.jsonl"}, "targets and an objective of hinge or absolute need each other"),
        ({"objective": "hinge", "targets": "t.jsonl"}, "give other text as valid"),
    ],
)
def test_values_that_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        nncomp.Training(**values)


@pytest.mark.parametrize(
    "values",
    [{"tokens": "5"}, {"lanes": 2.0}, {"seed": None}, {"seconds": "1h"}, {"valid": b"a"}, {"init": 5}, {"shape": Path("a")}],
)
def test_values_of_another_type(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(TypeError, match=f"^{name} is .*, not {values[name]!r}".replace("(", r"\(").replace(")", r"\)")):
        nncomp.Training(**values)


def test_objectives_are_the_same_ones_everywhere() -> None:
    assert tuple(Objective) == OBJECTIVES and {"cross-entropy", *DISTANCES} == set(OBJECTIVES)


def test_names_may_be_paths(tmp_path: Path) -> None:
    wanted = nncomp.Training(valid=tmp_path / "v", objective="hinge", targets=str(tmp_path / "t"))
    plan = plan_of("text", tmp_path, wanted, "")
    assert (plan.valid, plan.targets) == (str(tmp_path / "v"), tmp_path / "t")


def test_what_a_program_gives_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    (tmp_path / "file").write_bytes(b"")
    cases: list[tuple[type[Exception], Any, Any, dict[str, Any], str]] = [
        (TypeError, b"text", out, {}, "data is the path of the text"),
        (TypeError, "text", out, {"training": {"tokens": 5}}, "training is an nncomp.Training, not {'tokens': 5}"),
        (TypeError, "text", out, {"training": {}}, "training is an nncomp.Training, not {}"),
        (DataError, "", out, {}, "The name of the text is empty"),
        (DataError, "text", tmp_path, {}, f"{tmp_path} is a folder"),
        (DataError, "text", "", {}, "is a folder"),
        (DataError, "text", "/", {}, "/ is a folder"),
        (DataError, "text", out, {"folder": out}, "cannot be both the model file and the work folder"),
        (DataError, "text", out, {"folder": tmp_path / "file"}, "is a file, and the work folder would have this name"),
    ]
    for kind, data, place, more, said in cases:
        with pytest.raises(kind, match=said):
            nncomp.train(data, place, **more)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_each_model_has_a_work_folder_of_its_own() -> None:
    names = ["v.1", "v.2", "v.1.safetensors", "mine.safetensors", "mine.pt"]
    assert [str(work_folder(Path("a") / name, None)) for name in names] == [
        "a/v.1.work", "a/v.2.work", "a/v.1.work", "a/mine.work", "a/mine.pt.work",
    ]  # fmt: skip
    assert work_folder(Path("a"), Path("b")) == Path("b")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--time", "5"], 2, "'5' is not a time"),
        (["--shape", "foo"], 2, "There is no shape 'foo'"),
        (["--seed", "-1"], 2, "seed is 0 to"),
        (["--out", "."], 1, ". is a folder"),
        (["--out", "/"], 1, "/ is a folder"),
        (["--out="], 1, ". is a folder"),
        (["--data="], 1, "The name of the text is empty"),
        (["--work", "./b"], 1, "b cannot be both the model file and the work folder"),
    ],
)
def test_what_the_command_refuses_before_any_work(run: Run, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = run("train", "--data", "a", "-o", "b", *arguments)
    assert result.returncode == code and said in result.stderr.decode()
    assert not list(tmp_path.iterdir())
