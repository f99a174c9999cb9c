"""Classifier-free guidance (Ho & Salimans 2022)."""

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor


def is_guided(scale: float) -> bool:
    """Whether the unconditional half is computed at all, as diffusers decides it."""
    return scale > 1


def doubled(latents: Tensor, scale: float) -> Tensor:
    """Latents for both halves, unconditional first: ``(b, …)`` to ``(2b, …)`` when guided."""
    return torch.cat([latents] * 2) if is_guided(scale) else latents


def guide(prediction: Tensor, scale: float, rescale: float) -> Tensor:
    """Join the halves (eq. 6): ``(2b, c, h/f, w/f)`` to ``(b, c, h/f, w/f)`` when guided.

    ``rescale`` above 0 brings the spread back towards the conditional half's (arXiv 2305.08891, 3.4).
    """
    if not is_guided(scale):
        return prediction
    uncond, cond = prediction.chunk(2)
    noise = uncond + scale * (cond - uncond)
    return torch.as_tensor(rescale_noise_cfg(noise, cond, rescale)) if rescale > 0 else noise
