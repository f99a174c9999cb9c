"""``png-info`` of A1111, through a real client."""

import io
import json
from typing import Any

import pytest
from PIL import Image
from webuiapi import WebUIApi

from api.compat.a1111.png_info import parse_parameters
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import call
from tests.api.services import base64_of, image_file


def test_png_info_reads_the_text_of_an_image(webui: WebUIApi, worker: FakeWorker) -> None:
    result = webui.txt2img(prompt="a cat, red", negative_prompt="rain", seed=7, width=128, height=64)
    told = webui.png_info(result.image)
    assert told.info == result.image.info["parameters"]
    assert told.parameters == {
        "Prompt": "a cat, red", "Negative prompt": "rain", "Steps": "4", "Sampler": "Euler a",
        "Schedule type": "Uniform", "CFG scale": "7", "Seed": "7", "Size-1": "128", "Size-2": "64",
        "Model hash": "0000000000", "Model": "emoji-sd",
    }  # fmt: skip


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
