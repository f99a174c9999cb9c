"""The denoising loop: a pure function of the model, the scheduler and the noise.

Latents have the shape that the family gives them, with ``n`` rows (see `workers.families.base`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workers.families.guidance import Guidance
from workers.unet.timesteps.schedule import Schedule, Timestep

#: Predicts from the scaled model input ``x`` at step ``i``, timestep ``t``; of both branches if guided.
Predict = Callable[[Tensor, int, Timestep], Tensor]
#: Called before each step; raises to stop the job.
BeforeStep = Callable[[int], None]
#: Called after each step with the new latents.
AfterStep = Callable[[int, Tensor], None]


class InitialLatents:
    """What the loop begins with; modes that do more than denoise are its subclasses."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents  # n rows

    def model_input(self, x: Tensor) -> Tensor:
        """The base model's input for the scaled latents ``x``, ``b`` rows."""
        return x

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """The latents with which the loop goes on after ``step``."""
        return latents


@torch.inference_mode()
def denoise(
    predict: Predict,
    schedule: Schedule,
    start: InitialLatents,
    *,
    guidance: Guidance,
    step_options: dict[str, Any],
    before_step: BeforeStep,
    after_step: AfterStep,
    first_step: int = 0,
) -> Tensor:
    """Denoise latents along the schedule's timesteps, from ``first_step`` on.

    Nothing in here waits for the device: only the callbacks may.
    """
    latents = start.latents
    for i in range(first_step, len(schedule.timesteps)):
        before_step(i)
        t = schedule.timestep(i)
        is_guided = guidance.is_guided_at(t.value)
        x = schedule.scaled(guidance.expand(latents) if is_guided else latents, i)
        noise = predict(start.model_input(x), i, t)
        noise = guidance.combine(noise) if is_guided else noise
        latents = schedule.step(noise, i, latents, step_options)
        latents = start.after_step(i, latents)
        after_step(i, latents)
    return latents
