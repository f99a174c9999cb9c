"""A UNet's forward that asks for each residual when it needs it, so that ControlNets run beside the encoder.

The calls are those of ``diffusers.UNet2DConditionModel.forward`` (0.42), in its order, so the result is
bit-equal. The difference: residuals are added one by one, deepest first, instead of all at once.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.families.staged_forward import StagedForward
from workers.families.unet.conditioning import UNetConditioning


@dataclass(frozen=True)
class EncoderOutput:
    """What the decoder is given."""

    x: Tensor  # (b, c, h/f/2^k, w/f/2^k), the mid block's output
    skips: tuple[Tensor, ...]  # shallowest first
    time: Tensor  # (b, d)
    embeddings: Tensor  # (b, tokens, d)


def staged_forward(unet: Any, x: Tensor, t: Tensor, conditioning: UNetConditioning) -> StagedForward:
    """Predict from the model input ``x``, ``(b, c, h/f, w/f)``; the residuals are numbered as
    `shared.families.unet.UNetFacts.control_plan` says."""
    return (yield from forward_decoder(unet, forward_encoder(unet, x, t, conditioning)))


def forward_encoder(unet: Any, x: Tensor, t: Tensor, conditioning: UNetConditioning) -> EncoderOutput:
    """Run the down blocks and the mid block on the model input ``x``, ``(b, c, h/f, w/f)``."""
    if unet.config.center_input_sample:
        x = 2 * x - 1.0
    time, embeddings = _condition(unet, x, t, conditioning)
    x = unet.conv_in(x)
    skips: tuple[Tensor, ...] = (x,)
    for block in unet.down_blocks:
        if getattr(block, "has_cross_attention", False):
            x, outputs = block(hidden_states=x, temb=time, encoder_hidden_states=embeddings)
        else:
            x, outputs = block(hidden_states=x, temb=time)
        skips += outputs
    if getattr(unet.mid_block, "has_cross_attention", False):
        x = unet.mid_block(x, time, encoder_hidden_states=embeddings)
    elif unet.mid_block is not None:
        x = unet.mid_block(x, time)
    return EncoderOutput(x, skips, time, embeddings)


def forward_decoder(unet: Any, encoded: EncoderOutput) -> Generator[int, Tensor | None, Tensor]:
    """Run the up blocks; returns the prediction, of the shape of the model input."""
    skips = list(encoded.skips)
    x = _plus(encoded.x, (yield len(skips)))
    # Sizes that no power of two divides are passed on, as the forward does.
    factor = 2**unet.num_upsamplers
    uneven = any(size % factor for size in skips[0].shape[-2:])
    for block in unet.up_blocks:
        own: list[Tensor] = []
        for _ in block.resnets:  # the block takes its skips from the end, so the deepest comes first
            skip = skips.pop()
            own.insert(0, _plus(skip, (yield len(skips))))
        inputs: dict[str, Any] = {
            "hidden_states": x,
            "temb": encoded.time,
            "res_hidden_states_tuple": tuple(own),
            "upsample_size": skips[-1].shape[2:] if uneven and skips else None,
        }
        if getattr(block, "has_cross_attention", False):
            inputs["encoder_hidden_states"] = encoded.embeddings
        x = block(**inputs)
    if unet.conv_norm_out:
        x = unet.conv_act(unet.conv_norm_out(x))
    prediction: Tensor = unet.conv_out(x)
    return prediction


def _condition(unet: Any, x: Tensor, t: Tensor, conditioning: UNetConditioning) -> tuple[Tensor, Tensor]:
    """The time embedding with all that is added to it, ``(b, d)``, and what is attended to."""
    states: dict[str, Any] = {
        "encoder_hidden_states": conditioning.embeddings,
        "added_cond_kwargs": conditioning.added,
    }
    time = unet.time_embedding(unet.get_time_embed(sample=x, timestep=t), conditioning.guidance)
    added = unet.get_aug_embed(emb=time, **states)
    if added is not None:
        time = time + added
    if unet.time_embed_act is not None:
        time = unet.time_embed_act(time)
    return time, unet.process_encoder_hidden_states(**states)


def _plus(x: Tensor, residual: Tensor | None) -> Tensor:
    if residual is None:
        return x
    # A ControlNet that pools gives one value a channel.
    if residual.shape not in (x.shape, (*x.shape[:2], 1, 1)):
        shapes = f"{tuple(residual.shape)} do not fit the UNet's {tuple(x.shape)}"
        raise ControlNetFailed(
            f"residuals of shape {shapes}: the ControlNet was made for another model or size"
        )
    return x + residual
