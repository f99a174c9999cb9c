"""The latents of Qwen-Image: packed, and each channel shifted and scaled by itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from workers.families.base import MaskedImage
from workers.families.base_latents import EncodedImage
from workers.families.qwen_image.vae import SingleFrameVae
from workers.families.transformer.inpainting import append_mask, blank_masked
from workers.families.transformer.latents import PackedLatents, pack
from workers.families.vae.latents import EncodedByVae
from workers.runtime.weights.loaded import first_parameter


class QwenImageLatents(PackedLatents):
    """See `PackedLatents`."""

    def __init__(self, vae: Any, denoiser: Any, factor: int) -> None:
        super().__init__(SingleFrameVae(vae), denoiser, factor)

    def encode(self, pixels: Tensor) -> EncodedImage:
        """See `LatentSpace`."""
        return _EncodedImage(self._vae, pixels, self.dtype)

    def to_vae(self, latents: Tensor) -> Tensor:
        """See `VaeLatents`."""
        mean, inverse_std = _statistics(self._vae.config, latents)
        return latents / inverse_std + mean

    def sample_control(self, pixels: Tensor, generators: Sequence[Generator]) -> Tensor:
        """See `ShiftedLatents`; scaled in float32, and rounded after that."""
        weight = first_parameter(self._vae)
        rows = pixels.repeat_interleave(len(generators), dim=0).to(weight.device, weight.dtype)
        sample = self._vae.encode(rows).latent_dist.sample(list(generators))
        mean, inverse_std = _statistics(self._vae.config, sample.float())
        return pack((sample - mean) * inverse_std).to(self.dtype)

    def sample_masked(self, masked: MaskedImage, count: int, generator: Generator) -> Tensor:
        """What a ControlNet is shown that inpaints, ``(count, tokens, 4(c + 1))``; see `sample_control`."""
        weight = first_parameter(self._vae)
        rows = blank_masked(masked, count).to(weight.device, weight.dtype)
        sample = self._vae.encode(rows).latent_dist.sample(generator)
        mean, inverse_std = _statistics(self._vae.config, sample.float())
        latents = ((sample - mean) * inverse_std).to(weight.dtype)
        return pack(append_mask(latents, masked.mask)).to(self.dtype)


class _EncodedImage(EncodedByVae):
    """An image as a distribution of packed latents."""

    def sample(self, generator: Generator) -> Tensor:
        """See `EncodedImage`."""
        sample = self._sample(generator)
        mean, inverse_std = _statistics(self._config, sample)
        return pack((sample - mean) * inverse_std)

    def sample_centred(self, generator: Generator) -> Tensor:
        """The same: each sample is shifted."""
        return self.sample(generator)


def _statistics(config: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal deviation of the VAE's latents by channel, ``(1, c, 1, 1)``, in the type of
    ``like``: diffusers takes the reciprocal in that type."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1).to(like.device, like.dtype)
        for values in (config.latents_mean, config.latents_std)
    )
    return mean, 1.0 / std
