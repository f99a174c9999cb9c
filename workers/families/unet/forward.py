"""A UNet's forward that asks for each residual when it needs it, so that ControlNets run beside the encoder.

The stages (`workers.families.unet.stages`) compute, and here is what happens between them: residuals are
taken one by one, deepest first. The result has the bits of ``diffusers.UNet2DConditionModel.forward``.
"""

from collections.abc import Generator
from dataclasses import dataclass

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.engines.base import Engine, ForwardPass
from workers.engines.eager import EAGER
from workers.families.staged_forward import StagedForward
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.stages import UNetStages, UpBlock


@dataclass(frozen=True)
class EncoderOutput:
    """What the decoder is given."""

    x: Tensor  # (b, c, h/f/2^k, w/f/2^k), the mid block's output
    skips: tuple[Tensor, ...]  # shallowest first
    time: Tensor  # (b, d)


def staged_forward(
    stages: UNetStages, x: Tensor, t: Tensor, conditioning: UNetConditioning, engine: Engine = EAGER
) -> StagedForward:
    """Predict from the model input ``x``, ``(b, c, h/f, w/f)``; the residuals are numbered as
    `shared.families.unet.UNetFacts.control_plan` says."""
    run = engine.begin()
    try:
        encoded = forward_encoder(stages, x, t, conditioning, run)
        return run.keep((yield from forward_decoder(stages, encoded, conditioning, run)))
    finally:
        run.end()


def forward_encoder(
    stages: UNetStages, x: Tensor, t: Tensor, conditioning: UNetConditioning, run: ForwardPass
) -> EncoderOutput:
    """Run the down blocks and the mid block on the model input ``x``, ``(b, c, h/f, w/f)``."""
    x, time, *skips = run(stages.encoder, [x, t], stages.encoder_constants(conditioning))
    return EncoderOutput(x, tuple(skips), time)


def forward_decoder(
    stages: UNetStages, encoded: EncoderOutput, conditioning: UNetConditioning, run: ForwardPass
) -> Generator[int, Tensor | None, Tensor]:
    """Run the up blocks; returns the prediction, of the shape of the model input."""
    x, skips = encoded.x, list(encoded.skips)
    x_residual = _checked((yield len(skips)), x)
    # Sizes that no power of two divides are passed on, as the forward does.
    factor = 2**stages.unet.num_upsamplers
    uneven = any(size % factor for size in skips[0].shape[-2:])
    for parts, constants in zip(stages.up_blocks, stages.decoder_constants(conditioning), strict=True):
        own: list[Tensor] = []
        residuals: list[Tensor | None] = []
        for _ in parts.block.resnets:  # the block takes its skips from the end, so the deepest comes first
            skip = skips.pop()
            own.insert(0, skip)
            residuals.insert(0, _checked((yield len(skips)), skip))
        height, width = skips[-1].shape[2:] if skips else (0, 0)
        upsample_size = (height, width) if uneven and skips else None
        (x,) = run(UpBlock(parts, upsample_size), [x, x_residual, encoded.time, *own, *residuals], constants)
        x_residual = None
    (prediction,) = run(stages.output, [x])
    return prediction


def _checked(residual: Tensor | None, x: Tensor) -> Tensor | None:
    """The residual that is to be added to ``x``; a ControlNet that pools gives one value a channel."""
    if residual is not None and residual.shape not in (x.shape, (*x.shape[:2], 1, 1)):
        shapes = f"{tuple(residual.shape)} do not fit the UNet's {tuple(x.shape)}"
        raise ControlNetFailed(
            f"residuals of shape {shapes}: the ControlNet was made for another model or size"
        )
    return residual
