"""Conversions between images and the latents that the UNet works on."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from infra.emoji.training.data.emoji_sets import Floats


def to_tensor(images: Iterable[Floats]) -> Tensor:
    """Images of 0 to 1 as one tensor ``(n, 3, h, w)`` of -1 to 1."""
    stacked = torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2) * 2 - 1
    return stacked.contiguous(memory_format=torch.channels_last)


def to_images(tensor: Tensor) -> Floats:
    """The way back: ``(n, 3, h, w)`` to ``(n, h, w, 3)``."""
    pixels = ((tensor.detach().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1)
    return cast(Floats, pixels.float().numpy())


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Iterable[Floats]) -> Tensor:
    """Scaled latent means ``(n, 4, h/4, w/4)``."""
    x = to_tensor(images)
    means = [vae.encode(x[i : i + 64]).latent_dist.mean for i in range(0, len(x), 64)]
    scaling = float(vae.config.scaling_factor)
    return torch.cat(means) * scaling


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Floats:
    """Images ``(n, h, w, 3)`` of scaled latents."""
    return to_images(vae.decode(latents / vae.config.scaling_factor).sample)
