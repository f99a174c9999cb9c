"""What the loop of each mode begins with: noise, a noised image, or one of which a mask keeps a part."""

import torch
from torch import Generator, Tensor

from shared.jobs.spec import JobSpec
from workers.families.base import BaseModel
from workers.unet.denoising.denoise import InitialLatents
from workers.unet.latents.inpaint import start_inpainting
from workers.unet.latents.input_images import InputImages
from workers.unet.timesteps.schedule import Schedule


@torch.inference_mode()
def make_initial_latents(
    model: BaseModel,
    spec: JobSpec,
    schedule: Schedule,
    generators: list[Generator],
    source: InputImages | None,
) -> InitialLatents:
    """Uses ``generators`` as the diffusers pipeline of the mode does; raises `InvalidRequest`."""
    model.check_images(spec)
    if source is None:
        noise = model.latents.sample_noise(generators, model.size(spec.width, spec.height))
        return InitialLatents(schedule.initial(noise))
    if source.mask is None:
        return InitialLatents(_noised_image(model, schedule, generators, source.pixels))
    assert spec.strength is not None, "the web fills it in"
    return start_inpainting(model, schedule, generators, source, spec.strength)


def _noised_image(
    model: BaseModel, schedule: Schedule, generators: list[Generator], pixels: Tensor
) -> Tensor:
    """The input image sampled once an image, ``n`` rows, as noisy as the first step expects."""
    encoded = model.latents.encode(pixels)
    latents = model.latents.sample_images(encoded, generators)
    height, width = pixels.shape[-2:]
    noise = model.latents.sample_noise_for_image(generators, (width, height))
    return schedule.noised(latents, noise, 0)
