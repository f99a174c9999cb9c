import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_models import LAYOUTS, make_controlnet, make_unet
from workers.families.staged_forward import Residuals, run_to_end
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.forward import staged_forward
from workers.families.unet.projection_cache import cache_projections
from workers.families.unet.stages import UNetStages, UpBlock

SIZES = [(16, 16), (12, 20), (11, 13)]  # the last two are not divisible by what the UNet halves


@functools.cache
def models_of(layout: str) -> tuple[Any, Any]:
    """A UNet and its ControlNet; nobody changes them."""
    unet = make_unet(layout)
    return unet, make_controlnet(unet)


class Given:
    """Residuals that are already there; it notes the order in which they are asked for."""

    def __init__(self, tensors: dict[int, Tensor]) -> None:
        self.tensors = tensors
        self.asked: list[int] = []

    def __call__(self, index: int) -> Tensor:
        self.asked.append(index)
        return self.tensors[index]


def predict(
    unet: Any, x: Tensor, t: Tensor, conditioning: UNetConditioning, residuals: Residuals | None
) -> Tensor:
    forward = staged_forward(UNetStages(unet), x, t, conditioning)
    return run_to_end(forward, next(forward), residuals)


def inputs(unet: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor, UNetConditioning]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, unet.config.in_channels, *size, generator=generator)
    embeddings = torch.randn(2, 32, unet.config.cross_attention_dim, generator=generator)
    added, guidance = {}, None
    if unet.config.addition_embed_type:
        added = {"text_embeds": torch.randn(2, 64, generator=generator), "time_ids": torch.full((2, 6), 64.0)}
    if unet.config.time_cond_proj_dim:
        guidance = torch.randn(2, unet.config.time_cond_proj_dim, generator=generator)
    return x, torch.tensor(601), UNetConditioning(embeddings, added, guidance)


def whole(unet: Any, x: Tensor, t: Tensor, conditioning: UNetConditioning, **residuals: Any) -> Tensor:
    """diffusers' own forward."""
    prediction: Tensor = unet(
        x,
        t,
        encoder_hidden_states=conditioning.embeddings,
        added_cond_kwargs=conditioning.added,
        timestep_cond=conditioning.guidance,
        return_dict=False,
        **residuals,
    )[0]
    return prediction


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_staged_forward_is_diffusers_forward_bit_by_bit(layout: str, size: tuple[int, int]) -> None:
    unet, _ = models_of(layout)
    x, t, conditioning = inputs(unet, size)
    with torch.inference_mode():
        assert torch.equal(predict(unet, x, t, conditioning, None), whole(unet, x, t, conditioning))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_residuals_are_added_as_diffusers_forward_adds_them(layout: str, size: tuple[int, int]) -> None:
    unet, controlnet = models_of(layout)
    x, t, conditioning = inputs(unet, size)
    image = torch.rand(1, 3, 4 * size[0], 4 * size[1], generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        down, mid = controlnet(
            x[:, :4],  # ControlNets see no mask
            t,
            encoder_hidden_states=conditioning.embeddings,
            added_cond_kwargs=conditioning.added,
            controlnet_cond=torch.cat([image] * 2),
            conditioning_scale=0.7,
            return_dict=False,
        )
        served = UNetControlNet("controlnet", controlnet)
        prepared = served.prepare(conditioning.controlnet_inputs)
        residuals = served.forward(x[:, :4], t, prepared, served.embed(image, 2))
        ours = {index: residual * 0.7 for index, residual in residuals}
        given = Given(ours)
        prediction = predict(unet, x, t, conditioning, given)
    assert all(torch.equal(ours[i], residual) for i, residual in enumerate((*down, mid)))
    forward = whole(
        unet, x, t, conditioning, down_block_additional_residuals=down, mid_block_additional_residual=mid
    )
    assert torch.equal(prediction, forward)
    # The ControlNet hands over in the order in which the base model asks: deepest first.
    assert given.asked == list(ours)
    assert given.asked == [len(down), *reversed(range(len(down)))] == list(served.order)


def test_every_stage_can_be_compiled_into_one_graph() -> None:
    unet = make_unet("centred")
    cache_projections(unet)
    stages = UNetStages(unet)
    x, t, conditioning = inputs(unet, (16, 16))

    def compare(stage: Any, *arguments: Any) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = stage(*arguments)
        compiled = torch.compile(stage, backend="eager", fullgraph=True)(*arguments)
        assert all(torch.equal(a, b) for a, b in zip(compiled, outputs, strict=True))
        return outputs

    with torch.inference_mode():
        x, time, *skips = compare(stages.encoder, [x, t], stages.encoder_constants(conditioning))
        for parts, constants in zip(stages.up_blocks, stages.decoder_constants(conditioning), strict=True):
            own = [skips.pop() for _ in parts.block.resnets][::-1]
            residuals = [torch.full_like(level, 0.1) for level in (x, *own)]
            given = [x, residuals[0], time, *own, *residuals[1:]]
            (x,) = compare(UpBlock(parts, None), given, constants)
        compare(stages.output, [x], [])
