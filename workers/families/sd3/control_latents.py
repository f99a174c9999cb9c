"""Control images of Stable Diffusion 3 as latents, of which diffusers samples others at each run.

Its pipeline samples them from the global generator, for both branches of guidance and all images of a batch.
Here that is a generator of its own with the seed of the job's first image, as if a user had called
``torch.manual_seed`` with that seed before the pipeline; it is sampled ControlNet by ControlNet.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from workers.runtime.weights.loaded import first_parameter


@torch.inference_mode()
def sample_control_latents(
    vae: Any, images: Sequence[Tensor], *, rows: int, seed: int, is_shifted: bool
) -> list[Tensor]:
    """Latents of each control image, ``(rows, c, h/8, w/8)``; ``images`` are ``(1, 3, h, w)`` in -1..1.

    ``is_shifted``: by the VAE's ``shift_factor``, as those latents are that are denoised.
    """
    weight, generator = first_parameter(vae), Generator().manual_seed(seed)
    shift = vae.config.shift_factor if is_shifted else 0
    sampled = []
    for image in images:
        # One row for each of the step's: their number decides the last bits.
        pixels = image.to(weight.device, weight.dtype).repeat_interleave(rows, dim=0)
        latents = vae.encode(pixels).latent_dist.sample(generator)
        sampled.append((latents - shift) * vae.config.scaling_factor)
    return sampled
