"""Flux.1's forward, which asks for each residual when it needs it.

The calls are those of ``diffusers.FluxTransformer2DModel.forward`` (0.42), in its order.
"""

from typing import Any

import torch
from torch import Tensor

from shared.families.controlnets import ControlPlan
from workers.families.flux.conditioning import FluxConditioning
from workers.families.staged_forward import StagedForward
from workers.families.transformer.residual_adder import ResidualAdder


def staged_forward(
    transformer: Any, x: Tensor, t: Tensor, conditioning: FluxConditioning, plan: ControlPlan | None
) -> StagedForward:
    """Predict from packed latents ``x``, ``(b, tokens, 4c)``, at timestep ``t``, a scalar."""
    scale = conditioning.guidance if transformer.config.guidance_embeds else None
    text = transformer.context_embedder(conditioning.embeddings)
    times = t.expand(len(x)).to(x.dtype)
    x, time = transformer.x_embedder(x), embed_time(transformer, times, scale, conditioning.pooled)
    rotary = embed_positions(transformer, text.shape[1], conditioning.positions)
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    residuals = ResidualAdder(plan, len(blocks))
    for i, block in enumerate(blocks):
        text, x = block(hidden_states=x, encoder_hidden_states=text, temb=time, image_rotary_emb=rotary)
        x = yield from residuals.add(i, x)
    prediction: Tensor = transformer.proj_out(transformer.norm_out(x, time))
    return prediction


def embed_time(model: Any, t: Tensor, guidance: Tensor | None, pooled: Tensor) -> Tensor:
    """``(b, d)`` of timesteps ``(b,)`` in 0..1000, of the latents' dtype; of a base or a ControlNet."""
    times = t / 1000 * 1000  # both are rounded: the pipeline divides, the forward multiplies
    scales = () if guidance is None else (guidance.to(t.dtype) * 1000,)
    embedded: Tensor = model.time_text_embed(times, *scales, pooled)
    return embedded


def embed_positions(model: Any, text_tokens: int, positions: Tensor) -> Any:
    """Rotary embeddings of ``text_tokens`` and of the image's ``positions``, ``(b, h, w, 3)``, of which all
    rows are equal."""
    image = positions[0].reshape(-1, 3)
    return model.pos_embed(torch.cat((image.new_zeros(text_tokens, 3), image)))
