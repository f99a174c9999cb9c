"""What `/v1/models` lists of a model is what a submission to it takes, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from api.app import create_app
from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.entries import Catalog
from shared.errors import InvalidRequest
from shared.families.base import Mode
from shared.jobs.families.options import UNET_FIELDS, FamilyOptions
from tests.api.services import base64_of, image_file, resolved
from tests.api.transformer_catalog import MODELS, with_transformers
from tests.shared.jobs.families.field_values import VALUES

IMAGE = base64_of(image_file((96, 96)))
IMAGES: dict[Mode, dict[str, Any]] = {
    "text": {},
    "image": {"image": IMAGE},
    "mask": {"image": IMAGE, "mask_image": IMAGE},
}
#: A ControlNet of each model that guides jobs from a mode.
CONTROLNETS: dict[str, dict[Mode, str]] = {
    "flux": dict.fromkeys(get_args(Mode), "flux-5-10"),
    "schnell": dict.fromkeys(get_args(Mode), "schnell-plain"),
    "sd3": {"text": "sd3-net", "image": "sd3-net", "mask": "sd3-mask"},
    "sd3-dynamic": dict.fromkeys(get_args(Mode), "sd3-dynamic-net"),
    "qwen": {"text": "qwen-net", "image": "qwen-net", "mask": "qwen-mask"},
    "z": {"text": "z-net", "image": "z-net", "mask": "z-mask"},
    "emoji-sd": dict.fromkeys(get_args(Mode), "edge"),
}
#: UNets without ControlNets.
UNETS: dict[str, dict[str, Any]] = {
    "sd1-inpaint": {"cross_attention_dim": 768, "in_channels": 9},
    "sdxl": {"cross_attention_dim": 2048, "addition_embed_type": "text_time"},
}
INPAINTS = ("sd3-mask", "qwen-mask")


def listed(services: Services, model: str) -> dict[str, Any]:
    answer: Any = create_app(services).test_client().get("/v1/models").json
    return next(one for one in answer["models"] if one["name"] == model)


def takes(
    services: Services, model: str, mode: Mode, *, has_controlnets: bool = False, **fields: Any
) -> bool:
    """Whether a job is accepted: with a second forward where a field needs one."""
    name = CONTROLNETS.get(model, {}).get(mode, "none fits")
    own_image = {} if name in INPAINTS and mode == "mask" else {"image": IMAGE}
    controlnets = [{"name": name, **own_image}] if has_controlnets else []
    size = {"width": 96, "height": 96}
    body = {"prompt": "a cat", "model": model, "controlnets": controlnets, **size, **IMAGES[mode], **fields}
    try:
        resolved(JobRequest.model_validate(body), services)
    except InvalidRequest:
        return False
    return True


def fields_taken(services: Services, model: str, mode: Mode, *, has_controlnets: bool) -> list[str]:
    needed: dict[str, dict[str, Any]] = {
        "true_cfg_scale": {"negative_prompt": ""},
        "negative_prompt_2": {"negative_prompt": "", "true_cfg_scale": 3.0}
        if model in ("flux", "schnell")
        else {},
    }
    return sorted(
        field
        for field in (*FamilyOptions.model_fields, *UNET_FIELDS)
        if takes(
            services,
            model,
            mode,
            has_controlnets=has_controlnets or field == "guess_mode",
            **{field: VALUES[field]},
            **needed.get(field, {}),
        )
    )


@pytest.fixture(params=[*MODELS, *UNETS, "emoji-sd"])
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def catalog(services: Services, tmp_path: Path, model: str) -> Services:
    if model in UNETS:
        (tmp_path / "m/unet").mkdir(parents=True)
        (tmp_path / "m/unet/config.json").write_text(json.dumps(UNETS[model]))
        entries = Catalog.model_validate({"default_model": model, "models": {model: {"source": "m"}}})
        settings = services.settings.model_copy(update={"catalog": tmp_path / "catalog.toml"})
        return replace(services, catalog=entries, settings=settings)
    return services if model == "emoji-sd" else with_transformers(services, tmp_path)


def test_the_fields_of_a_model_are_those_that_it_takes(catalog: Services, model: str) -> None:
    found = listed(catalog, model)
    assert found["fields"] == fields_taken(catalog, model, found["modes"][0], has_controlnets=False)


def test_the_modes_of_a_model_are_those_that_it_takes(catalog: Services, model: str) -> None:
    found = listed(catalog, model)
    assert found["modes"]
    for key, has_controlnets in (("modes", False), ("controlnet_modes", True)):
        if has_controlnets and not found["controlnets"]:
            continue
        taken = [
            mode for mode in get_args(Mode) if takes(catalog, model, mode, has_controlnets=has_controlnets)
        ]
        assert found[key] == taken


def test_the_fields_of_jobs_with_controlnets_are_those_that_these_take(catalog: Services, model: str) -> None:
    found = listed(catalog, model)
    if not found["controlnets"]:
        pytest.skip("it has none")
    assert found["controlnet_fields"] == {
        mode: fields_taken(catalog, model, mode, has_controlnets=True) for mode in found["controlnet_modes"]
    }
