"""The latents of Stable Diffusion 3."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from workers.families.base_latents import EncodedImage
from workers.families.transformer.latents import ShiftedLatents


class SD3Latents(ShiftedLatents):
    """See `ShiftedLatents`."""

    def sample_images(self, encoded: EncodedImage, generators: Sequence[Generator]) -> Tensor:
        """See `LatentSpace`: one sample an image, from its own generator.

        diffusers' pipeline does not run with several generators.
        """
        return torch.cat([encoded.sample(generator) for generator in generators])
