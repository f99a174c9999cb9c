"""Where a job's noise comes from: a CPU generator for each image, as in diffusers."""

import torch
from torch import Generator

from shared.jobs.spec import JobSpec


def make_generators(spec: JobSpec) -> list[Generator]:
    """One generator for each image."""
    return [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]
