"""What ControlNets that were trained to inpaint are shown: an image without what a mask marks, and the mask.

diffusers' pipelines for them (SD3's and Qwen-Image's) sample the image's latents from the global generator,
for all images of a job at once. Here that is a generator of its own with the seed of the job's first image,
as if a user had called ``torch.manual_seed`` with that seed before the pipeline.
"""

import torch
from torch import Generator, Tensor

from shared.jobs.spec import JobSpec
from workers.families.base import MaskedImage


def blank_masked(masked: MaskedImage, count: int) -> Tensor:
    """The image, black (-1) where something is generated, for ``count`` rows: ``(count, 3, h, w)``.

    One row for each image: their number decides the last bits.
    """
    return masked.pixels.masked_fill(masked.mask > 0.5, -1).repeat_interleave(count, dim=0)


def append_mask(latents: Tensor, mask: Tensor) -> Tensor:
    """``(n, c + 1, h/f, w/f)``: latents, and after them a channel that is 1 where the image stays."""
    small = torch.nn.functional.interpolate(mask, size=latents.shape[-2:]).to(latents.device, latents.dtype)
    return torch.cat([latents, (1 - small).expand(len(latents), -1, -1, -1)], dim=1)


def sampling_generator(spec: JobSpec) -> Generator:
    """What samples latents that diffusers samples from the global generator, ControlNet by ControlNet."""
    return Generator().manual_seed(spec.image_seeds[0])
