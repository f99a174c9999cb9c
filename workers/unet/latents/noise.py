"""Where a job's noise comes from: a CPU generator for each image, as in diffusers."""

import inspect
from typing import Any

import torch
from torch import Generator

from shared.jobs.spec import JobSpec


def make_generators(spec: JobSpec) -> list[Generator]:
    """One generator for each image."""
    return [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]


def step_options(scheduler: Any, generators: list[Generator], eta: float) -> dict[str, Any]:
    """What this scheduler's ``step`` takes beyond the usual: its own noise, and how much of it."""
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {}
    if "eta" in known:
        options["eta"] = eta
    if "generator" in known:
        options["generator"] = generators if len(generators) > 1 else generators[0]
    return options
