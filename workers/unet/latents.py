"""Noise from seeds, as diffusers draws it: a CPU generator per picture, picture ``i`` at ``seed + i``."""

import inspect
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from shared.contract import MAX_SEED
from shared.specs import JobSpec
from workers.unet.models import BaseModel


def make_generators(spec: JobSpec) -> list[Generator]:
    """One generator a picture."""
    assert spec.seed + spec.num_images - 1 <= MAX_SEED, "the web checks this"
    return [torch.Generator().manual_seed(spec.seed + i) for i in range(spec.num_images)]


def first_latents(
    model: BaseModel, scheduler: Any, generators: list[Generator], size: tuple[int, int]
) -> Tensor:
    """The noise a job starts from, ``(n, c, h/f, w/f)``; ``size`` is (width, height) in pixels."""
    width, height = size
    factor = model.pipe.vae_scale_factor
    shape = (len(generators), model.pipe.unet.config.in_channels, height // factor, width // factor)
    noise = randn_tensor(shape, generator=generators, device=model.pipe.device, dtype=model.pipe.unet.dtype)
    return torch.as_tensor(noise * scheduler.init_noise_sigma)


def step_options(scheduler: Any, generators: list[Generator]) -> dict[str, Any]:
    """What this scheduler's ``step`` takes beyond the usual: its own noise, and DDIM's eta."""
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {}
    if "eta" in known:
        options["eta"] = 0.0
    if "generator" in known:
        options["generator"] = generators if len(generators) > 1 else generators[0]
    return options
