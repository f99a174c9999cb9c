"""Noise from seeds and latents of images, drawn as diffusers draws them: a CPU generator per picture."""

import inspect
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel


def make_generators(spec: JobSpec) -> list[Generator]:
    """One generator a picture."""
    return [torch.Generator().manual_seed(seed) for seed in spec.image_seeds]


def sample_noise(model: BaseModel, generators: list[Generator], size: tuple[int, int]) -> Tensor:
    """``(n, c, h/f, w/f)`` of the standard normal; ``size`` is (width, height) in pixels."""
    factor, unet = model.pipe.vae_scale_factor, model.pipe.unet
    shape = (len(generators), model.pipe.vae.config.latent_channels, size[1] // factor, size[0] // factor)
    return torch.as_tensor(randn_tensor(shape, generator=generators, device=unet.device, dtype=unet.dtype))


class EncodedImage:
    """What the VAE makes of an image: a distribution, from which latents are drawn."""

    def __init__(self, model: BaseModel, pixels: Tensor) -> None:
        """``pixels`` are ``(1, 3, h, w)`` in -1..1."""
        vae = model.pipe.vae
        self._config = vae.config
        self._dtype = model.pipe.unet.dtype
        # Rounded as the UNet's latents are, also for a VAE that is kept in more precision: diffusers does.
        self._encoded = vae.encode(pixels.to(vae.device, self._dtype).to(vae.dtype))

    def draw(self, generator: Generator) -> Tensor:
        """``(1, c, h/f, w/f)`` in the UNet's range."""
        return self._sample(generator) * float(self._config.scaling_factor)

    def draw_centred(self, generator: Generator) -> Tensor:
        """The same; some of SDXL's relatives shift each channel as well, where diffusers minds it."""
        mean, std = (getattr(self._config, name, None) for name in ("latents_mean", "latents_std"))
        if mean is None or std is None:
            return self.draw(generator)
        sample = self._sample(generator)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(sample) for values in (mean, std))
        return (sample - mean) * float(self._config.scaling_factor) / std

    def _sample(self, generator: Generator) -> Tensor:
        return torch.as_tensor(retrieve_latents(self._encoded, generator=generator)).to(self._dtype)


def step_options(scheduler: Any, generators: list[Generator], eta: float) -> dict[str, Any]:
    """What this scheduler's ``step`` takes beyond the usual: its own noise, and how much of it."""
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {}
    if "eta" in known:
        options["eta"] = eta
    if "generator" in known:
        options["generator"] = generators if len(generators) > 1 else generators[0]
    return options
