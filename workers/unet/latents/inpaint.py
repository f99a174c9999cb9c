"""Inpainting, as StableDiffusion[XL]InpaintPipeline does it: a mask says what of an image is drawn anew."""

import torch
from torch import Generator, Tensor

from shared.families.unet import SD1
from workers.families.base_model import BaseModel
from workers.unet.denoise import InitialLatents
from workers.unet.latents.input_images import InputImages
from workers.unet.latents.noise import EncodedImage, sample_noise
from workers.unet.timesteps.schedule import Schedule


class RestoreKnown(InitialLatents):
    """For a UNet that knows nothing of masks: what is kept is put back after each step."""

    def __init__(
        self, latents: Tensor, schedule: Schedule, mask: Tensor, image: Tensor, noise: Tensor
    ) -> None:
        super().__init__(latents)
        self._schedule = schedule
        self._mask = mask  # (n, 1, h/f, w/f), 1 where something is drawn
        self._image = image  # (n, c, h/f, w/f)
        self._noise = noise

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """See `InitialLatents`; what is kept is as noisy as the next step expects, and clean after the
        last."""
        kept = self._image
        if step + 1 < len(self._schedule.timesteps):
            kept = self._schedule.noised(kept, self._noise, step + 1)
        return (1 - self._mask) * kept + self._mask * latents


class MaskChannels(InitialLatents):
    """For a UNet of more channels, trained to see the mask and what it leaves of the image."""

    def __init__(self, latents: Tensor, mask: Tensor, masked_image: Tensor) -> None:
        super().__init__(latents)
        self._beside = torch.cat([mask, masked_image], dim=1)  # (n, 1 + c, h/f, w/f)

    def model_input(self, x: Tensor) -> Tensor:
        """See `InitialLatents`; both guidance halves see the same."""
        return torch.cat([x, self._beside.repeat(len(x) // len(self._beside), 1, 1, 1)], dim=1)


def start_inpainting(
    model: BaseModel, schedule: Schedule, generators: list[Generator], source: InputImages, strength: float
) -> InitialLatents:
    """At ``strength`` 1 from noise alone, else from the noised image.

    All pictures share one draw of the image, from the first generator.
    """
    mask = source.mask
    assert mask is not None, "without a mask it is image-to-image"
    n, (height, width) = len(generators), source.pixels.shape[-2:]

    def draw(encoded: EncodedImage) -> Tensor:
        return encoded.draw(generators[0]).repeat(n, 1, 1, 1)

    def first_latents(image: Tensor | None) -> tuple[Tensor, Tensor]:
        noise = sample_noise(model, generators, (width, height))
        if image is None or strength == 1:
            return noise, noise * schedule.scheduler.init_noise_sigma
        return noise, schedule.noised(image, noise, 0)

    size = (height // model.pipe.vae_scale_factor, width // model.pipe.vae_scale_factor)
    small = torch.nn.functional.interpolate(mask, size=size).to(model.pipe.unet.dtype).repeat(n, 1, 1, 1)
    if SD1.is_inpainting(model.pipe.unet.config):
        _, latents = first_latents(None if strength == 1 else draw(EncodedImage(model, source.pixels)))
        return MaskChannels(latents, small, draw(EncodedImage(model, source.pixels * (mask < 0.5))))
    encoded = EncodedImage(model, source.pixels)
    image = draw(encoded)
    noise, latents = first_latents(image)
    draw(encoded)  # diffusers draws the masked image here too, though nothing looks at it
    return RestoreKnown(latents, schedule, small, image, noise)
