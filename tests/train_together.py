"""A small training for test_processes.py, which runs it alone and under torchrun: python -m tests.train_together CORPUS WORK."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import torch

from nncomp.training import whole_run
from nncomp.training.processes import Processes, join_processes
from nncomp.training.run_plan import RunPlan
from nncomp.training.trainer import TrainingConfig
from tests.models import SHAPE

# 75 steps: 23 in float, 40 while activations are observed, the others quantised.
CONFIG = TrainingConfig(
    time_s=600, tokens=75 * 4 * 16, lanes=4, steps=16, warmup_steps=5, quantized_share=0.7, reset_probability=0.2
)


def train(corpus: str, work: Path, processes: Processes) -> None:
    """Train in float32, where two processes and one differ by rounding alone."""
    with patch.object(torch.cpu, "get_capabilities", dict):  # no bfloat16 here
        whole_run.train(RunPlan(corpus, corpus, work, SHAPE, CONFIG), lambda line: None, processes)
    processes.leave()


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), join_processes())
