import io
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.entries import Catalog, ModelEntry
from shared.errors import ImageGone
from shared.families.registry import families
from shared.keys import LOCAL, control_key
from tests.api.services import base64_of, edge, image_file, receipt_of, replay
from tests.api.services import resolved as resolved_request
from tests.api.submission.test_resolve import refusal


def source(size: tuple[int, int] = (64, 64)) -> str:
    return base64_of(image_file(size))


def resolved(services: Services, **fields: Any) -> Any:
    return resolved_request(JobRequest(prompt="a cat", **fields), services)


def test_an_input_image_is_stored_by_its_content_and_gives_the_job_its_size(services: Services) -> None:
    spec = resolved(services, image=source((72, 50)))
    assert (spec.width, spec.height) == (72, 48)  # on the grid, as diffusers cuts it
    assert spec.image is not None
    with Image.open(io.BytesIO(services.images.get(control_key(spec.image, tenant=LOCAL)))) as stored:
        assert stored.size == (72, 50)
    assert spec.mask_image is None


def test_of_a_model_whose_family_is_not_known_it_is_a_size_that_any_family_takes(services: Services) -> None:
    catalog = Catalog(default_model="m", models={"m": ModelEntry(source="hub:x/y")})
    hub = replace(services, catalog=catalog)
    spec = resolved(hub, image=source((104, 72)))
    assert (spec.width, spec.height) == (96, 64)
    for facts in families():
        assert spec.width % facts.size_multiple == spec.height % facts.size_multiple == 0
    named = resolved(hub, image=source((104, 72)), width=72)  # which the model may take
    assert (named.width, named.height) == (72, 64)


def test_a_size_that_is_asked_for_wins_over_the_images(services: Services) -> None:
    spec = resolved(services, image=source((72, 48)), width=128)
    assert (spec.width, spec.height) == (128, 48)


def test_strength_is_less_than_all_without_a_mask_and_all_with_one(services: Services) -> None:
    assert resolved(services).strength is None
    assert resolved(services, image=source()).strength == 0.8
    assert resolved(services, image=source(), mask_image=source()).strength == 1.0
    assert resolved(services, image=source(), strength=1).strength == 1.0


@pytest.mark.parametrize("field", ["mask_image", "strength"])
def test_what_belongs_to_an_image_is_refused_without_one(client: FlaskClient, field: str) -> None:
    problem = refusal(client, **{field: {"mask_image": source(), "strength": 0.5}[field]})
    assert problem["field"] == field
    assert problem["detail"] == f"{field} needs an image"


def test_a_mask_of_another_size_is_refused_naming_both(client: FlaskClient) -> None:
    problem = refusal(client, image=source((64, 64)), mask_image=source((64, 32)))
    assert problem["field"] == "mask_image"
    assert problem["detail"] == "the mask has 64 x 32 pixels, its image 64 x 64"


@pytest.mark.parametrize(
    ("strength", "more"),
    [
        (0, {}),
        (0.03, {}),
        (0.19, {"num_inference_steps": 5}),
        (0.3, {"scheduler": "ddpm", "timesteps": [900, 500, 20]}),
    ],
)
def test_a_strength_that_leaves_no_step_is_refused(
    client: FlaskClient, strength: float, more: dict[str, Any]
) -> None:
    problem = refusal(client, image=source(), strength=strength, **more)
    assert problem["field"] == "strength"
    assert "leaves none to run" in problem["detail"]


@pytest.mark.parametrize("strength", [-0.1, 1.1, "NaN"])
def test_a_strength_out_of_bounds_is_refused(client: FlaskClient, strength: Any) -> None:
    assert refusal(client, image=source(), strength=strength)["field"] == "strength"


@pytest.mark.parametrize("field", ["image", "mask_image"])
def test_what_is_no_image_is_refused_by_its_field(client: FlaskClient, field: str) -> None:
    problem = refusal(client, **{"image": source(), field: "%%%"})
    assert (problem["code"], problem["field"]) == ("invalid_image", field)


def test_an_input_image_that_is_too_small_or_too_large_is_refused(client: FlaskClient) -> None:
    assert "smaller than 8 pixels" in refusal(client, image=source((64, 7)))["detail"]
    assert "the limit of a side is 2048" in refusal(client, image=source((2056, 16)))["detail"]


def test_nothing_is_stored_when_another_image_is_bad(client: FlaskClient, services: Services) -> None:
    refusal(client, image=source(), mask_image="%%%")
    refusal(client, image=source(), controlnets=[edge("%%%")])
    assert list(services.images.list()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"image": source(), "mask_image": source(), "strength": 0.5},
        {"seeds": [3, 1]},
        {"scheduler": "euler", "sigmas": [14.6, 1.0, 0.0]},
        {"scheduler": "heun", "timesteps": [999, 20]},
        {"clip_skip": 1, "guidance_rescale": 0.7, "eta": 0.5},
    ],
    ids=str,
)
def test_a_receipt_is_asked_for_again_word_for_word(services: Services, fields: dict[str, Any]) -> None:
    spec = resolved(services, width=64, height=64, **fields)
    again = replay(receipt_of(spec), services)
    assert again.model_dump(exclude={"lora_loading"}) == spec.model_dump(exclude={"lora_loading"})


def test_a_receipt_whose_image_is_gone_is_refused_by_its_place(services: Services) -> None:
    spec = resolved(services, image=source())
    assert spec.image is not None
    services.images.delete(control_key(spec.image, tenant=LOCAL))
    with pytest.raises(ImageGone) as refused:
        replay(receipt_of(spec), services)
    assert refused.value.field == "receipt.spec.image"
