"""What A1111's fields mean for a model of a transformer family."""

from typing import Any

import pytest

from api.compat.a1111.generation.family_fields import (
    cfg_scale_of,
    guidance_fields,
    guidance_warnings,
    prompt_fields,
)
from api.compat.a1111.generation.fields import Img2ImgFields, Txt2ImgFields
from api.compat.a1111.generation.infotext import infotext, number
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SD1
from shared.families.z_image import Z_IMAGE
from tests.api.services import receipt_of
from tests.workers.unet.specs import spec


def guided(facts: FamilyFacts | None, **fields: Any) -> dict[str, Any]:
    found = guidance_fields(Txt2ImgFields(**fields), facts, 5.0, has_controlnets=False)
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("facts", "fields", "expected"),
    [
        (SD1, {"cfg_scale": 1, "negative_prompt": "red"}, {"guidance_scale": 1, "negative_prompt": "red"}),
        (None, {"cfg_scale": 7}, {"guidance_scale": 7}),
        (
            FLUX,
            {"cfg_scale": 1, "distilled_cfg_scale": 3.5, "negative_prompt": "red"},
            {"guidance_scale": 3.5},
        ),
        (FLUX, {"negative_prompt": "red"}, {}),
        (FLUX, {"cfg_scale": 2}, {"true_cfg_scale": 2, "negative_prompt": ""}),
        (QWEN_IMAGE, {"negative_prompt": "red"}, {"negative_prompt": "red"}),
        (SD3, {"cfg_scale": 4.5, "negative_prompt": "r"}, {"guidance_scale": 4.5, "negative_prompt": "r"}),
        (Z_IMAGE, {"cfg_scale": 0, "negative_prompt": "red"}, {"guidance_scale": 0}),
        (Z_IMAGE, {"cfg_scale": 1, "negative_prompt": "red"}, {"guidance_scale": 0}),  # as for Turbo
        (Z_IMAGE, {"cfg_scale": 4, "negative_prompt": "r"}, {"guidance_scale": 3, "negative_prompt": "r"}),
        (Z_IMAGE, {"negative_prompt": "red"}, {"negative_prompt": "red"}),
    ],
)
def test_scales_mean_what_forge_means_by_them(
    facts: FamilyFacts | None, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert guided(facts, **fields) == expected


@pytest.mark.parametrize("cfg_scale", [1.5, 4.0])
@pytest.mark.parametrize("facts", [SD1, SD3, FLUX, Z_IMAGE], ids=lambda facts: facts.name)
def test_the_scale_of_a_job_is_told_as_it_was_sent(facts: FamilyFacts, cfg_scale: float) -> None:
    job = spec(**guided(facts, cfg_scale=cfg_scale))
    assert cfg_scale_of(job, facts) == cfg_scale
    assert f" CFG scale: {number(cfg_scale)}, " in infotext(receipt_of(job), job.seed, cfg_scale)


def test_the_scale_that_clients_send_is_left_out_where_the_pipeline_has_no_second_forward() -> None:
    fields = Img2ImgFields(init_images=["a"], cfg_scale=7, negative_prompt="red")

    def taken(*, has_controlnets: bool) -> Any:
        found = guidance_fields(fields, FLUX, 3.5, has_controlnets=has_controlnets)
        return found.get("true_cfg_scale"), found.get("negative_prompt")

    assert taken(has_controlnets=False) == (7, "red")
    assert taken(has_controlnets=True) == (None, None)


@pytest.mark.parametrize(
    ("facts", "fields", "has_controlnets", "warnings"),
    [
        (FLUX, {"cfg_scale": 7}, True, ["cfg_scale is ignored: Flux.1 has no unconditional branch"]),
        (
            FLUX,
            {"cfg_scale": 7, "negative_prompt": "red"},
            True,
            ["cfg_scale and negative_prompt are ignored: Flux.1 has no unconditional branch"],
        ),
        (FLUX, {"cfg_scale": 7}, False, []),
        (FLUX, {"cfg_scale": 1}, True, []),  # which asks for no guidance
        (FLUX, {}, True, []),
        (SD1, {"cfg_scale": 7}, True, []),
        (None, {"cfg_scale": 7}, True, []),
    ],
)
def test_a_scale_that_is_left_out_brings_a_warning(
    facts: FamilyFacts | None, fields: dict[str, Any], has_controlnets: bool, warnings: list[str]
) -> None:
    call = Img2ImgFields(init_images=["a"], **fields)
    found = guidance_warnings(call, facts, has_controlnets=has_controlnets)
    assert [warning.partition(" in this mode")[0] for warning in found] == warnings


def test_prompts_of_encoders_that_cannot_weigh_tokens_stand_as_they_are_but_for_tags() -> None:
    fields = Txt2ImgFields(prompt="a (red:1.2) cat<lora:style:0.8>")
    assert prompt_fields(fields, FLUX) == {
        "prompt": "a (red:1.2) cat",
        "loras": [{"name": "style", "scale": 0.8}],
    }
    assert prompt_fields(fields, SD1) == {"prompt": fields.prompt, "prompt_syntax": "a1111"}
    with pytest.raises(InvalidRequest) as refused:
        prompt_fields(Txt2ImgFields(prompt="<hypernet:a:1>"), FLUX)
    assert refused.value.field == "prompt"
