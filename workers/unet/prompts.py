"""From words to embeddings, by diffusers' own ``encode_prompt``."""

import torch

from shared.specs import JobSpec
from workers.unet.conditioning import Conditioning
from workers.unet.guidance import is_guided
from workers.unet.models import BaseModel


@torch.inference_mode()
def encode_prompt(model: BaseModel, spec: JobSpec) -> Conditioning:
    """What all rows of a step attend to: ``n`` rows, or ``2n`` when guided (unconditional first)."""
    guided = is_guided(spec.guidance_scale)
    cond, uncond = model.pipe.encode_prompt(
        spec.prompt,
        model.pipe.device,
        spec.num_images,
        guided,
        negative_prompt=spec.negative_prompt or None,
    )
    return Conditioning(torch.cat([uncond, cond]) if guided else cond)
