"""What a job may ask of each family; the rules are those of diffusers' pipelines."""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import diffusers
import pytest

from shared.errors import InvalidRequest
from shared.families.base import Config, FamilyFacts, Mode
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SDXL
from shared.families.z_image import Z_IMAGE
from shared.jobs.families.asked_job import AskedJob, KnownModel, mode_of
from shared.jobs.families.checks import check_job
from shared.jobs.families.options import UNET_FIELDS, FamilyOptions
from shared.jobs.options import ControlNetOptions, JobOptions
from tests.shared.jobs.families.field_values import VALUES

FAMILIES: list[FamilyFacts] = [SD1, SDXL, FLUX, SD3, QWEN_IMAGE, Z_IMAGE]


def ask(
    facts: FamilyFacts,
    mode: Mode = "text",
    *,
    has_controlnets: bool = False,
    controlnets: Sequence[str] = (),
    scheduler: str = "",
    scheduler_config: Config | None = None,
    is_inpainting: bool = False,
    guidance_scale: float | None = None,
    sides: dict[str, int | None] | None = None,
    **options: Any,
) -> None:
    """Check a job of a model with the family's defaults."""
    asked = AskedJob(
        options=JobOptions(prompt="a cat", **options),
        mode=mode,
        controlnets=controlnets or ["edge"] * has_controlnets,
        scheduler=scheduler or facts.defaults.scheduler,
        guidance_scale=facts.defaults.guidance_scale if guidance_scale is None else guidance_scale,
        sides=sides or {},
    )
    check_job(asked, KnownModel("m", facts, facts.label, scheduler_config, is_inpainting))


