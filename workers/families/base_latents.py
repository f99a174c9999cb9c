"""The protocol of a model's latents: noise, images as latents, and latents as images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class EncodedImage(Protocol):
    """What the VAE makes of an image: a distribution, from which latents are sampled."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Latents of one image, ``(1, …)``, in the denoiser's range."""

    def sample_centred(self, generator: torch.Generator) -> Tensor:
        """The same as image-to-image starts from, where a pipeline shifts each channel for that alone."""


class LatentSpace(ABC):
    """The latents of one model: noise, images as latents, and latents as images."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the latents that the loop keeps: not always the weights' (float32 beside bfloat16)."""

    @abstractmethod
    def sample_noise(self, generators: Sequence[torch.Generator], size: tuple[int, int]) -> Tensor:
        """``(n, …)`` of the standard normal, a CPU generator an image; ``size`` is (width, height) in px."""

    def sample_noise_for_image(self, generators: Sequence[torch.Generator], size: tuple[int, int]) -> Tensor:
        """The noise that is added to an image: some pipelines sample it in the image latents' type."""
        return self.sample_noise(generators, size)

    @abstractmethod
    def encode(self, pixels: Tensor) -> EncodedImage:
        """``pixels``: ``(1, 3, h, w)`` in -1..1."""

    def sample_images(self, encoded: EncodedImage, generators: Sequence[torch.Generator]) -> Tensor:
        """What image-to-image starts from, ``(n, …)``, sampled as the family's pipeline does it."""
        return torch.cat([encoded.sample_centred(generator) for generator in generators])

    def repeat_sample(self, latents: Tensor, count: int) -> Tensor:
        """Latents ``(1, …)`` of an input image for ``count`` images that a mask keeps a part of.

        Their layout in memory, which decides last bits, is that of the family's pipeline: here contiguous.
        """
        return latents.repeat(count, *[1] * (latents.dim() - 1))

    @abstractmethod
    def shrink_mask(self, mask: Tensor, count: int) -> Tensor:
        """A mask ``(1, 1, h, w)`` for ``count`` rows of latents, such that it multiplies them."""

    @abstractmethod
    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Pixels ``(n, 3, h, w)``, about -1..1, as the family's pipeline decodes them."""

    def prepare_preview(self) -> None:  # noqa: B027 - most need nothing
        """Get ready for `preview`; called in the thread of the computation, before each job's first step.

        Previews are extras: a failure is logged.
        """

    @abstractmethod
    def preview(self, row: Tensor, size: tuple[int, int]) -> str:
        """Base64 PNG of a rough image of one row of latents, ``(1, …)``, within a few milliseconds.

        Called in another thread, so the row is in the host's memory, and the device is not used. It may hold
        NaN.
        """
