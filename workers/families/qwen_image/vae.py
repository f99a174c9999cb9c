"""Qwen-Image's VAE, which encodes videos, as one of images."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn


class SingleFrameVae:
    """``AutoencoderKLQwenImage`` with the calls of ``AutoencoderKL``, of which latents have no frames."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        config = vae.config
        self.config = SimpleNamespace(
            latent_channels=config.z_dim, latents_mean=config.latents_mean, latents_std=config.latents_std
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """See ``nn.Module``."""
        parameters: Iterator[nn.Parameter] = self._vae.parameters()
        return parameters

    def encode(self, pixels: Tensor) -> "EncodedFrame":
        """Of pixels ``(n, 3, h, w)``."""
        return EncodedFrame(FrameDistribution(self._vae.encode(pixels.unsqueeze(2)).latent_dist))

    def decode(self, latents: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """Pixels ``(n, 3, h, w)``, of latents ``(n, c, h/f, w/f)``."""
        pixels: Tensor = self._vae.decode(latents.unsqueeze(2), return_dict=False)[0]
        return (pixels[:, :, 0],)


class EncodedFrame(NamedTuple):
    """What `SingleFrameVae.encode` returns."""

    latent_dist: "FrameDistribution"


class FrameDistribution:
    """A distribution of the latents of one frame."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def sample(self, generator: Generator | list[Generator] | None = None) -> Tensor:
        """``(n, c, h/f, w/f)``."""
        sampled: Tensor = self._frames.sample(generator)
        return sampled.squeeze(2)
