"""Latents that are shifted as well as scaled, and packed ones: a token for each 2×2 of them."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux.pipeline_flux_img2img import retrieve_latents
from torch import Generator, Tensor

from workers.families.base_latents import EncodedImage
from workers.families.vae.latents import EncodedByVae, VaeLatents
from workers.runtime.weights.loaded import first_parameter


class ShiftedLatents(VaeLatents):
    """``(n, c, h/f, w/f)``: ``(x - shift_factor) * scaling_factor`` of the VAE's."""

    def encode(self, pixels: Tensor) -> EncodedImage:
        """See `LatentSpace`."""
        return EncodedByShiftedVae(self._vae, pixels, self.dtype)

    def sample_images(self, encoded: EncodedImage, generators: Sequence[Generator]) -> Tensor:
        """See `LatentSpace`: all images share one sample, from the first generator."""
        return torch.cat([encoded.sample(generators[0])] * len(generators))

    def to_vae(self, latents: Tensor) -> Tensor:
        """See `VaeLatents`."""
        config = self._vae.config
        return torch.as_tensor((latents / config.scaling_factor) + config.shift_factor)

    def sample_control(self, pixels: Tensor, generators: Sequence[Generator]) -> Tensor:
        """A control image, ``(1, 3, h, w)`` in -1..1, as latents, sampled once for each image, ``(n, …)``."""
        weight = first_parameter(self._vae)
        # Contiguous, and one row an image: both decide the last bits.
        rows = pixels.repeat_interleave(len(generators), dim=0).to(weight.device, weight.dtype)
        sample = retrieve_latents(self._vae.encode(rows), generator=list(generators))
        return _scaled(torch.as_tensor(sample), self._vae.config)


class PackedLatents(ShiftedLatents):
    """``(n, h/2f * w/2f, 4c)``: the four latents of a token lie in its channels, one latent channel after
    another."""

    def sample_noise(self, generators: Sequence[Generator], size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        return pack(super().sample_noise(generators, size))

    def encode(self, pixels: Tensor) -> EncodedImage:
        """See `LatentSpace`."""
        return _Packed(super().encode(pixels))

    def shrink_mask(self, mask: Tensor, count: int) -> Tensor:
        """See `LatentSpace`."""
        return pack(super().shrink_mask(mask, count).repeat(1, self._vae.config.latent_channels, 1, 1))

    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        return super().decode(self.unpack(latents, size), size)

    def preview(self, row: Tensor, size: tuple[int, int]) -> str:
        """See `LatentSpace`."""
        return super().preview(self.unpack(row, size), size)

    def sample_control(self, pixels: Tensor, generators: Sequence[Generator]) -> Tensor:
        """See `ShiftedLatents`."""
        return pack(super().sample_control(pixels, generators))

    def tokens(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens of an image of ``size``, (width, height) in px."""
        return size[1] // (2 * self._factor), size[0] // (2 * self._factor)

    def unpack(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """``(n, c, h/f, w/f)``."""
        (rows, columns), (n, _, channels) = self.tokens(size), latents.shape
        split = latents.view(n, rows, columns, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return split.reshape(n, channels // 4, 2 * rows, 2 * columns)


def pack(latents: Tensor) -> Tensor:
    """``(n, c, h, w)`` as ``(n, h/2 * w/2, 4c)``; h and w are even."""
    n, channels, height, width = latents.shape
    split = latents.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return split.reshape(n, (height // 2) * (width // 2), 4 * channels)


class EncodedByShiftedVae(EncodedByVae):
    """See `EncodedByVae`."""

    def sample(self, generator: Generator) -> Tensor:
        """``(1, c, h/f, w/f)`` in the denoiser's range."""
        return _scaled(self._sample(generator), self._config)

    def sample_centred(self, generator: Generator) -> Tensor:
        """The same: each sample is shifted."""
        return self.sample(generator)


class _Packed:
    """An encoded image whose samples are packed."""

    def __init__(self, encoded: EncodedImage) -> None:
        self._encoded = encoded

    def sample(self, generator: Generator) -> Tensor:
        """See `EncodedImage`."""
        return pack(self._encoded.sample(generator))

    def sample_centred(self, generator: Generator) -> Tensor:
        """See `EncodedImage`."""
        return pack(self._encoded.sample_centred(generator))


def _scaled(sample: Tensor, config: Any) -> Tensor:
    return torch.as_tensor((sample - config.shift_factor) * config.scaling_factor)
