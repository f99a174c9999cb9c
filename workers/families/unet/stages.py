"""The stages of a UNet's forward: pure functions of tensors, which an engine may capture or compile.

The calls are those of ``diffusers.UNet2DConditionModel.forward`` (0.42), in its order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workers.engines.base import Tensors
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.projection_cache import (
    Projection,
    find_projections,
    project,
    projections_given,
)


@dataclass(frozen=True, eq=False)
class Encoder:
    """The time embedding, the down blocks and the mid block.

    Inputs: ``x``, ``(b, c, h/f, w/f)``, and the timestep ``t``. Constants: `UNetStages.encoder_constants`.
    Outputs: the mid block's, the time embedding, ``(b, d)``, and the skips, shallowest first.
    """

    unet: Any
    projections: tuple[Projection, ...]
    added: tuple[str, ...]  # names of what is added to the time embedding, of `UNetConditioning.added`

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """See `Stage`."""
        unet, (x, t) = self.unet, inputs
        assert x is not None
        embeddings, guidance, *rest = constants
        added, projections = rest[: len(self.added)], rest[len(self.added) :]
        if unet.config.center_input_sample:
            x = 2 * x - 1.0
        states = {
            "encoder_hidden_states": embeddings,
            "added_cond_kwargs": dict(zip(self.added, added, strict=True)),
        }
        time = unet.time_embedding(unet.get_time_embed(sample=x, timestep=t), guidance)
        more = unet.get_aug_embed(emb=time, **states)
        if more is not None:
            time = time + more
        if unet.time_embed_act is not None:
            time = unet.time_embed_act(time)
        embeddings = unet.process_encoder_hidden_states(**states)
        with projections_given(self.projections, projections):
            return self._run_blocks(unet.conv_in(x), time, embeddings)

    def _run_blocks(self, x: Tensor, time: Tensor, embeddings: Tensor) -> tuple[Tensor, ...]:
        unet = self.unet
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
        return x, time, *skips


@dataclass(frozen=True, eq=False)
class UpBlockParts:
    """An up block and its layers that project the prompt."""

    block: Any
    projections: tuple[Projection, ...]


@dataclass(frozen=True)
class UpBlock:
    """One decoder block, which first adds the residuals that it is given.

    Inputs: ``x`` and its residual, the time embedding, the block's skips, shallowest first, and their
    residuals; a residual may be ``None``. Constants: the embeddings and the block's keys and values.
    """

    parts: UpBlockParts
    upsample_size: tuple[int, int] | None  # of the next block's skips, where the sizes are uneven

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """See `Stage`."""
        block = self.parts.block
        x, x_residual, time, *rest = inputs
        skips, residuals = rest[: len(block.resnets)], rest[len(block.resnets) :]
        embeddings, *projections = constants
        given: dict[str, Any] = {
            "hidden_states": _plus(x, x_residual),
            "temb": time,
            "res_hidden_states_tuple": tuple(map(_plus, skips, residuals)),
            "upsample_size": self.upsample_size,
        }
        if getattr(block, "has_cross_attention", False):
            given["encoder_hidden_states"] = embeddings
        with projections_given(self.parts.projections, projections):
            return (block(**given),)


@dataclass(frozen=True, eq=False)
class OutputLayers:
    """The layers after the last up block. Input: its output; output: the prediction."""

    unet: Any

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """See `Stage`."""
        unet, (x,) = self.unet, inputs
        if unet.conv_norm_out:
            x = unet.conv_act(unet.conv_norm_out(x))
        return (unet.conv_out(x),)


class UNetStages:
    """The stages of one UNet, and what a prompt becomes for each of them."""

    def __init__(self, unet: Any) -> None:
        """After `cache_projections`: layers that cache later are no part of a stage."""
        self.unet = unet
        added = ("text_embeds", "time_ids") if unet.config.addition_embed_type == "text_time" else ()
        self.encoder = Encoder(unet, find_projections(*unet.down_blocks, unet.mid_block), added)
        self.up_blocks = [UpBlockParts(block, find_projections(block)) for block in unet.up_blocks]
        self.output = OutputLayers(unet)

    def encoder_constants(self, conditioning: UNetConditioning) -> Tensors:
        """What `Encoder` takes of a prompt: embeddings, guidance, sizes, keys and values."""
        encoder = self.encoder
        return [
            conditioning.embeddings,
            conditioning.guidance,
            *(conditioning.added[name] for name in encoder.added),
            *project(encoder.projections, conditioning.embeddings),
        ]

    def decoder_constants(self, conditioning: UNetConditioning) -> Sequence[Tensors]:
        """The same for each up block."""
        embeddings = conditioning.embeddings
        return [[embeddings, *project(parts.projections, embeddings)] for parts in self.up_blocks]


def _plus(x: Any, residual: Tensor | None) -> Any:
    return x if residual is None else x + residual
