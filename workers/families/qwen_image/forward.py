"""Qwen-Image's forward, which asks for each residual when it needs it.

The calls are those of ``diffusers.QwenImageTransformer2DModel.forward`` (0.42), in its order.
"""

from typing import Any

from torch import Tensor

from shared.families.controlnets import ControlPlan
from workers.families.qwen_image.conditioning import QwenImageConditioning
from workers.families.staged_forward import StagedForward
from workers.families.transformer.residual_adder import ResidualAdder


def staged_forward(
    transformer: Any, x: Tensor, t: Tensor, conditioning: QwenImageConditioning, plan: ControlPlan | None
) -> StagedForward:
    """Predict from packed latents ``x``, ``(n, tokens, 4c)``, at timestep ``t``, a scalar."""
    text = embed_text(transformer, conditioning.embeddings)
    times = t.expand(len(x)).to(x.dtype)
    x = transformer.img_in(x)
    time = embed_time(transformer, times, x)
    rotary = embed_positions(transformer, conditioning.grid, text.shape[1], x)
    residuals = ResidualAdder(plan, len(transformer.transformer_blocks))
    for i, block in enumerate(transformer.transformer_blocks):
        text, x = block(
            hidden_states=x,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=None,
            temb=time,
            image_rotary_emb=rotary,
        )
        x = yield from residuals.add(i, x)
    prediction: Tensor = transformer.proj_out(transformer.norm_out(x, time))
    return prediction


def embed_text(model: Any, embeddings: Tensor) -> Tensor:
    """``(b, tokens, width)``; of a base model or a ControlNet, as what follows."""
    embedded: Tensor = model.txt_in(model.txt_norm(embeddings))
    return embedded


def embed_time(model: Any, t: Tensor, x: Tensor) -> Tensor:
    """``(b, width)`` of timesteps ``(b,)`` in 0..1000, of the latents' dtype; ``x`` tells the result's."""
    embedded: Tensor = model.time_text_embed((t / 1000).to(x.dtype), x)
    return embedded


def embed_positions(model: Any, grid: Tensor, text_tokens: int, x: Tensor) -> Any:
    """Rotary embeddings of an image of the shape of ``grid``, ``(b, rows, columns)``, and of its text."""
    _, rows, columns = grid.shape
    return model.pos_embed([(1, rows, columns)], max_txt_seq_len=text_tokens, device=x.device)
