"""Nets that cannot do what a request asks of them are refused before anything is stored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.entries import Catalog
from shared.errors import InvalidRequest
from tests.api.services import base64_of, edge, image_file, resolved

SD1: dict[str, Any] = {"cross_attention_dim": 768, "block_out_channels": [320, 640]}
CONTROLNETS: dict[str, dict[str, Any]] = {
    "plain": SD1,
    "wide": SD1 | {"cross_attention_dim": 2048, "addition_embed_type": "text_time"},
    "deep": SD1 | {"layers_per_block": 3},
    "pooled": SD1 | {"global_pool_conditions": True},
    "union": SD1 | {"_class_name": "ControlNetUnionModel", "num_control_type": 3},
}


@pytest.fixture
def own(services: Services, tmp_path: Path) -> Services:
    """A catalog of configs: nothing else is read before a job is accepted."""
    bases = {"base/unet": SD1, "inpaint/unet": SD1 | {"in_channels": 9}}
    for path, config in {**bases, **CONTROLNETS}.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "config.json").write_text(json.dumps(config))
    catalog = Catalog.model_validate(
        {
            "default_model": "m",
            "models": {"m": {"source": "base"}, "inpaint": {"source": "inpaint"}},
            "controlnets": {name: {"source": name, "model": "m"} for name in CONTROLNETS}
            | {"hub": {"source": "hub:org/net", "model": "m"}},
        }
    )
    settings = services.settings.model_copy(update={"catalog": tmp_path / "catalog.toml"})
    return replace(services, catalog=catalog, settings=settings)


def request(*controlnets: dict[str, Any], **fields: Any) -> JobRequest:
    return JobRequest.model_validate(
        {"prompt": "a cat", "controlnets": [edge(**controlnet) for controlnet in controlnets], **fields}
    )


@pytest.mark.parametrize(
    ("controlnets", "fields", "field", "words"),
    [
        ([{"name": "wide"}], {}, "controlnets.0.name", ["'wide'", "SDXL", "2048", "'m'", "768"]),
        (
            [{"name": "plain"}, {"name": "pooled"}, {"name": "deep"}],
            {},
            "controlnets.2.name",
            ["'deep' gives 9 residuals, 'plain' 7"],
        ),
        ([{"name": "union"}], {}, "controlnets.0.control_mode", ["'union'", "0 to 2"]),
        ([{"name": "union", "control_mode": 3}], {}, "controlnets.0.control_mode", ["0 to 2"]),
        ([{"name": "plain", "control_mode": 0}], {}, "controlnets.0.control_mode", ["no union"]),
        ([], {"guess_mode": True}, "guess_mode", ["the job has none"]),
        ([{"name": "union", "control_mode": 0}], {"guess_mode": True}, "guess_mode", ["Union"]),
        ([], {"prompt_2": "a dog"}, "prompt_2", ["only SDXL", "prompt_2", "'m'"]),
        ([], {"target_size": [64, 64]}, "target_size", ["only SDXL", "target_size"]),
        (
            [],
            {"loras": [{"name": "a"}, {"name": "b", "scale": {"text_encoder_2": 0.5}}]},
            "loras.1.scale.text_encoder_2",
            ["only SDXL", "text_encoder_2", "'m'"],
        ),
    ],
)
def test_what_a_controlnet_or_family_cannot_do_is_refused(
    own: Services, controlnets: list[dict[str, Any]], fields: dict[str, Any], field: str, words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(request(*controlnets, **fields), own)
    assert refused.value.field == field
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("names", "guesses"), [(["plain", "pooled"], False), (["pooled", "plain"], True), (["plain"], False)]
)
def test_a_first_controlnet_that_pools_has_the_job_guess_as_in_diffusers(
    own: Services, names: list[str], guesses: bool
) -> None:
    assert resolved(request(*({"name": name} for name in names)), own).guess_mode == guesses


@pytest.mark.parametrize("fields", [{}, {"image": base64_of(image_file())}])
def test_a_model_that_was_trained_to_inpaint_needs_a_mask(own: Services, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"'inpaint'.*an image and a mask_image") as refused:
        resolved(request(model="inpaint", **fields), own)
    assert refused.value.field == "mask_image"
    both = {"image": base64_of(image_file()), "mask_image": base64_of(image_file())}
    assert resolved(request(model="inpaint", **both), own).mask_image


@pytest.mark.parametrize("name", ["plain", "hub"])
def test_a_controlnet_of_a_unet_is_never_shown_the_jobs_image_in_place_of_its_own(
    own: Services, name: str
) -> None:
    fields = {"prompt": "a cat", "image": base64_of(image_file()), "mask_image": base64_of(image_file())}
    with pytest.raises(InvalidRequest, match=f"ControlNet '{name}' needs an image") as refused:
        resolved(JobRequest.model_validate({**fields, "controlnets": [{"name": name}]}), own)
    assert refused.value.field == "controlnets.0.image"


def test_a_unions_kind_of_control_is_kept(own: Services) -> None:
    spec = resolved(request({"name": "union", "control_mode": 2}), own)
    assert spec.controlnets[0].control_mode == 2
