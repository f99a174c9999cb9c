"""``/controlnet/*`` of A1111's API."""

import base64
import io
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.catalog.preprocessors import PREPROCESSORS, fill_in
from shared.control_images.control_map import control_map_of
from shared.jobs.options import MAX_CONTROLNETS
from tests.api.services import animated_file, base64_of, image_file

DETECT = "/controlnet/detect"


def test_models_are_named_with_a_hash_that_is_always_the_same(client: FlaskClient) -> None:
    models = client.get("/controlnet/model_list").json["model_list"]
    assert [re.sub(r" \[[0-9a-f]{8}\]$", "", name) for name in models] == ["edge", "colour"]
    assert client.get("/controlnet/model_list?update=false").json["model_list"] == models


def test_modules_have_a1111s_names_or_labels_and_sliders(client: FlaskClient) -> None:
    names = client.get("/controlnet/module_list").json
    assert names["module_list"] == list(PREPROCESSORS)
    assert names["module_detail"].keys() == PREPROCESSORS.keys()
    labels = client.get("/controlnet/module_list?alias_names=true").json
    assert labels["module_list"][0] == "none"
    assert "invert (from white bg & black line)" in labels["module_list"]
    assert set(labels["module_list"]) == labels["module_detail"].keys()
    assert names["module_detail"]["canny"] == labels["module_detail"]["canny"]
    resolution, low, high = names["module_detail"]["canny"]["sliders"]
    assert resolution == {"name": "Resolution", "value": 512, "min": 64, "max": 2048, "step": 8}
    assert low == {"name": "Low Threshold", "value": 100, "min": 0, "max": 255, "step": 1}
    assert (high["name"], high["value"]) == ("High Threshold", 200)
    [sigma] = names["module_detail"]["blur_gaussian"]["sliders"][1:]
    assert sigma == {"name": "Sigma", "value": 9.0, "min": 0.01, "max": 64.0, "step": 0.01}
    assert names["module_detail"]["none"] == {"model_free": False, "sliders": []}


def test_control_types_group_modules_and_models(client: FlaskClient) -> None:
    types = client.get("/controlnet/control_types").json["control_types"]
    models = client.get("/controlnet/model_list").json["model_list"]
    labels = client.get("/controlnet/module_list?alias_names=true").json["module_list"]
    assert types["All"] == {
        "module_list": labels,
        "model_list": ["None", *models],
        "default_option": "none",
        "default_model": "None",
    }
    assert types["Canny"]["module_list"] == ["none", "canny", "invert (from white bg & black line)"]
    assert types["Canny"]["default_option"] == "canny"
    for kind in types.values():
        assert set(kind["module_list"]) <= set(labels)
        assert kind["default_option"] in kind["module_list"]
        assert kind["default_model"] in kind["model_list"]


def test_version_and_settings_are_told(client: FlaskClient) -> None:
    assert client.get("/controlnet/version").json == {"version": 3}
    assert client.get("/controlnet/settings").json == {"control_net_unit_count": MAX_CONTROLNETS}


def detect(client: FlaskClient, **fields: Any) -> Any:
    return client.post(DETECT, json={"controlnet_input_images": [base64_of(image_file())], **fields})


def expected(image: bytes, module: str, size: tuple[int, int], **options: float) -> str:
    return base64.b64encode(control_map_of(image, module, fill_in(module, options), size=size)).decode()


@pytest.mark.parametrize("field", ["controlnet_images", "controlnet_input_images"])
def test_images_come_by_either_name_and_go_without_a_prefix(client: FlaskClient, field: str) -> None:
    images = [image_file((64, 64)), image_file((96, 64))]
    urls = [f"data:image/png;base64,{base64_of(image)}" for image in images]
    answer = client.post(DETECT, json={field: urls, "controlnet_module": "canny"})
    assert answer.status_code == 200, answer.text
    assert answer.json["info"] == "Success"
    assert answer.json["images"] == [
        expected(images[0], "canny", (512, 512)),
        expected(images[1], "canny", (768, 512)),
    ]


def test_thresholds_are_options_of_the_module(client: FlaskClient) -> None:
    for module, options in (
        ("canny", {"low_threshold": 10, "high_threshold": 20}),
        ("threshold", {"threshold": 10}),
        ("blur_gaussian", {"sigma": 10}),
        ("scribble_xdog", {"threshold": 10}),
        ("invert (from white bg & black line)", {}),
        ("None", {}),
    ):
        answer = detect(
            client,
            controlnet_module=module,
            controlnet_threshold_a=10,
            controlnet_threshold_b=20.0,
            controlnet_processor_res=64,
        )
        name = module.partition(" ")[0].lower()
        assert answer.json["images"] == [expected(image_file(), name, (64, 64), **options)], module


def test_a_threshold_or_resolution_out_of_bounds_is_the_default(client: FlaskClient) -> None:
    """webuiapi sends 64, 64 and 512 with every module."""
    fields = {"controlnet_threshold_a": 64, "controlnet_threshold_b": 64}
    answer = detect(client, controlnet_module="tile_resample", **fields)
    assert answer.json["images"] == [expected(image_file(), "tile_resample", (64, 64))]
    answer = detect(client, controlnet_module="threshold", controlnet_processor_res=63)
    assert answer.json["images"] == [expected(image_file(), "threshold", (512, 512))]


def test_the_shorter_side_is_the_resolution_and_modules_without_one_keep_the_size(
    client: FlaskClient,
) -> None:
    image = base64_of(image_file((100, 30)))
    sizes = {}
    for module in ("canny", "invert", "lineart_standard"):
        fields = {"controlnet_module": module, "controlnet_processor_res": 64}
        answer = detect(client, controlnet_input_images=[image], **fields)
        with Image.open(io.BytesIO(base64.b64decode(answer.json["images"][0]))) as found:
            sizes[module] = found.size
    assert sizes == {"canny": (213, 64), "invert": (100, 30), "lineart_standard": (100, 30)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"controlnet_module": "openpose_full"}, "Module not available"),
        ({"controlnet_input_images": []}, "No image selected"),
        ({"controlnet_input_images": None}, "No image selected"),
        ({"controlnet_input_images": ["%%%"]}, "controlnet_input_images.0"),
        ({"controlnet_input_images": [base64_of(animated_file())]}, "animated"),
        ({"controlnet_input_images": [base64_of(image_file()[:60])]}, "controlnet_input_images.0"),
        ({"controlnet_input_images": [base64_of(image_file())] * 9}, "9 images"),
        ({"controlnet_input_images": "x"}, "controlnet_input_images"),
        ({"controlnet_threshold_a": "much"}, "controlnet_threshold_a"),
        ({"controlnet_processor_res": 2048, "controlnet_module": "canny"}, ""),
    ],
)
def test_a_bad_request_is_refused_in_a1111s_shape(
    client: FlaskClient, fields: dict[str, Any], said: str
) -> None:
    wide = base64_of(image_file((128, 64)))
    answer = detect(client, **{"controlnet_input_images": [wide], **fields})
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert "detail" in answer.json


def test_a_module_is_none_by_default(client: FlaskClient) -> None:
    assert detect(client).json["images"] == [expected(image_file(), "none", (64, 64))]
