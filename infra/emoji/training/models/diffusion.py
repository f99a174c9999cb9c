"""The noise the model learns to remove: DDIM's, with v-prediction (Salimans & Ho 2022)."""

import torch
from diffusers import DDIMScheduler
from torch import Tensor

TIMESTEPS = 1000


def ddim() -> DDIMScheduler:
    """The scheduler that ships with the model."""
    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def noised(latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents and the v the model should answer with, both like ``latents``, ``(b, 4, h, w)``."""
    scheduler = ddim()
    noise = torch.randn_like(latents)
    x = scheduler.add_noise(latents, noise, timesteps)
    v = scheduler.get_velocity(latents, noise, timesteps)
    return x.contiguous(memory_format=torch.channels_last), v


def even_timesteps(count: int) -> Tensor:
    """Any timestep, all as often."""
    return torch.randint(0, TIMESTEPS, (count,))


def spread_timesteps(count: int, *, power: float) -> Tensor:
    """One timestep from each of ``count`` equal slices; a ``power`` below 1 leans to high noise."""
    slices = (torch.arange(count) + torch.rand(count)) / count
    return (slices**power * TIMESTEPS).long().clamp(0, TIMESTEPS - 1)
