"""Facts of UNet families, against what diffusers builds from the same configs."""

import pytest

from shared.families.registry import family_of_controlnet_file
from shared.families.unet import SD1, SD2, SDXL
from tests.tiny_models import LAYOUTS, make_controlnet, make_unet, make_union


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_plan_has_a_residual_for_each_skip_and_the_mid_block(layout: str) -> None:
    controlnet = make_controlnet(make_unet(layout))
    skips = len(controlnet.controlnet_down_blocks)
    assert SD1.control_plan(controlnet.config, None).wanted == tuple(range(skips, -1, -1))


@pytest.mark.parametrize(
    "config",
    [
        {"block_out_channels": 320},
        {"layers_per_block": "many"},
        {"layers_per_block": [2, None]},
        {"layers_per_block": None},
    ],
)
def test_a_config_of_other_types_has_no_plan(config: dict[str, object]) -> None:
    assert SD1.control_plan(config, None).wanted == ()
    assert SD1.controlnet_traits(config).residuals == ()


def test_the_weights_of_a_controlnet_in_one_file_say_its_family() -> None:
    for layout, facts in (("sd1", SD1), ("sdxl", SDXL)):
        names = list(make_controlnet(make_unet(layout)).state_dict())
        found = [family.name for family in (SD1, SDXL) if family.is_family_of_controlnet_file(names)]
        assert found == [facts.name]
        assert not facts.is_family_of_controlnet_file(list(make_unet(layout).state_dict()))
    original = ["control_model.input_hint_block.0.weight", "control_model.label_emb.0.0.weight"]
    assert family_of_controlnet_file(original) is SDXL
    assert family_of_controlnet_file(original[:1]) is SD2  # loaded as SD 1 is
    assert family_of_controlnet_file(["lora_unet_down_blocks.weight"]) is None


def test_a_union_has_the_plan_of_an_ordinary_controlnet() -> None:
    union = make_union(make_unet("sdxl"))
    skips = len(union.controlnet_down_blocks)
    assert SD1.control_plan(union.config, None).wanted[0] == skips


@pytest.mark.parametrize(
    ("count", "first", "names"), [(6, "openpose", 6), (8, "openpose", 8), (3, None, 0), (6.0, None, 0)]
)
def test_kinds_of_control_are_named_of_unions_like_the_published_ones(
    count: object, first: str | None, names: int
) -> None:
    traits = SDXL.controlnet_traits({"_class_name": "ControlNetUnionModel", "num_control_type": count})
    assert traits.control_types == count
    assert len(traits.control_type_names) == names
    assert next(iter(traits.control_type_names), None) == first


def test_a_controlnet_that_is_no_union_has_no_kinds_of_control() -> None:
    assert SDXL.controlnet_traits({"num_control_type": 8}).control_type_names == ()
