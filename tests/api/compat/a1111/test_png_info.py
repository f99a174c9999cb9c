"""``png-info`` of A1111, through a real client."""

import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from webuiapi import WebUIApi

from api.compat.a1111.png_info import parse_parameters
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import call
from tests.api.services import base64_of, image_file, receipt_of
from tests.shared.jobs.records import spec


def test_png_info_reads_the_text_of_an_image(webui: WebUIApi, worker: FakeWorker) -> None:
    result = webui.txt2img(prompt="a cat, red", negative_prompt="rain", seed=7, width=128, height=64)
    told = webui.png_info(result.image)
    assert told.info == result.image.info["parameters"]
    assert told.parameters == {
        "Prompt": "a cat, red", "Negative prompt": "rain", "Steps": "4", "Sampler": "Euler a",
        "Schedule type": "Uniform", "CFG scale": "7", "Seed": "7", "Size-1": "128", "Size-2": "64",
        "Model hash": "0000000000", "Model": "emoji-sd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "fields", "cfg_scale"),
    [
        ("ddim", {}, "4"),
        ("flow_match_euler", {"true_cfg_scale": 2.0}, "2"),
        ("flow_match_euler", {}, None),  # of Z-Image it would be 5, of Stable Diffusion 3 it would be 4
        ("of_another_version", {}, None),
    ],
)
def test_of_a_model_that_has_left_the_catalog_only_what_is_certain_is_told(
    client: FlaskClient, scheduler: str, fields: dict[str, Any], cfg_scale: str | None
) -> None:
    receipt = receipt_of(spec(model="gone", scheduler=scheduler, guidance_scale=4.0, **fields))
    texts = PngInfo()
    texts.add_text("receipt", receipt.model_dump_json())
    image = base64_of(image_file(pnginfo=texts))
    answer = client.post("/sdapi/v1/png-info", json={"image": image})
    assert answer.status_code == 200
    told = answer.json["parameters"]
    assert (told["Model"], told.get("CFG scale")) == ("gone", cfg_scale)


def test_png_info_of_an_image_without_text_is_empty(webui: WebUIApi) -> None:
    told = webui.png_info(Image.open(io.BytesIO(image_file())))
    assert (told.info, told.parameters) == ("", {"Prompt": "", "Negative prompt": ""})


@pytest.mark.parametrize("image", ["no image!", base64_of(b"text"), base64_of(image_file()[:-60]), 7, None])
def test_png_info_refuses_what_is_no_image(image: Any, port: int) -> None:
    answer, body = call(port, "POST", "/sdapi/v1/png-info", {"image": image})
    assert answer.status == 422
    assert "detail" in json.loads(body)


def test_values_in_quotes_may_have_commas_and_anything_else_is_the_prompt() -> None:
    text = 'a cat\non a mat\nNegative prompt: rain\nsnow\nSteps: 4, Seed: 7, X: "a, b: c"'
    assert parse_parameters(text) == {
        "Prompt": "a cat\non a mat", "Negative prompt": "rain\nsnow", "Steps": "4", "Seed": "7",
        "X": "a, b: c",
    }  # fmt: skip
    assert parse_parameters("a cat: red, blue") == {"Prompt": "a cat: red, blue", "Negative prompt": ""}
