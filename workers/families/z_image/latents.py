"""Z-Image's latents: kept in float32, but for images to start from, which have the text encoder's type."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from workers.families.base_latents import EncodedImage
from workers.families.transformer.latents import EncodedByShiftedVae, ShiftedLatents
from workers.runtime.weights.loaded import first_parameter


class ZImageLatents(ShiftedLatents):
    """``(n, 16, h/8, w/8)``."""

    def __init__(self, vae: Any, denoiser: Any, factor: int, text_encoder: Any) -> None:
        super().__init__(vae, denoiser, factor)
        self._text_encoder = text_encoder

    @property
    def dtype(self) -> torch.dtype:
        """Whatever the weights are."""
        return torch.float32

    def sample_noise(self, generators: Sequence[Generator], size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        return self._sample(generators, size, self.dtype)

    def sample_noise_for_image(self, generators: Sequence[Generator], size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        return self._sample(generators, size, self._image_dtype)

    def repeat_sample(self, latents: Tensor, count: int) -> Tensor:
        """See `LatentSpace`; here the layout is the sample's."""
        return torch.cat([latents] * count)

    def encode(self, pixels: Tensor) -> EncodedImage:
        """See `LatentSpace`."""
        return EncodedByShiftedVae(self._vae, pixels, self._image_dtype)

    def encode_control(self, pixels: Tensor) -> Tensor:
        """Images that ControlNets are given, ``(n, 3, h, w)`` in -1..1, as the most likely latents."""
        weight = first_parameter(self._vae)
        mode = self._vae.encode(pixels.to(weight.device, weight.dtype)).latent_dist.mode()
        config = self._vae.config
        return torch.as_tensor((mode - config.shift_factor) * config.scaling_factor)

    @property
    def _image_dtype(self) -> torch.dtype:
        return first_parameter(self._text_encoder).dtype

    def _sample(self, generators: Sequence[Generator], size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        width, height = (side // self._factor for side in size)
        shape = (len(generators), self._vae.config.latent_channels, height, width)
        device = first_parameter(self._denoiser).device
        return torch.as_tensor(randn_tensor(shape, generator=list(generators), device=device, dtype=dtype))
