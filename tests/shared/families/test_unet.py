"""Facts of UNet families, against what diffusers builds from the same configs."""

import pytest

from shared.families.unet import SD1
from tests.tiny_models import LAYOUTS, make_controlnet, make_unet, make_union


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_plan_has_a_residual_for_each_skip_and_the_mid_block(layout: str) -> None:
    controlnet = make_controlnet(make_unet(layout))
    skips = len(controlnet.controlnet_down_blocks)
    assert SD1.control_plan(controlnet.config, None).wanted == tuple(range(skips, -1, -1))


def test_a_union_has_the_plan_of_an_ordinary_controlnet() -> None:
    union = make_union(make_unet("sdxl"))
    skips = len(union.controlnet_down_blocks)
    assert SD1.control_plan(union.config, None).wanted[0] == skips
