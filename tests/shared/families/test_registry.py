import inspect
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest

from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ControlPlan, ModelSignature
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.registry import (
    controlnet_classes,
    denoisers,
    family_of,
    family_of_controlnet,
    family_of_file,
    family_of_pipeline,
    names,
    registered,
)
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SD2, SDXL
from shared.families.z_image import Z_IMAGE

SDXL_CONFIG = {"addition_embed_type": "text_time", "cross_attention_dim": 2048}


@dataclass(frozen=True, kw_only=True)
class OtherFacts(FamilyFacts):
    """A family with a transformer."""

    def is_family_of(self, config: Config) -> bool:
        return config.get("_class_name") in ("OtherTransformer", "OtherControlNet")

    def is_family_of_file(self, weights: Any) -> bool:
        return any("other_blocks." in name for name in weights)

    def signature(self, config: Config) -> ModelSignature:
        return ModelSignature(self.name, self.label, "")

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        return ControlPlan((0, 0, 1, None))


OTHER = OtherFacts(
    name="other",
    label="Other",
    pipelines=frozenset({"Other"}),
    denoiser="transformer",
    parts=("transformer",),
    tokenizers={},
    controlnet_classes=("OtherControlNet",),
    lora_parts=("transformer",),
)


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        ({"cross_attention_dim": 768}, SD1),
        ({"cross_attention_dim": 128}, SD1),
        ({"cross_attention_dim": 1024}, SD2),
        (SDXL_CONFIG, SDXL),
        ({"addition_embed_type": "image"}, None),
        ({"cross_attention_dim": [768]}, SD1),
    ],
    ids=["sd1", "toy width", "sd2", "sdxl", "image variations", "width a block"],
)
def test_a_unets_family_is_read_from_its_config(config: dict[str, Any], facts: FamilyFacts | None) -> None:
    assert family_of({"unet": config, "vae": {}}) is facts
    assert family_of_controlnet(config) is facts


def test_a_folder_with_another_denoiser_is_of_no_unet_family() -> None:
    assert family_of({"transformer": {"cross_attention_dim": 768}}) is None
    assert family_of_controlnet({"_class_name": "SanaControlNetModel"}) is None
    assert family_of_pipeline("SanaPipeline") is None


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("StableDiffusionXLInpaintPipeline", SDXL),
        ("LatentConsistencyModelPipeline", SD2),
        ("StableDiffusionPipeline", SD2),  # SD 1 has the same parts
    ],
)
def test_a_pipelines_class_says_which_parts_a_folder_has(name: str, facts: FamilyFacts) -> None:
    assert family_of_pipeline(name) is facts
    assert SD1.parts == SD2.parts


def test_a_registered_family_is_known_by_all_its_files() -> None:
    with registered(OTHER):
        assert family_of({"transformer": {"_class_name": "OtherTransformer"}}) is OTHER
        assert family_of_controlnet({"_class_name": "OtherControlNet"}) is OTHER
        assert family_of_pipeline("OtherPipeline") is OTHER
        assert family_of_file(["other_blocks.0.attn.weight"]) is OTHER
        assert "other" in names()
        assert denoisers() == ("unet", "transformer")
        assert "OtherControlNet" in controlnet_classes()
    assert "other" not in names()


def test_a_plan_names_each_residual_that_is_read_once() -> None:
    assert OTHER.control_plan({}, None).wanted == (0, 1)


@pytest.mark.parametrize(
    ("facts", "pipelines", "with_controlnets"),
    [
        (SD1, ["StableDiffusion"], ["StableDiffusionControlNet"]),
        (SDXL, ["StableDiffusionXL"], ["StableDiffusionXLControlNet", "StableDiffusionXLControlNetUnion"]),
        (FLUX, ["Flux"], ["FluxControlNet"]),
        (SD3, ["StableDiffusion3"], ["StableDiffusion3ControlNet", "StableDiffusion3ControlNetInpainting"]),
        (QWEN_IMAGE, ["QwenImage"], ["QwenImageControlNet", "QwenImageControlNetInpaint"]),
        (Z_IMAGE, ["ZImage"], ["ZImageControlNet", "ZImageControlNetInpaint"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_schedulers_begin_where_the_pipelines_that_begin_with_noise_have_them_begin(
    facts: FamilyFacts, pipelines: list[str], with_controlnets: list[str]
) -> None:
    for has_controlnets, names_of_pipelines in ((False, pipelines), (True, with_controlnets)):
        for name in names_of_pipelines:
            source = inspect.getsource(getattr(diffusers, f"{name}Pipeline"))
            is_set = "self.scheduler.set_begin_index(0)" in source
            assert facts.sets_begin_index(has_controlnets=has_controlnets) == is_set, name
