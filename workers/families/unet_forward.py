"""The seam: a UNet cut between encoder and decoder, so that ControlNets can run beside the encoder.

`forward_encoder` and `forward_decoder` together are ``diffusers.UNet2DConditionModel.forward`` (0.42),
call by call, so
the result is bit-equal. The difference: residuals are asked for one by one, when the decoder needs
them, deepest first.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.families.conditioning import Conditioning


class Residuals(Protocol):
    """What the ControlNets add; each call may wait for its tensor."""

    def mid(self) -> Tensor:
        """Added to the output of the mid block."""

    def down(self, index: int) -> Tensor:
        """Added to the skip connection ``index``, counted from the shallowest."""


@dataclass(frozen=True)
class EncoderOutput:
    """What crosses the seam."""

    x: Tensor  # (b, c, h/f/2^k, w/f/2^k), the mid block's output
    skips: tuple[Tensor, ...]  # shallowest first
    time: Tensor  # (b, d)
    embeddings: Tensor  # (b, tokens, d)


def forward_encoder(unet: Any, x: Tensor, t: Tensor, conditioning: Conditioning) -> EncoderOutput:
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


def forward_decoder(unet: Any, encoded: EncoderOutput, residuals: Residuals | None) -> Tensor:
    """Run the up blocks; returns the prediction, of the shape of the model input."""
    x, skips = encoded.x, list(encoded.skips)
    if residuals is not None:
        x = _plus(x, residuals.mid())
    # Sizes that no power of two divides are passed on, as the forward does.
    factor = 2**unet.num_upsamplers
    uneven = any(size % factor for size in skips[0].shape[-2:])
    for block in unet.up_blocks:
        count = len(block.resnets)
        own, skips = skips[-count:], skips[:-count]
        if residuals is not None:
            # The block takes its skips from the end: ask for the deepest first.
            first = len(skips)
            added = {i: residuals.down(i) for i in reversed(range(first, first + count))}
            own = [_plus(skip, added[first + i]) for i, skip in enumerate(own)]
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


def _condition(unet: Any, x: Tensor, t: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
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


def _plus(x: Tensor, residual: Tensor) -> Tensor:
    if residual.shape not in (
        x.shape,
        (*x.shape[:2], 1, 1),
    ):  # a ControlNet that pools gives one value a channel
        shapes = f"{tuple(residual.shape)} do not fit the UNet's {tuple(x.shape)}"
        raise ControlNetFailed(
            f"residuals of shape {shapes}: the ControlNet was made for another model or size"
        )
    return x + residual
