"""Where the steps of flow matching lie: what pipelines give ``set_timesteps`` beside the number of steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from shared.jobs.spec import JobSpec


def job_sigmas(spec: JobSpec) -> list[float]:
    """The sigmas of a job: its own, or evenly from 1 down to one step above 0."""
    if spec.sigmas is not None:
        return list(spec.sigmas)
    steps = spec.num_inference_steps
    return [float(sigma) for sigma in np.linspace(1.0, 1 / steps, steps)]


def shift_of_size(tokens: int, config: Mapping[str, Any], max_shift: float = 1.15) -> float:
    """``mu`` for an image of so many ``tokens``, by the scheduler's config: larger ones need more noise."""
    return float(
        calculate_shift(
            tokens,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", max_shift),
        )
    )