def refusal(*args: Any, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        ask(*args, **fields)
    return refused.value


@pytest.mark.parametrize("facts", FAMILIES, ids=lambda facts: facts.name)
def test_a_job_of_defaults_is_one_of_every_family(facts: FamilyFacts) -> None:
    for mode in facts.modes:
        ask(facts, mode)
    for mode in facts.controlnet_modes:
        ask(facts, mode, has_controlnets=True)


def test_every_limited_field_is_of_some_family() -> None:
    limited = {*FamilyOptions.model_fields, *UNET_FIELDS}
    assert VALUES.keys() == limited
    assert set().union(*(facts.fields for facts in FAMILIES)) == limited


@pytest.mark.parametrize("facts", FAMILIES, ids=lambda facts: facts.name)
@pytest.mark.parametrize("field", VALUES)
def test_a_field_is_taken_or_refused_by_name(facts: FamilyFacts, field: str) -> None:
    more = {} if facts.guidance_begins_above is not None else {"true_cfg_scale": 3.0}
    given = {"negative_prompt": "", **more, field: VALUES[field]}
    if field in facts.fields:
        ask(facts, **given)
    else:
        refused = refusal(facts, **given)
        assert refused.field == field
        assert f"{field}; model 'm' is {facts.label}" in str(refused)


@pytest.mark.parametrize(("given", "number"), [(False, 0.0), (True, 1.0), (1, 1.0), (0.5, 0.5)])
def test_a_normalization_may_be_a_boolean_as_diffusers_has_it(given: Any, number: float) -> None:
    options = JobOptions.model_validate({"prompt": "a cat", "cfg_normalization": given})
    assert (options.cfg_normalization, type(options.cfg_normalization)) == (number, float)
    text = json.dumps({"prompt": "a cat", "cfg_normalization": given})
    assert JobOptions.model_validate_json(text) == options
    with pytest.raises(ValueError, match="valid number"):
        JobOptions.model_validate({"prompt": "a cat", "shift": True})


#: Fields that a pipeline has under the same name.
SAME = {
    *("prompt_2", "prompt_3", "negative_prompt_2", "negative_prompt_3", "true_cfg_scale", "clip_skip", "mu"),
    *("max_sequence_length", "cfg_normalization", "cfg_truncation"),
}
PIPELINES: list[tuple[FamilyFacts, Mode, bool, Any]] = [
    (FLUX, "text", False, diffusers.FluxPipeline),
    (FLUX, "image", False, diffusers.FluxImg2ImgPipeline),
    (FLUX, "mask", False, diffusers.FluxInpaintPipeline),
    (FLUX, "text", True, diffusers.FluxControlNetPipeline),
    (FLUX, "image", True, diffusers.FluxControlNetImg2ImgPipeline),
    (FLUX, "mask", True, diffusers.FluxControlNetInpaintPipeline),
    (SD3, "text", False, diffusers.StableDiffusion3Pipeline),
    (SD3, "image", False, diffusers.StableDiffusion3Img2ImgPipeline),
    (SD3, "mask", False, diffusers.StableDiffusion3InpaintPipeline),
    (SD3, "text", True, diffusers.StableDiffusion3ControlNetPipeline),
    (SD3, "mask", True, diffusers.StableDiffusion3ControlNetInpaintingPipeline),
    (QWEN_IMAGE, "text", False, diffusers.QwenImagePipeline),
    (QWEN_IMAGE, "image", False, diffusers.QwenImageImg2ImgPipeline),
    (QWEN_IMAGE, "mask", False, diffusers.QwenImageInpaintPipeline),
    (QWEN_IMAGE, "text", True, diffusers.QwenImageControlNetPipeline),
    (QWEN_IMAGE, "mask", True, diffusers.QwenImageControlNetInpaintPipeline),
    (Z_IMAGE, "text", False, diffusers.ZImagePipeline),
    (Z_IMAGE, "image", False, diffusers.ZImageImg2ImgPipeline),
    (Z_IMAGE, "mask", False, diffusers.ZImageInpaintPipeline),
    (Z_IMAGE, "text", True, diffusers.ZImageControlNetPipeline),
    (Z_IMAGE, "mask", True, diffusers.ZImageControlNetInpaintPipeline),
]


def test_every_kind_of_job_is_held_against_a_pipeline() -> None:
    transformers = [facts for facts in FAMILIES if facts.matches_flow]
    assert {(facts.name, mode, has_controlnets) for facts, mode, has_controlnets, _ in PIPELINES} == {
        (facts.name, mode, has_controlnets)
        for facts in transformers
        for has_controlnets in (False, True)
        for mode in (facts.controlnet_modes if has_controlnets else facts.modes)
    }


@pytest.mark.parametrize(
    ("facts", "mode", "has_controlnets", "pipeline"), PIPELINES, ids=[one[3].__name__ for one in PIPELINES]
)
def test_a_familys_fields_are_those_of_its_pipeline(
    facts: FamilyFacts, mode: Mode, has_controlnets: bool, pipeline: Any
) -> None:
    taken = set(inspect.signature(pipeline.__call__).parameters)
    assert facts.fields_in(mode, has_controlnets=has_controlnets) & SAME == taken & SAME
    assert ("negative_prompt" in taken) or "true_cfg_scale" not in taken
    default = inspect.signature(pipeline.__call__).parameters.get("true_cfg_scale")
    assert default is None or default.default == facts.true_cfg_scale


@pytest.mark.parametrize(
    ("facts", "mode", "has_controlnets", "pipeline"), PIPELINES, ids=[one[3].__name__ for one in PIPELINES]
)
def test_defaults_are_those_of_the_pipeline(
    facts: FamilyFacts, mode: Mode, has_controlnets: bool, pipeline: Any
) -> None:
    known = inspect.signature(pipeline.__call__).parameters
    ours = facts.job_defaults(mode, has_controlnets=has_controlnets)
    assert ours.num_inference_steps == known["num_inference_steps"].default
    assert ours.guidance_scale == (known["guidance_scale"].default or 1.0)
    assert facts.text_tokens is not None
    assert facts.text_tokens.default == known["max_sequence_length"].default
    if mode != "text":  # with ControlNets that see the mask there is no such argument: all is generated
        assert ours.strength == (known["strength"].default if "strength" in known else 1.0)
        assert "strength" in known or (has_controlnets and facts.mask_reader != "base_model")
    if has_controlnets:
        assert ours.conditioning_scale == known["controlnet_conditioning_scale"].default
    # fields of a request that have one default for all families
    for name, same in OF_ALL_PIPELINES.items():
        assert name not in known or known[name].default == same
    own = JobOptions.model_fields
    for name in ("cfg_normalization", "cfg_truncation"):
        assert name not in known or own[name].default == known[name].default


#: Arguments of diffusers' pipelines of transformers, and what a request's field has of each.
OF_ALL_PIPELINES = {
    "control_guidance_start": ControlNetOptions.model_fields["guidance_start"].default,
    "control_guidance_end": ControlNetOptions.model_fields["guidance_end"].default,
    "clip_skip": JobOptions.model_fields["clip_skip"].default,
    "mu": JobOptions.model_fields["mu"].default,
    "sigmas": JobOptions.model_fields["sigmas"].default,
}


@pytest.mark.parametrize("facts", [SD1, SDXL], ids=lambda facts: facts.name)
def test_unets_have_the_fleets_own_defaults(facts: FamilyFacts) -> None:
    for mode in facts.modes:
        strength = 1.0 if mode == "mask" else 0.8
        for has_controlnets in (False, True):
            ours = facts.job_defaults(mode, has_controlnets=has_controlnets)
            assert ours == (30, 7.5, strength, 1.0)


@pytest.mark.parametrize("facts", [SD3, QWEN_IMAGE, Z_IMAGE], ids=lambda facts: facts.name)
@pytest.mark.parametrize("mode", ["image", "mask"])
def test_controlnets_guide_only_jobs_for_which_diffusers_has_a_pipeline(
    facts: FamilyFacts, mode: Mode
) -> None:
    if mode in facts.controlnet_modes:
        pytest.skip("diffusers has one")
    refused = refusal(facts, mode, has_controlnets=True)
    assert refused.field == "controlnets"
    assert f"ControlNets of {facts.label} guide jobs from texts alone" in str(refused)


def test_flux_with_controlnets_and_an_image_has_no_second_forward() -> None:
    refused = refusal(FLUX, "image", has_controlnets=True, true_cfg_scale=2.0, negative_prompt="")
    assert refused.field == "true_cfg_scale"
    assert str(refused) == ("model 'm' (Flux.1) takes no true_cfg_scale with an image and ControlNets")
    assert refusal(FLUX, "mask", has_controlnets=True, negative_prompt="red").field == "negative_prompt"


@pytest.mark.parametrize(
    ("facts", "fields", "field", "words"),
    [
        (FLUX, {"negative_prompt": "red"}, "negative_prompt", "only with a true_cfg_scale above 1; it is 1"),
        (FLUX, {"negative_prompt": "", "true_cfg_scale": 1.0}, "negative_prompt", "above 1"),
        (FLUX, {"true_cfg_scale": 2.0}, "true_cfg_scale", "needs a negative_prompt; it may be empty"),
        (FLUX, {"true_cfg_scale": 2.0, "negative_prompt_2": "red"}, "negative_prompt_2", "needs a negative_"),
        (QWEN_IMAGE, {"negative_prompt": "red", "true_cfg_scale": 1.0}, "negative_prompt", "it is 1"),
        (Z_IMAGE, {"negative_prompt": "red", "guidance_scale": 0.0}, "negative_prompt", "above 0; it is 0"),
        (SD3, {"negative_prompt_3": "red", "guidance_scale": 1.0}, "negative_prompt_3", "above 1; it is 1"),
    ],
)
def test_a_negative_prompt_that_no_branch_reads_is_refused(
    facts: FamilyFacts, fields: dict[str, Any], field: str, words: str
) -> None:
    refused = refusal(facts, **fields)
    assert refused.field == field
    assert words in str(refused)


@pytest.mark.parametrize(
    ("facts", "fields"),
    [
        (FLUX, {"negative_prompt": "", "true_cfg_scale": 1.5}),
        (QWEN_IMAGE, {"negative_prompt": ""}),
        (QWEN_IMAGE, {}),
        (Z_IMAGE, {"negative_prompt": "red", "guidance_scale": 1.0}),
        (SD1, {"negative_prompt": "red", "guidance_scale": 1.0}),  # as it has always been left unread
    ],
)
def test_a_negative_prompt_that_a_branch_reads_is_taken(facts: FamilyFacts, fields: dict[str, Any]) -> None:
    ask(facts, **fields)


@pytest.mark.parametrize("facts", [FLUX, SD3, QWEN_IMAGE, Z_IMAGE], ids=lambda facts: facts.name)
def test_a_scheduler_of_another_kind_of_model_is_refused(facts: FamilyFacts) -> None:
    refused = refusal(facts, scheduler="ddim")
    assert refused.field == "scheduler"
    assert f"'ddim' is not for {facts.label}; model 'm' takes " in str(refused)
    assert "flow_match_euler" in str(refused)
    assert refusal(SD1, scheduler="flow_match_euler").field == "scheduler"


def test_a_scheduler_that_no_pipeline_begins_from_an_image_with_is_refused() -> None:
    ask(FLUX, scheduler="unipc_flow")
    ask(FLUX, scheduler="dpmpp_2m_flow", scheduler_config={"use_dynamic_shifting": True})
    assert refusal(FLUX, scheduler="dpmpp_2m_flow", has_controlnets=True).field == "scheduler"
    refused = refusal(FLUX, "image", scheduler="unipc_flow")
    assert refused.field == "scheduler"
    assert "does not begin from an image" in str(refused)


def test_a_job_whose_mask_its_controlnets_are_shown_begins_with_noise_with_any_scheduler() -> None:
    for facts in (SD3, QWEN_IMAGE):
        ask(facts, "mask", scheduler="unipc_flow", has_controlnets=True)
        assert refusal(facts, "mask", scheduler="unipc_flow").field == "scheduler"


@pytest.mark.parametrize("facts", [FLUX, SD3, QWEN_IMAGE, Z_IMAGE], ids=lambda facts: facts.name)
def test_texts_and_sides_have_the_limits_of_the_pipeline(facts: FamilyFacts) -> None:
    assert facts.text_tokens is not None
    ask(facts, max_sequence_length=facts.text_tokens.limit, sides={"width": 1024, "height": 1040})
    if facts.text_tokens.limit < 1024:
        assert refusal(facts, max_sequence_length=1024).field == "max_sequence_length"
    assert refusal(facts, sides={"width": 1024, "height": 1000}).field == "height"
    assert refusal(facts, prompt_syntax="a1111").field == "prompt_syntax"


@pytest.mark.parametrize(
    ("field", "config", "words"),
    [
        ("shift", {"use_dynamic_shifting": True}, "shifts by the image's size: it has no static shift"),
        ("mu", {"shift": 3.0}, "has a static shift: it takes no mu"),
    ],
)
def test_a_shift_that_the_scheduler_would_ignore_is_refused(field: str, config: Config, words: str) -> None:
    refused = refusal(SD3, scheduler_config=config, **{field: 1.0})
    assert refused.field == field
    assert words in str(refused)
    ask(SD3, scheduler_config={"use_dynamic_shifting": field == "mu"}, **{field: 1.0})
    ask(SD3, **{field: 1.0})  # the config is not known


@pytest.mark.parametrize(
    ("facts", "controlnets", "words"),
    [
        (Z_IMAGE, ["edge", "edge"], "Z-Image takes at most 1 of them, and the job has 2"),
        (QWEN_IMAGE, ["edge", "depth"], "has one ControlNet, if with several images, and not depth, edge"),
    ],
)
def test_more_controlnets_than_the_pipeline_takes_are_refused(
    facts: FamilyFacts, controlnets: list[str], words: str
) -> None:
    refused = refusal(facts, controlnets=controlnets)
    assert refused.field == "controlnets"
    assert words in str(refused)
    ask(facts, controlnets=controlnets[:1])
    ask(FLUX, controlnets=controlnets)


def test_what_a_mask_that_controlnets_see_marks_is_generated_wholly() -> None:
    refused = refusal(Z_IMAGE, "mask", has_controlnets=True, strength=0.8)
    assert refused.field == "strength"
    assert "Z-Image generates all of what a mask marks: strength is 1" in str(refused)
    ask(Z_IMAGE, "mask", has_controlnets=True, strength=1.0)
    ask(Z_IMAGE, "mask", strength=0.8)
    ask(FLUX, "mask", has_controlnets=True, strength=0.8)


@pytest.mark.parametrize("mode", ["text", "image"])
def test_a_model_that_was_trained_to_inpaint_needs_a_mask(mode: Mode) -> None:
    refused = refusal(SD1, mode, is_inpainting=True)
    assert refused.field == "mask_image"
    assert "'m' was trained to inpaint: it needs an image and a mask_image" in str(refused)
    ask(SD1, "mask", is_inpainting=True)


def test_the_images_of_a_job_say_its_mode() -> None:
    assert [mode_of(None, None), mode_of("a", None), mode_of("a", "b")] == ["text", "image", "mask"]
