"""Control images of Stable Diffusion 3 as latents, of which diffusers samples others at each run.

Its pipelines sample them from the global generator, for all rows of a step or all images of a batch. Here
that is a generator of its own (`sampling_generator`), on the CPU, which is sampled ControlNet by ControlNet:
as if a user had called ``torch.manual_seed`` before a pipeline on a CPU. One on a GPU would sample there,
from another stream of random numbers.
"""

from typing import Any

import torch
from torch import Generator, Tensor

from workers.runtime.weights.loaded import first_parameter


@torch.inference_mode()
def sample_control_latents(vae: Any, pixels: Tensor, generator: Generator, *, is_shifted: bool) -> Tensor:
    """Latents ``(n, c, h/8, w/8)`` of pixels ``(n, 3, h, w)`` in -1..1.

    ``is_shifted``: by the VAE's ``shift_factor``, as those latents are that are denoised.
    """
    weight, shift = first_parameter(vae), vae.config.shift_factor if is_shifted else 0
    sample = vae.encode(pixels.to(weight.device, weight.dtype)).latent_dist.sample(generator)
    return torch.as_tensor((sample - shift) * vae.config.scaling_factor)
