"""ControlNet units in ``alwayson_scripts``, as clients of different age write them."""

import io
import json
from typing import Any

import pytest
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.shared_data.controlnet.controlnet_model import ControlNetModel
from sd_backend_client.api.shared_data.controlnet.controlnet_unit import ControlNetUnit as BackendUnit
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
from webuiapi import ControlNetUnit, WebUIApi

from api.services import Services
from shared.jobs.spec import ControlNetSpec
from shared.keys import LOCAL, control_key
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import call
from tests.api.services import animated_file, base64_of, image_file

IMAGE = base64_of(image_file())


def only_controlnet(worker: FakeWorker, services: Services) -> ControlNetSpec:
    [controlnet] = services.jobs.get(worker.jobs[-1]).spec.controlnets
    return controlnet


def send(port: int, *units: Any, script: str = "ControlNet", **fields: Any) -> tuple[int, dict[str, Any]]:
    scripts = {script: {"args": list(units)}}
    body = {"prompt": "a cat", "width": 64, "height": 64, "alwayson_scripts": scripts, **fields}
    answer, told = call(port, "POST", "/sdapi/v1/txt2img", body)
    return answer.status, json.loads(told)


def test_webuiapi_s_unit_becomes_a_controlnet(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    unit = ControlNetUnit(
        image=Image.open(io.BytesIO(image_file((128, 64)))), module="canny", model="edge [0123abcd]",
        weight=0.8, guidance_start=0.1, guidance_end=0.9, threshold_a=80, threshold_b=150,
    )  # fmt: skip
    # Its default for scripts is one dict for all calls, which it changes.
    result = webui.txt2img(prompt="a cat", width=64, height=64, controlnet_units=[unit], alwayson_scripts={})
    controlnet = only_controlnet(worker, services)
    assert (controlnet.name, controlnet.preprocessor, controlnet.conditioning_scale) == ("edge", "canny", 0.8)
    assert controlnet.preprocessor_options == {"low_threshold": 80, "high_threshold": 150}
    assert (controlnet.guidance_start, controlnet.guidance_end) == (0.1, 0.9)
    image = Image.open(io.BytesIO(services.images.get(control_key(controlnet.image, LOCAL))))
    assert image.size == (64, 64)  # resized and filled
    assert (
        'ControlNet 0: "Module: canny, Model: edge, Weight: 0.8, Resize Mode: Just Resize, Processor Res: 64,'
        " Threshold A: 80, Threshold B: 150, Guidance Start: 0.1, Guidance End: 0.9, Pixel Perfect: True,"
        ' Control Mode: Balanced"'
    ) in result.image.info["parameters"]
    assert list(result.info["extra_generation_params"]) == ["ControlNet 0"]


def test_sd_backend_client_names_the_script_otherwise(
    backend: A1111Webservice, worker: FakeWorker, services: Services
) -> None:
    unit = BackendUnit(model=ControlNetModel("edge"), image=Image.open(io.BytesIO(image_file())))
    body = DiffusionRequestBody(prompt="a cat", steps=4, width=64, height=64, controlnet_units=[unit])
    backend.txt2img(body)
    assert only_controlnet(worker, services).preprocessor == "none"


def test_old_names_of_fields_and_enums_mean_the_same(
    port: int, worker: FakeWorker, services: Services
) -> None:
    unit = {
        "input_image": IMAGE, "model": "edge", "lowvram": False, "guidance": 0.5, "guessmode": True,
        "resize_mode": "Scale to Fit (Inner Fit)", "module": "None", "processor_res": 64,
    }  # fmt: skip
    status, told = send(port, unit, {"enabled": False, "model": "nobody"})
    assert status == 200, told
    assert only_controlnet(worker, services).guidance_end == 0.5
    assert services.jobs.get(worker.jobs[-1]).spec.guess_mode


@pytest.mark.parametrize("image", [{"image": IMAGE, "mask": None}, [IMAGE, None], IMAGE])
@pytest.mark.parametrize("mode", [0, 1, 2, 3, 7, "Just Resize", "Crop and Resize", "Envelope (Outer Fit)"])
def test_images_and_resize_modes_come_in_several_forms(
    image: Any, mode: Any, port: int, worker: FakeWorker, services: Services
) -> None:
    status, told = send(port, {"image": image, "model": "edge", "resize_mode": mode, "control_mode": "0"})
    assert status == 200, told
    assert only_controlnet(worker, services).name == "edge"


def test_img2img_s_own_image_controls_a_unit_without_one(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    image = Image.open(io.BytesIO(image_file()))
    webui.img2img(
        images=[image], prompt="a cat", width=64, height=64, alwayson_scripts={},
        controlnet_units=[ControlNetUnit(model="edge")],
    )  # fmt: skip
    spec = services.jobs.get(worker.jobs[-1]).spec
    assert spec.controlnets[0].image == spec.image


def test_thresholds_out_of_bounds_are_the_default_with_a_warning(
    port: int, worker: FakeWorker, services: Services
) -> None:
    unit = {"image": IMAGE, "model": "edge", "module": "canny", "threshold_a": 900, "processor_res": 1024}
    status, told = send(port, unit)
    assert status == 200, told
    assert only_controlnet(worker, services).preprocessor_options["low_threshold"] == 100
    assert json.loads(told["info"])["warnings"] == [
        "alwayson_scripts.ControlNet.args.0.threshold_a is out of bounds: the default is used",
        "alwayson_scripts.ControlNet.args.0.processor_res is ignored: it is the size of the image",
    ]


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"model": "edge"}, "args.0.image: the unit has no image"),
        ({"model": "None", "image": IMAGE}, "args.0.model: no model is chosen"),
        ({"model": "nobody", "image": IMAGE}, "args.0.model: unknown ControlNet 'nobody'"),
        ({"model": "edge", "image": "no image!"}, "args.0.image: the image is no base64"),
        ({"model": "edge", "image": 7}, "args.0.image"),
        ({"model": "edge", "image": base64_of(animated_file())}, "args.0.image: the image is animated"),
        ({"model": "edge", "image": base64_of(image_file()[:-60])}, "args.0.image: the image is broken"),
        ({"model": "edge", "image": IMAGE, "module": "openpose"}, "unknown preprocessor 'openpose'"),
        ({"model": "edge", "image": IMAGE, "mask": IMAGE}, "mask is not supported"),
        ({"model": "edge", "image": [IMAGE, IMAGE]}, "the mask of a unit is not supported"),
        ({"model": "edge", "image": IMAGE, "control_mode": 1}, "'My prompt is more important'"),
        ({"model": "edge", "image": IMAGE, "control_mode": "Both"}, "control_mode"),
        ({"model": "edge", "image": IMAGE, "resize_mode": "Zoom"}, "resize_mode"),
        ({"model": "edge", "image": IMAGE, "weight": "much"}, "args.0.weight"),
        ({"model": "edge", "image": IMAGE, "weight": 20}, "weight"),
        ({"model": "edge", "image": IMAGE, "guidance_start": 0.9, "guidance_end": 0.1}, "guidance_start"),
        ({"model": "edge", "image": IMAGE, "advanced_weighting": [1.0]}, "advanced_weighting"),
        ("a unit", "args.0"),
    ],
)
def test_what_is_wrong_with_a_unit_is_refused_by_name(
    unit: Any, words: str, port: int, services: Services
) -> None:
    status, told = send(port, unit)
    detail = told["detail"]
    if isinstance(detail, list):
        detail = ".".join(map(str, detail[0]["loc"])) + ": " + detail[0]["msg"]
    assert (status, services.jobs.page()[0]) == (422, [])
    assert words in detail


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"model": "nobody", "image": IMAGE}, "args.2.model: unknown ControlNet"),
        ({"model": "edge", "image": IMAGE, "weight": 20}, "body.alwayson_scripts.ControlNet.args.2.weight"),
        ({"model": "edge", "image": IMAGE, "module": "openpose"}, "args.2.module"),
    ],
)
def test_disabled_units_count_where_an_error_says_a_place(
    unit: dict[str, Any], words: str, port: int, services: Services
) -> None:
    status, told = send(port, {"enabled": False}, {"model": "edge", "image": IMAGE}, unit)
    detail = told["detail"]
    if isinstance(detail, list):
        detail = ".".join(map(str, detail[0]["loc"])) + ": " + detail[0]["msg"]
    assert (status, services.jobs.page()[0]) == (422, [])
    assert words in detail


def test_too_many_units_are_refused_before_any_image_is_read(port: int) -> None:
    status, told = send(port, *[{"model": "edge", "image": "no image!"}] * 9)
    assert (status, told["detail"]) == (422, "alwayson_scripts.ControlNet.args: 9 units, the limit is 8")


def test_units_of_one_job_share_a_control_mode(port: int, services: Services) -> None:
    unit = {"model": "edge", "image": IMAGE}
    status, told = send(port, unit, unit | {"control_mode": 2})
    assert (status, services.jobs.page()[0]) == (422, [])
    assert "all units must have the same control_mode" in told["detail"]
