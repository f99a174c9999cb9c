from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.jobs.spec import JobSpec
from tests.api.services import base64_of, image_file, receipt_of, replay


def accepted(client: FlaskClient, services: Services, **fields: Any) -> JobSpec:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", **fields})
    assert answer.status_code == 202, answer.json
    return services.jobs.get(answer.json["id"]).spec


@pytest.mark.parametrize(
    ("fields", "output_format", "quality"),
    [
        ({}, "png", None),
        ({"output_format": None, "output_quality": None}, "png", None),
        ({"output_format": "png"}, "png", None),
        ({"output_format": "jpeg"}, "jpeg", 95),
        ({"output_format": "webp", "output_quality": 1}, "webp", 1),
        ({"output_quality": 100, "output_format": "jpeg"}, "jpeg", 100),
    ],
)
def test_a_job_says_in_which_format_and_quality_its_images_are(
    fields: dict[str, Any], output_format: str, quality: int | None, client: FlaskClient, services: Services
) -> None:
    spec = accepted(client, services, **fields)
    assert (spec.output_format, spec.output_quality) == (output_format, quality)


@pytest.mark.parametrize(
    ("fields", "field", "detail"),
    [
        ({"output_format": "PNG"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": "JPEG"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": "jpg"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": "image/png"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": ""}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": ["png"]}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_quality": 80}, "output_quality", "a PNG loses nothing"),
        ({"output_format": "png", "output_quality": 80}, "output_quality", "a PNG loses nothing"),
        ({"output_format": "jpeg", "output_quality": 0}, "output_quality", "greater than or equal to 1"),
        ({"output_format": "webp", "output_quality": 101}, "output_quality", "less than or equal to 100"),
        ({"output_format": "webp", "output_quality": "80"}, "output_quality", "valid integer"),
        ({"output_format": "webp", "output_quality": 80.5}, "output_quality", "valid integer"),
        ({"output_format": "webp", "output_quality": True}, "output_quality", "valid integer"),
        ({"format": "webp"}, "format", "did you mean output_format?"),
        ({"quality": 80}, "quality", "did you mean output_quality?"),
    ],
)
def test_what_is_no_format_or_quality_is_refused_by_its_field(
    fields: dict[str, Any], field: str, detail: str, client: FlaskClient
) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", **fields})
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert detail in answer.json["detail"]


def test_the_largest_side_is_that_of_the_format(services: Services) -> None:
    large = services.settings.model_copy(update={"max_side_px": 20_000, "max_control_px": 20_000 * 16})
    app = create_app(replace(services, settings=large))
    client = app.test_client()
    body = {"prompt": "a cat", "width": 16_384, "height": 64}
    assert client.post("/v1/jobs", json=body).status_code == 202
    refused = client.post("/v1/jobs", json=body | {"output_format": "webp"})
    assert (refused.status_code, refused.json["field"]) == (422, "width")
    assert "16383" in refused.json["detail"]
    wide = {"prompt": "a cat", "image": base64_of(image_file((16_384, 16))), "output_format": "webp"}
    refused = client.post("/v1/jobs", json=wide)
    assert (refused.status_code, refused.json["field"]) == (422, "image")


def test_a_replay_has_the_format_and_quality_of_its_receipt(client: FlaskClient, services: Services) -> None:
    spec = accepted(client, services, output_format="webp", output_quality=60)
    again = replay(receipt_of(spec), services)
    assert (again.output_format, again.output_quality) == ("webp", 60)


def test_a_receipt_with_a_quality_of_a_png_is_refused_at_its_field(
    client: FlaskClient, services: Services
) -> None:
    receipt = receipt_of(accepted(client, services))
    edited = receipt.model_copy(update={"spec": receipt.spec.model_copy(update={"output_quality": 60})})
    body = {"receipt": edited.sealed().model_dump(mode="json")}
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json["field"]) == (422, "receipt.spec.output_quality")
