"""The denoising loop: a pure function of the model, the scheduler and the noise."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workers.unet.guidance import doubled, guide
from workers.unet.schedulers import Schedule

#: Predicts from the scaled model input ``x`` at step ``i``, timestep ``t``; both halves if guided.
Predict = Callable[[Tensor, int, Tensor], Tensor]
#: Told before a step is computed; raises to stop the job.
BeforeStep = Callable[[int], None]
#: Told after a step with the new latents.
AfterStep = Callable[[int, Tensor], None]


@torch.inference_mode()
def denoise(
    predict: Predict,
    schedule: Schedule,
    latents: Tensor,
    *,
    guidance_scale: float,
    guidance_rescale: float,
    step_options: dict[str, Any],
    before_step: BeforeStep,
    after_step: AfterStep,
) -> Tensor:
    """Walk ``latents``, ``(b, c, h/f, w/f)``, from noise to picture along the schedule's timesteps."""
    scheduler = schedule.scheduler
    for i, t in enumerate(schedule.timesteps):
        before_step(i)
        x = scheduler.scale_model_input(doubled(latents, guidance_scale), t)
        noise = guide(predict(x, i, t), guidance_scale, guidance_rescale)
        latents = scheduler.step(noise, t, latents, **step_options, return_dict=False)[0]
        after_step(i, latents)
    return latents
