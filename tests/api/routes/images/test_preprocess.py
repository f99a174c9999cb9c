import base64
import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.services import Services
from shared.catalog.preprocessors import NONE, PREPROCESSORS, fill_in
from shared.control_images.control_map import control_map_of
from shared.keys import LOCAL, control_key
from tests.api.services import base64_of, image_file

URL = "/v1/controlnets/preprocess"


def ask(client: FlaskClient, **fields: Any) -> Any:
    return client.post(URL, json={"image": base64_of(image_file()), "preprocessor": "canny", **fields})


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return image.size


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_a_map_is_the_one_that_a_job_would_have(client: FlaskClient, name: str) -> None:
    image = image_file((100, 50))
    answer = ask(client, image=base64_of(image), preprocessor=name, width=96, height=64)
    assert (answer.status_code, answer.content_type) == (200, "image/png"), answer.data
    assert answer.data == control_map_of(image, name, fill_in(name, {}), size=(96, 64))
    assert answer.headers["Content-Disposition"] == f'inline; filename="{name}.png"'
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_side_that_is_not_named_is_the_images_own(client: FlaskClient) -> None:
    image = base64_of(image_file((50, 30)))
    assert size_of(ask(client, image=image).data) == (50, 30)
    assert size_of(ask(client, image=image, width=64).data) == (64, 30)
    assert size_of(ask(client, image=image, height=None, width=64).data) == (64, 30)


def test_options_are_those_of_the_preprocessor(client: FlaskClient) -> None:
    image = image_file()
    options = {"threshold": 200}
    answer = ask(client, preprocessor="threshold", preprocessor_options=options)
    assert answer.data == control_map_of(image, "threshold", options, size=(64, 64))
    assert answer.data != ask(client, preprocessor="threshold").data


def test_a_map_is_sent_as_the_type_that_the_client_accepts(client: FlaskClient) -> None:
    fields = {"image": base64_of(image_file()), "preprocessor": NONE}
    answer = client.post(URL, json=fields, headers={"Accept": "application/octet-stream"})
    assert answer.content_type == "application/octet-stream"
    assert size_of(answer.data) == (64, 64)


def test_a_stored_image_may_be_named_and_nothing_is_stored(client: FlaskClient, services: Services) -> None:
    controlnets = [{"name": "edge", "image": base64_of(image_file())}]
    job = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": controlnets}).json
    spec = services.jobs.get(job["id"], tenant=LOCAL).spec
    before = [stat.key for stat in services.images.list()]
    assert before == [control_key(spec.controlnets[0].image, tenant=LOCAL)]
    named = ask(client, image=f"sha256:{spec.controlnets[0].image}")
    assert named.data == ask(client).data
    assert [stat.key for stat in services.images.list()] == before


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"preprocessor": "openpose"}, "preprocessor", "invalid_request"),
        ({"preprocessor": None}, "preprocessor", "invalid_request"),
        ({"preprocessor": 1}, "preprocessor", "invalid_request"),
        ({"preprocessor_options": {"sigma": 1}}, "preprocessor_options", "invalid_request"),
        ({"preprocessor_options": {"low_threshold": 300}}, "preprocessor_options", "invalid_request"),
        ({"preprocessor_options": {"low_threshold": "1"}}, "preprocessor_options.low_threshold", None),
        ({"preprocessor_options": []}, "preprocessor_options", "invalid_request"),
        ({"image": None}, "image", "invalid_request"),
        ({"image": ""}, "image", "invalid_image"),
        ({"image": "%%%"}, "image", "invalid_image"),
        ({"image": base64.b64encode(b"no image").decode()}, "image", "invalid_image"),
        ({"image": base64_of(image_file()[:60])}, "image", "invalid_image"),
        ({"image": f"sha256:{'0' * 64}"}, "image", "invalid_image"),
        ({"image": "https://example.com/x.png"}, "image", "invalid_image"),
        ({"width": 2056}, "width", "invalid_request"),
        ({"height": 63}, "height", "invalid_request"),
        ({"width": 0}, "width", "invalid_request"),
        ({"module": "canny"}, "module", "invalid_request"),
    ],
)
def test_a_bad_request_is_refused_by_the_field_at_fault(
    client: FlaskClient, fields: dict[str, Any], field: str, code: str | None
) -> None:
    answer = ask(client, **fields)
    assert answer.status_code in (410, 422), answer.data
    assert answer.json["field"] == field, answer.json
    assert code is None or answer.json["code"] == code


def test_a_map_larger_than_a_generated_image_may_be_is_refused(client: FlaskClient) -> None:
    image = base64_of(image_file((2049, 8)))
    answer = ask(client, image=image)
    assert (answer.status_code, answer.json["field"]) == (422, "width")
    assert "smaller" in answer.json["detail"]
    assert size_of(ask(client, image=image, width=64).data) == (64, 8)


def test_an_animated_image_is_refused(client: FlaskClient) -> None:
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 99)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    answer = ask(client, image=base64_of(file.getvalue()))
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")


@pytest.mark.parametrize("body", ["[]", '"x"', "{", ""])
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, body: str) -> None:
    assert client.post(URL, data=body, content_type="application/json").status_code in (400, 422)
