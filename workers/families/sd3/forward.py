"""Stable Diffusion 3's forward, which asks for each residual when it needs it.

The calls are those of ``diffusers.SD3Transformer2DModel.forward`` (0.42), in its order.
"""

from typing import Any

import torch
from torch import Tensor

from shared.families.controlnets import ControlPlan
from workers.families.sd3.conditioning import SD3Conditioning
from workers.families.staged_forward import StagedForward
from workers.families.transformer.residual_adder import ResidualAdder


def staged_forward(
    transformer: Any, x: Tensor, t: Tensor, conditioning: SD3Conditioning, plan: ControlPlan | None
) -> StagedForward:
    """Predict from latents ``x``, ``(b, c, h/8, w/8)``, at timestep ``t``, a scalar."""
    size = x.shape[-2:]
    times = t.expand(len(x))
    x = transformer.pos_embed(x).contiguous()  # (b, tokens, d)
    time = transformer.time_text_embed(times, conditioning.pooled)
    text = transformer.context_embedder(conditioning.embeddings)
    residuals = ResidualAdder(plan, len(transformer.transformer_blocks))
    for i, block in enumerate(transformer.transformer_blocks):
        text, x = block(hidden_states=x, encoder_hidden_states=text, temb=time)
        x = yield from residuals.add(i, x)
    x = transformer.proj_out(transformer.norm_out(x, time))
    return _as_latents(x, size, transformer.config.patch_size, transformer.out_channels)


def _as_latents(x: Tensor, size: torch.Size, patch: int, channels: int) -> Tensor:
    """``(b, channels, *size)`` of tokens ``(b, tokens, patch * patch * channels)``."""
    height, width = (side // patch for side in size)
    x = x.reshape(len(x), height, width, patch, patch, channels)
    x = torch.einsum("nhwpqc->nchpwq", x)
    return x.reshape(len(x), channels, height * patch, width * patch)
