"""What the loop of each mode begins with: noise, a noised image, or one of which a mask keeps a part."""

import torch
from torch import Generator, Tensor

from shared.errors import InvalidRequest
from shared.families.unet import SD1
from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel
from workers.unet.denoise import InitialLatents
from workers.unet.latents.inpaint import start_inpainting
from workers.unet.latents.input_images import InputImages
from workers.unet.latents.noise import EncodedImage, sample_noise
from workers.unet.timesteps.schedule import Schedule


@torch.inference_mode()
def make_initial_latents(
    model: BaseModel,
    spec: JobSpec,
    schedule: Schedule,
    generators: list[Generator],
    source: InputImages | None,
) -> InitialLatents:
    """Draws on ``generators`` as the diffusers pipeline of the mode does; raises `InvalidRequest`."""
    _check_channels(model, source)
    if source is None:
        noise = sample_noise(model, generators, model.size(spec.width, spec.height))
        return InitialLatents(noise * schedule.scheduler.init_noise_sigma)
    if source.mask is None:
        return InitialLatents(_noised_image(model, schedule, generators, source.pixels))
    assert spec.strength is not None, "the web fills it in"
    return start_inpainting(model, schedule, generators, source, spec.strength)


def _noised_image(
    model: BaseModel, schedule: Schedule, generators: list[Generator], pixels: Tensor
) -> Tensor:
    """A draw of the image for each picture, ``(n, c, h/f, w/f)``, as noisy as the first step expects."""
    encoded = EncodedImage(model, pixels)
    latents = torch.cat([encoded.draw_centred(generator) for generator in generators])
    height, width = pixels.shape[-2:]
    noise = sample_noise(model, generators, (width, height))
    return schedule.noised(latents, noise, 0)


def _check_channels(model: BaseModel, source: InputImages | None) -> None:
    channels = model.pipe.unet.config.in_channels
    if SD1.is_inpainting(model.pipe.unet.config):
        if source is None or source.mask is None:
            detail = f"model {model.name!r} was trained to inpaint: it needs an image and a mask_image"
            raise InvalidRequest(detail, field="mask_image")
    elif channels != model.pipe.vae.config.latent_channels:
        detail = f"the UNet of model {model.name!r} takes {channels} channels: that mode is not served"
        raise InvalidRequest(detail, field="model")
