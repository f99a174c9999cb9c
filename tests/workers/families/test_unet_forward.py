from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_models import LAYOUTS, make_controlnet, make_unet
from workers.families.conditioning import Conditioning
from workers.families.projection_cache import cache_projections
from workers.families.unet_controlnet import ControlNet
from workers.families.unet_forward import forward_decoder, forward_encoder
from workers.transport.protocol import MID

SIZES = [(16, 16), (12, 20), (11, 13)]  # the last two are not divisible by what the UNet halves


class Given:
    """Residuals that are already there; it notes the order in which they are asked for."""

    def __init__(self, tensors: dict[int, Tensor]) -> None:
        self.tensors = tensors
        self.asked: list[int] = []

    def mid(self) -> Tensor:
        self.asked.append(MID)
        return self.tensors[MID]

    def down(self, index: int) -> Tensor:
        self.asked.append(index)
        return self.tensors[index]


def inputs(unet: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, unet.config.in_channels, *size, generator=generator)
    embeddings = torch.randn(2, 32, unet.config.cross_attention_dim, generator=generator)
    added, guidance = {}, None
    if unet.config.addition_embed_type:
        added = {"text_embeds": torch.randn(2, 64, generator=generator), "time_ids": torch.full((2, 6), 64.0)}
    if unet.config.time_cond_proj_dim:
        guidance = torch.randn(2, unet.config.time_cond_proj_dim, generator=generator)
    return x, torch.tensor(601), Conditioning(embeddings, added, guidance)


def whole(unet: Any, x: Tensor, t: Tensor, conditioning: Conditioning, **residuals: Any) -> Tensor:
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
def test_encode_and_decode_are_the_forward_bit_by_bit(layout: str, size: tuple[int, int]) -> None:
    unet = make_unet(layout)
    x, t, conditioning = inputs(unet, size)
    with torch.inference_mode():
        cut = forward_decoder(unet, forward_encoder(unet, x, t, conditioning), None)
        assert torch.equal(cut, whole(unet, x, t, conditioning))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_residuals_through_the_seam_are_those_of_the_forward(layout: str, size: tuple[int, int]) -> None:
    unet: Any = make_unet(layout)
    controlnet = make_controlnet(unet)
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
        served = ControlNet("controlnet", controlnet)
        prepared = served.prepare(conditioning.controlnet_inputs)
        trunk = served.trunk(x[:, :4], t, prepared, served.embed(image, 2))
        ours = {index: served.residual(trunk, index) * 0.7 for index in served.order()}
        given = Given(ours)
        cut = forward_decoder(unet, forward_encoder(unet, x, t, conditioning), given)
    assert all(torch.equal(ours[i], residual) for i, residual in enumerate(down))
    assert torch.equal(ours[MID], mid)
    forward = whole(
        unet, x, t, conditioning, down_block_additional_residuals=down, mid_block_additional_residual=mid
    )
    assert torch.equal(cut, forward)
    # The ControlNet hands over in the order in which the decoder asks: deepest first.
    assert given.asked == list(ours)
    assert given.asked == [MID, *reversed(range(len(down)))]


def test_encoder_and_decoder_can_be_compiled_each_into_one_graph() -> None:
    unet = make_unet("centred")
    cache_projections(unet)
    x, t, conditioning = inputs(unet, (16, 16))
    with torch.inference_mode():
        encoded = forward_encoder(unet, x, t, conditioning)
        levels = {MID: encoded.x, **dict(enumerate(encoded.skips))}
        given = Given({index: torch.full_like(level, 0.1) for index, level in levels.items()})
        prediction = forward_decoder(unet, encoded, given)
        compiled = torch.compile(forward_encoder, backend="eager", fullgraph=True)(unet, x, t, conditioning)
        again = torch.compile(forward_decoder, backend="eager", fullgraph=True)(unet, encoded, given)
    assert torch.equal(compiled.x, encoded.x)
    assert all(torch.equal(a, b) for a, b in zip(compiled.skips, encoded.skips, strict=True))
    assert torch.equal(again, prediction)
