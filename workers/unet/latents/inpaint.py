"""Inpainting, as the families' pipelines in diffusers do it: a mask says what of an image is repainted."""

import torch
from torch import Generator, Tensor

from workers.families.base import BaseModel
from workers.families.base_latents import EncodedImage
from workers.unet.denoising.denoise import InitialLatents
from workers.unet.latents.input_images import InputImages
from workers.unet.timesteps.schedule import Schedule


class MaskBlending(InitialLatents):
    """For a base model that knows nothing of masks: what is kept is put back after each step."""

    def __init__(
        self, latents: Tensor, schedule: Schedule, mask: Tensor, image: Tensor, noise: Tensor
    ) -> None:
        super().__init__(latents)
        self._schedule = schedule
        self._mask = mask  # as `LatentSpace.shrink_mask` makes it, 1 where it is repainted
        self._image = image  # as latents
        self._noise = noise

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """See `InitialLatents`; what is kept is as noisy as the next step expects, and clean after the
        last."""
        kept = self._image
        if step + 1 < len(self._schedule.timesteps):
            kept = self._schedule.noised(kept, self._noise, step + 1)
        return (1 - self._mask) * kept + self._mask * latents


class MaskConditioning(InitialLatents):
    """For a UNet of more channels, trained to see the mask and what it leaves of the image."""

    def __init__(self, latents: Tensor, mask: Tensor, masked_image: Tensor) -> None:
        super().__init__(latents)
        self._beside = torch.cat([mask, masked_image], dim=1)  # (n, 1 + c, h/f, w/f)

    def model_input(self, x: Tensor) -> Tensor:
        """See `InitialLatents`; both CFG branches see the same."""
        return torch.cat([x, self._beside.repeat(len(x) // len(self._beside), 1, 1, 1)], dim=1)


def start_inpainting(
    model: BaseModel, schedule: Schedule, generators: list[Generator], source: InputImages, strength: float
) -> InitialLatents:
    """At ``strength`` 1 from noise alone (`FamilyFacts.full_strength_is_noise`), else from the noised image.

    All images share one sample of the input image, from the first generator.
    """
    mask = source.mask
    assert mask is not None, "without a mask it is image-to-image"
    n, (height, width) = len(generators), source.pixels.shape[-2:]

    def sample(encoded: EncodedImage) -> Tensor:
        return model.latents.repeat_sample(encoded.sample(generators[0]), n)

    def first_latents(image: Tensor | None) -> tuple[Tensor, Tensor]:
        noise = model.latents.sample_noise_for_image(generators, (width, height))
        if image is None or (strength == 1 and model.facts.full_strength_is_noise):
            return noise, schedule.initial(noise)
        return noise, schedule.noised(image, noise, 0)

    encode, small = model.latents.encode, model.latents.shrink_mask(mask, n)
    if model.is_inpainting:
        _, latents = first_latents(None if strength == 1 else sample(encode(source.pixels)))
        return MaskConditioning(latents, small, sample(encode(source.pixels * (mask < 0.5))))
    encoded = encode(source.pixels)
    image = sample(encoded)
    noise, latents = first_latents(image)
    sample(encoded)  # diffusers samples the masked image here too, though nothing uses it
    return MaskBlending(latents, schedule, small, image, noise)
