"""Names and types that clients get wrong, and what they are answered."""

from typing import Any

import pytest
from pydantic import ValidationError

from api.schemas.job_request import ControlNetRequest, JobRequest, LoraLoadingRequest, LoraRequest
from api.schemas.request_fields import NAMED_FIELDS, RequestFields

EDGE = {"name": "edge", "image": "x"}


def errors(model: type[RequestFields], told: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(told)
    return {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}


def job(**fields: Any) -> JobRequest:
    return JobRequest.model_validate({"prompt": "a cat", **fields})


def test_diffusers_names_are_those_of_fields_here() -> None:
    controlnet = {
        "name": "edge",
        "control_image": "x",
        "controlnet_conditioning_scale": 0.5,
        "control_guidance_start": 0.1,
        "control_guidance_end": 0.9,
    }
    request = job(
        num_images_per_prompt=2, controlnets=[controlnet], scheduler="EulerAncestralDiscreteScheduler"
    )
    [asked] = request.controlnets
    assert (request.num_images, request.scheduler) == (2, "euler_a")
    assert (asked.image, asked.conditioning_scale, asked.guidance_start, asked.guidance_end) == (
        "x",
        0.5,
        0.1,
        0.9,
    )
    assert not {*controlnet, "num_images_per_prompt"} & request.model_dump().keys() - {"name"}


def test_an_argument_for_all_controlnets_is_one_of_each() -> None:
    request = job(
        controlnets=[EDGE, EDGE],
        controlnet_conditioning_scale=0.5,
        control_guidance_start=[0.1, 0.2],
        control_guidance_end=None,
    )
    assert [
        (controlnet.conditioning_scale, controlnet.guidance_start, controlnet.guidance_end)
        for controlnet in request.controlnets
    ] == [
        (0.5, 0.1, 1.0),
        (0.5, 0.2, 1.0),
    ]


@pytest.mark.parametrize(
    ("controlnets", "value", "told"),
    [
        ([], 0.5, "is about controlnets, and the job has none"),
        ([EDGE], [0.5, 0.6], "has 2 values for 1 controlnets"),
        ([{**EDGE, "conditioning_scale": 1.0}], 0.5, "say the same: give one of them"),
        ([{**EDGE, "controlnet_conditioning_scale": 1.0}], 0.5, "say the same: give one of them"),
    ],
)
def test_an_argument_for_all_controlnets_must_fit_them(controlnets: list[Any], value: Any, told: str) -> None:
    fields = {"prompt": "a cat", "controlnets": controlnets, "controlnet_conditioning_scale": value}
    assert told in errors(JobRequest, fields)["controlnet_conditioning_scale"]


@pytest.mark.parametrize(
    "given", [["num_images", "num_images_per_prompt"], ["num_images_per_prompt", "num_images"]]
)
def test_a_field_by_two_names_is_refused(given: list[str]) -> None:
    found = errors(JobRequest, {"prompt": "a cat", **dict.fromkeys(given, 2)})
    assert found == {
        "num_images_per_prompt": "num_images_per_prompt is another name of num_images: give one of them"
    }


@pytest.mark.parametrize("model", [JobRequest, ControlNetRequest])
def test_the_description_of_a_field_names_its_aliases(model: type[RequestFields]) -> None:
    assert model.aliases
    described = model.model_json_schema()["properties"]
    for alias, field in model.aliases.items():
        assert alias in described[field]["description"], alias


@pytest.mark.parametrize(
    ("model", "told", "meant"),
    [
        (JobRequest, "steps", "num_inference_steps"),
        (JobRequest, "num_steps", "num_inference_steps"),
        (JobRequest, "num_inference_step", "num_inference_steps"),
        (JobRequest, "numInferenceSteps", "num_inference_steps"),
        (JobRequest, "cfg_scale", "guidance_scale"),
        (JobRequest, "CFG-Scale", "guidance_scale"),
        (JobRequest, "guidence_scale", "guidance_scale"),
        (JobRequest, "n", "num_images"),
        (JobRequest, "size", "width and height"),
        (JobRequest, "sampler_name", "scheduler"),
        (JobRequest, "negativePrompt", "negative_prompt"),
        (JobRequest, "denoising_strength", "strength"),
        (JobRequest, "lora", "loras"),
        (JobRequest, "controlnet", "controlnets"),
        (ControlNetRequest, "weight", "conditioning_scale"),
        (ControlNetRequest, "module", "preprocessor"),
        (ControlNetRequest, "guidance_strat", "guidance_start"),
        (LoraRequest, "weight", "scale"),
        (LoraRequest, "lora_name", "name"),
        (LoraLoadingRequest, "max_async_step", "max_async_steps"),
    ],
)
def test_an_unknown_field_says_which_one_was_meant(model: type[RequestFields], told: str, meant: str) -> None:
    assert errors(model, {told: 3})[told] == f"unknown field; did you mean {meant}?"


def test_what_is_like_no_field_is_unknown_and_nothing_more() -> None:
    assert errors(JobRequest, {"prompt": "a cat", "colour": 3}) == {"colour": "unknown field"}


def test_every_meant_field_exists() -> None:
    for model in (JobRequest, ControlNetRequest, LoraRequest):
        assert {*model.aliases, *model.meant}.isdisjoint(model.model_fields)
        known = {*model.model_fields, "width and height", "loras[].scale"}
        assert {*model.aliases.values(), *model.meant.values()} <= known


def test_what_is_unknown_and_what_is_wrong_are_named_together() -> None:
    found = errors(JobRequest, {"prompt": "a cat", "steps": 3, "width": 63, "loras": [{"weight": 1}]})
    assert set(found) == {"steps", "width", "loras.0.weight", "loras.0.name"}


def test_very_many_and_very_long_unknown_fields_are_not_all_repeated() -> None:
    found = errors(JobRequest, {"prompt": "a cat", **{f"{i}{'x' * 1000}": 1 for i in range(500)}})
    assert len(found) == NAMED_FIELDS
    assert all(len(name) == 100 for name in found)


@pytest.mark.parametrize(
    "field",
    sorted(JobRequest.model_fields.keys() - {"prompt"}),
)
def test_null_is_what_is_left_out(field: str) -> None:
    assert job(**{field: None}) == job()


def test_null_is_no_prompt_and_no_name() -> None:
    assert set(errors(JobRequest, {"prompt": None, "loras": [{"name": None}]})) == {"prompt", "loras.0.name"}


def test_an_alias_may_be_null_where_the_field_is_given() -> None:
    assert job(num_images=2, num_images_per_prompt=None).num_images == 2


@pytest.mark.parametrize("fields", [{"seed": -1}, {"seeds": [3, -1]}])
def test_a_seed_of_minus_one_is_explained(fields: dict[str, Any]) -> None:
    [told] = errors(JobRequest, {"prompt": "a cat", **fields}).values()
    assert "leave it out for a random seed" in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": True}, {"seed": "7"}, {"seed": 7.0}, {"seeds": [True]}, {"num_images": "1"}, {"width": 64.0},
        {"num_inference_steps": True}, {"num_inference_steps": "25"}, {"guidance_scale": "3"},
        {"guidance_scale": True}, {"strength": "0.5"}, {"guess_mode": 1}, {"guess_mode": "1"},
        {"guess_mode": "true"}, {"prompt": 3}, {"prompt": True}, {"model": 7}, {"clip_skip": "1"},
        {"timesteps": ["900"]}, {"timesteps": [900.0]}, {"sigmas": ["9", "0"]}, {"sigmas": [True, False]},
        {"original_size": ["64", 64]}, {"original_size": [64.0, 64]}, {"original_size": "64"},
        {"loras": {"name": "a"}}, {"loras": [{"name": "a", "scale": "1"}]},
        {"loras": [{"name": "a", "scale": True}]},
        {"loras": [{"name": "a", "scale": {"unet": {"mid": "1"}}}]},
        {"loras": [{"name": "a", "scale": {"unet": {"up": {"block_0": [True]}}}}]},
        {"lora_loading": {"max_async_steps": "5"}}, {"lora_loading": {"max_async_steps": 5.0}},
        {"lora_loading": {"mode": "replay", "steps": {"a": "1"}}},
        {"controlnets": [{**EDGE, "conditioning_scale": "1"}]},
        {"controlnets": [{**EDGE, "guidance_end": True}]},
        {"controlnets": [{**EDGE, "control_mode": "1"}]}, {"controlnets": [{**EDGE, "control_mode": 1.0}]},
        {"controlnets": [{**EDGE, "preprocessor": "canny", "preprocessor_options": {"low_threshold": "50"}}]},
        {"controlnets": [{**EDGE, "preprocessor": "canny", "preprocessor_options": {"low_threshold": True}}]},
        {"controlnets": [{**EDGE, "preprocessor": "canny", "preprocessor_options": {"low_threshold": 50.0}}]},
    ],
    ids=str,
)  # fmt: skip
def test_json_types_are_not_converted(wrong: dict[str, Any]) -> None:
    places = {place.split(".")[0] for place in errors(JobRequest, {"prompt": "a cat", **wrong})}
    assert places == set(wrong)


def test_an_integer_is_a_float_too_and_a_list_a_size() -> None:
    request = job(
        guidance_scale=3, strength=1, sigmas=[9, 0], original_size=[64, 32], loras=[{"name": "a", "scale": 1}]
    )
    assert (request.guidance_scale, request.sigmas, request.original_size) == (3.0, [9.0, 0.0], (64, 32))
