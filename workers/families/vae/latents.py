"""The latent space of a VAE with 2-D latents, ``(n, c, h/f, w/f)``: of all families but Qwen-Image.

Flux packs such latents into tokens (`workers.families.transformer.latents`).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from workers.families.base_latents import EncodedImage, LatentSpace
from workers.families.vae.preview import Previewer
from workers.runtime.weights.loaded import first_parameter

#: Modules of a VAE that it encodes with.
_ENCODING = frozenset({"encoder", "quant_conv"})


class VaeLatents(LatentSpace):
    """See `LatentSpace`."""

    def __init__(self, vae: Any, denoiser: Any, factor: int, *, encodes_in_float32: bool = False) -> None:
        """``factor``: pixels of a side of the image for one of the latents.

        ``encodes_in_float32``: whatever the type of the VAE's weights.
        """
        self._vae, self._denoiser, self._factor = vae, denoiser, factor
        self._encodes_in_float32 = encodes_in_float32
        self._previewer = Previewer(vae, self.to_vae)

    @property
    def dtype(self) -> torch.dtype:
        """That of the denoiser."""
        return first_parameter(self._denoiser).dtype

    def sample_noise(self, generators: Sequence[Generator], size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        shape = (
            len(generators),
            self._vae.config.latent_channels,
            size[1] // self._factor,
            size[0] // self._factor,
        )
        weight = first_parameter(self._denoiser)
        noise = randn_tensor(shape, generator=list(generators), device=weight.device, dtype=weight.dtype)
        return torch.as_tensor(noise)

    def encode(self, pixels: Tensor) -> EncodedImage:
        """See `LatentSpace`."""
        vae = _with_encoder_in_float32(self._vae) if self._encodes_in_float32 else self._vae
        return EncodedByVae(vae, pixels, self.dtype)

    def shrink_mask(self, mask: Tensor, count: int) -> Tensor:
        """``(count, 1, h/f, w/f)``."""
        size = (mask.shape[-2] // self._factor, mask.shape[-1] // self._factor)
        small = torch.nn.functional.interpolate(mask, size=size)
        return small.to(self.dtype).repeat(count, 1, 1, 1)

    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """See `LatentSpace`."""
        vae = self._vae
        pixels = vae.decode(self.to_vae(latents.to(first_parameter(vae).dtype)), return_dict=False)[0]
        return torch.as_tensor(pixels)

    def to_vae(self, latents: Tensor) -> Tensor:
        """From the denoiser's range to the VAE's."""
        return _unscale(latents, self._vae.config)

    def prepare_preview(self) -> None:
        """See `LatentSpace`: once a model."""
        self._previewer.fit()

    def preview(self, row: Tensor, size: tuple[int, int]) -> str:
        """See `LatentSpace`; one pixel for each of the latents'."""
        return self._previewer.preview(row)


class EncodedByVae:
    """An image as a distribution of latents."""

    def __init__(self, vae: Any, pixels: Tensor, dtype: torch.dtype) -> None:
        """``pixels``: ``(1, 3, h, w)`` in -1..1; ``dtype``: of the latents."""
        self._config = vae.config
        self._dtype = dtype
        # Rounded as the denoiser's latents are, also for a VAE of more precision: diffusers does.
        weight = first_parameter(vae)
        self._encoded = vae.encode(pixels.to(weight.device, dtype).to(weight.dtype))

    def sample(self, generator: Generator) -> Tensor:
        """``(1, c, h/f, w/f)`` in the denoiser's range."""
        return self._sample(generator) * float(self._config.scaling_factor)

    def sample_centred(self, generator: Generator) -> Tensor:
        """The same; some of SDXL's relatives shift each channel as well, where diffusers minds it."""
        mean, std = (getattr(self._config, name, None) for name in ("latents_mean", "latents_std"))
        if mean is None or std is None:
            return self.sample(generator)
        sample = self._sample(generator)
        mean, std = (_per_channel(values, sample) for values in (mean, std))
        return (sample - mean) * float(self._config.scaling_factor) / std

    def _sample(self, generator: Generator) -> Tensor:
        return torch.as_tensor(retrieve_latents(self._encoded, generator=generator)).to(self._dtype)


def _with_encoder_in_float32(vae: Any) -> Any:
    """The same VAE with another encoder; the weights stay as they are, which may decode at the same time."""
    if first_parameter(vae).dtype == torch.float32:
        return vae
    clone = copy.copy(vae)
    modules = {name: module for name, module in vae.named_children() if name in _ENCODING}
    parts = {name: copy.deepcopy(module).float() for name, module in modules.items()}
    clone.__dict__["_modules"] = {**vae._modules, **parts}
    return clone


def _unscale(latents: Tensor, config: Any) -> Tensor:
    """From the denoiser's range to the VAE's; some of SDXL's relatives shift each channel as well."""
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return latents / float(config.scaling_factor)
    mean, std = (_per_channel(values, latents) for values in (mean, std))
    return latents * std / float(config.scaling_factor) + mean


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """``torch.tensor(values)``, ``(1, c, 1, 1)``, as ``like``: filled on the device, where a copy waits."""
    channels = [torch.full((1, 1, 1, 1), value, dtype=torch.float32, device=like.device) for value in values]
    return torch.cat(channels, dim=1).to(like.dtype)
