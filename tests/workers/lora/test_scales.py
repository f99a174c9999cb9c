"""A scale for parts and blocks weighs what diffusers' ``set_adapters`` weighs, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from pydantic import TypeAdapter, ValidationError

from shared.errors import InvalidRequest
from shared.jobs.lora_scales import Scale
from tests.workers.lora.conftest import Fused, parts, weights_of
from tests.workers.lora.patchers import WRITERS
from workers.families.unet.lora_scales import unet_layer_scales
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher

SCALE: TypeAdapter[Any] = TypeAdapter(Scale)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    "asked",
    [
        {"unet": 0.8, "text_encoder": 0.5},
        {"text_encoder": 0.3},
        {"unet": {"down": 0.2, "mid": 1.4}},
        {
            "unet": {"up": {"block_1": [0.3, 0.9], "block_2": -0.5}, "down": {"block_0": [0.7]}},
            "text_encoder": 0,
        },
    ],
    ids=str,
)
def test_scales_weigh_what_they_weigh_in_diffusers(
    pipe: StableDiffusionPipeline,
    fused: Fused,
    lora_file: Callable[[str], Path],
    asked: dict[str, Any],
    writer: str,
) -> None:
    patcher = WRITERS[writer](parts(pipe), unet_layer_scales)
    plain = (read_lora(lora_file("twemoji"), UNetLoraTargets(parts(pipe))), 0.4)
    try:
        patcher.apply(
            [
                (read_lora(lora_file("outline"), UNetLoraTargets(parts(pipe))), SCALE.validate_python(asked)),
                plain,
            ]
        )
        ours = weights_of(parts(pipe))
    finally:
        patcher.restore()
    theirs = fused((lora_file("outline"), asked), (lora_file("twemoji"), 0.4))
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5


@pytest.mark.parametrize("writer", WRITERS)
def test_a_change_of_one_parts_scale_writes_that_part_alone(
    pipe: StableDiffusionPipeline, lora_file: Callable[[str], Path], writer: str
) -> None:
    patcher = WRITERS[writer](parts(pipe), unet_layer_scales)
    outline = read_lora(lora_file("outline"), UNetLoraTargets(parts(pipe)))
    try:
        patcher.apply([(outline, SCALE.validate_python({"text_encoder": 0.5}))])
        # Given a UNet whose weights somebody else has changed, and must not find written again
        weight = pipe.unet.mid_block.attentions[0].proj_in.weight
        was = weight.detach().clone()
        with torch.no_grad():
            weight.zero_()
        patcher.apply([(outline, SCALE.validate_python({"text_encoder": 0.9}))])
        assert not weight.any()
        with torch.no_grad():
            weight.copy_(was)
    finally:
        patcher.restore()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"text_encoder_2": 0.5}, "no text_encoder_2; its parts are unet, text_encoder"),
        ({"unet": {"down": {"block_7": 1.0}}}, "down has no block_7 with attention, only block_0"),
        ({"unet": {"up": {"block_1": [1.0, 2.0, 3.0, 4.0, 5.0]}}}, "Expected 2 scales"),
    ],
    ids=str,
)
def test_scales_for_what_the_model_does_not_have_are_refused(
    pipe: StableDiffusionPipeline, lora_file: Callable[[str], Path], asked: dict[str, Any], why: str
) -> None:
    patcher = Patcher(parts(pipe), unet_layer_scales)
    with pytest.raises(InvalidRequest, match=why):
        patcher.apply(
            [(read_lora(lora_file("outline"), UNetLoraTargets(parts(pipe))), SCALE.validate_python(asked))]
        )


@pytest.mark.parametrize(
    "asked",
    [11, "NaN", None, [1.0], {"vae": 1.0}, {"unet": {"sideways": 1}}, {"unet": {"mid": [1.0]}}],
    ids=str,
)
def test_what_is_no_scale_is_refused(asked: object) -> None:
    with pytest.raises(ValidationError):
        SCALE.validate_python(asked)


def test_scales_by_block_are_refused_for_a_family_that_has_none(
    pipe: StableDiffusionPipeline, lora_file: Callable[[str], Path]
) -> None:
    lora = read_lora(lora_file("outline"), UNetLoraTargets(parts(pipe)))
    with pytest.raises(InvalidRequest, match="no scales by block"):
        Patcher(parts(pipe)).apply([(lora, SCALE.validate_python({"unet": {"mid": 0.5}}))])
