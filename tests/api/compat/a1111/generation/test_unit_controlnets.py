"""Units of ControlNets that models of the transformer families have: unions, and those that inpaint."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import Services
from shared.jobs.spec import JobSpec
from tests.api.compat.fake_worker import FakeWorker
from tests.api.services import base64_of, image_file
from tests.api.transformer_catalog import with_transformers

IMAGE = base64_of(image_file())
UNION = {"model": "flux-union", "image": IMAGE}
PLACE = "alwayson_scripts.ControlNet.args.0"


@pytest.fixture
def services(services: Services, tmp_path: Path) -> Services:
    """With models of the transformer families."""
    return with_transformers(services, tmp_path)


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def post(client: FlaskClient, call: str, unit: dict[str, Any], **fields: Any) -> TestResponse:
    body = {
        "prompt": "a cat",
        "width": 64,
        "height": 64,
        "alwayson_scripts": {"ControlNet": {"args": [unit]}},
    }
    return client.post(f"/sdapi/v1/{call}", json=body | fields)


def inpaint(client: FlaskClient, model: str, **fields: Any) -> TestResponse:
    settings = {"sd_model_checkpoint": model.partition("-")[0]}
    unit = {"model": model, **fields.pop("unit", {})}
    masked = {"init_images": [IMAGE], "mask": IMAGE, "inpaint_full_res": False}
    return post(client, "img2img", unit, override_settings=settings, **masked | fields)


def only_job(answer: TestResponse, worker: FakeWorker, services: Services) -> JobSpec:
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json["info"])["warnings"] == []
    return services.jobs.get(worker.jobs[-1]).spec


@pytest.mark.parametrize(
    ("unit", "mode"),
    [
        ({"union_control_type": "Depth"}, 2),
        ({"union_control_type": "OpenPose", "model": "flux-union [01234567]"}, 4),
        ({"union_control_type": 8}, 8),
        ({"module": "canny"}, 0),
        ({"module": "canny", "union_control_type": "Unknown"}, 0),
        ({"union_control_type": "Depth", "model": "flux-6-0"}, None),
    ],
)
def test_a_unit_of_a_union_says_what_its_image_is(
    unit: dict[str, Any], mode: int | None, client: FlaskClient, worker: FakeWorker, services: Services
) -> None:
    spec = only_job(post(client, "txt2img", UNION | unit), worker, services)
    assert [one.control_mode for one in spec.controlnets] == [mode]


def test_a_union_without_a_kind_is_refused_with_its_kinds(client: FlaskClient, services: Services) -> None:
    answer = post(client, "txt2img", UNION)
    assert answer.status_code == 422
    assert answer.json["detail"] == (
        f"{PLACE}.union_control_type: ControlNet 'flux-union' is a union: its union_control_type is canny,"
        " tile, depth, blur, pose, gray, low quality, or a number from 0 to 9"
    )
    assert services.jobs.page()[0] == []


def test_unions_are_listed_under_the_types_that_they_have(client: FlaskClient) -> None:
    types = client.get("/controlnet/control_types").json["control_types"]
    has_union = {
        name for name, kind in types.items() if any("flux-union" in model for model in kind["model_list"])
    }
    assert has_union == {"All", "Canny", "Depth", "Lineart", "MLSD", "OpenPose", "Tile"}


@pytest.mark.parametrize("model", ["sd3-mask", "qwen-mask"])
@pytest.mark.parametrize("module", ["none", "inpaint_only"])
def test_a_controlnet_that_inpaints_is_shown_the_image_of_img2img(
    model: str, module: str, client: FlaskClient, worker: FakeWorker, services: Services
) -> None:
    spec = only_job(inpaint(client, model, unit={"module": module}), worker, services)
    assert spec.controlnets[0].image == spec.image
    assert (spec.strength, spec.controlnets[0].preprocessor) == (1.0, "none")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"unit": {"image": IMAGE}}, f"{PLACE}.image: ControlNet 'sd3-mask' inpaints the image of img2img"),
        ({"unit": {"module": "inpaint_only+lama"}}, f"{PLACE}.module: unknown preprocessor"),
        ({"denoising_strength": 0.75}, "denoising_strength: with a ControlNet Stable Diffusion 3 generates"),
        ({"mask": None}, "alwayson_scripts.ControlNet.args: ControlNets of Stable Diffusion 3 guide jobs"),
    ],
)
def test_what_such_a_controlnet_does_not_do_is_refused_by_name(
    fields: dict[str, Any], detail: str, client: FlaskClient, services: Services
) -> None:
    answer = inpaint(client, "sd3-mask", **fields)
    assert answer.status_code == 422, answer.text
    refusal = answer.json["detail"]
    if isinstance(refusal, list):
        refusal = ".".join(map(str, refusal[0]["loc"][1:])) + ": " + refusal[0]["msg"]
    assert refusal.startswith(detail)
    assert services.jobs.page()[0] == []


def test_without_an_image_to_start_from_it_has_nothing_to_inpaint(client: FlaskClient) -> None:
    answer = post(client, "txt2img", {"model": "sd3-mask"}, override_settings={"sd_model_checkpoint": "sd3"})
    assert answer.status_code == 422
    assert answer.json["detail"].startswith(f"{PLACE}.model: ControlNet 'sd3-mask' was trained to inpaint")
