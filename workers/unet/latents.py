"""Noise from seeds, as diffusers draws it: a CPU generator per picture."""

import inspect
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from shared.specs import JobSpec
from workers.unet.models import BaseModel


def make_generators(spec: JobSpec) -> list[Generator]:
    """One generator a picture."""
    return [torch.Generator().manual_seed(seed) for seed in spec.picture_seeds]


def first_latents(
    model: BaseModel, scheduler: Any, generators: list[Generator], size: tuple[int, int]
) -> Tensor:
    """The noise a job starts from, ``(n, c, h/f, w/f)``; ``size`` is (width, height) in pixels."""
    width, height = size
    factor = model.pipe.vae_scale_factor
    shape = (len(generators), model.pipe.unet.config.in_channels, height // factor, width // factor)
    noise = randn_tensor(shape, generator=generators, device=model.pipe.device, dtype=model.pipe.unet.dtype)
    return torch.as_tensor(noise * scheduler.init_noise_sigma)


def step_options(scheduler: Any, generators: list[Generator], eta: float) -> dict[str, Any]:
    """What this scheduler's ``step`` takes beyond the usual: its own noise, and how much of it."""
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {}
    if "eta" in known:
        options["eta"] = eta
    if "generator" in known:
        options["generator"] = generators if len(generators) > 1 else generators[0]
    return options
