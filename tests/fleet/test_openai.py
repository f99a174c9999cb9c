"""OpenAI's official client against a whole fleet."""

import base64
import io
from collections.abc import Iterator

import pytest
from openai import OpenAI
from PIL import Image

from tests.fleet.conftest import Client


@pytest.fixture
def openai(fleet: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.stack.api_url}/v1", api_key="any", timeout=120) as client:
        yield client


def file_of(text: str | None) -> bytes:
    assert text is not None
    return base64.b64decode(text)


def test_a_generated_image_is_that_of_the_same_job(fleet: Client, openai: OpenAI) -> None:
    answer = openai.images.generate(
        prompt="a red apple", model="emoji-sd", extra_body={"seed": 7, "num_inference_steps": 4}
    )
    assert answer.data is not None
    assert answer.model_extra is not None
    job = fleet.wait(answer.model_extra["id"])
    assert file_of(answer.data[0].b64_json) == fleet.get(job["images"][0]["url"]).content
    assert (job["request"]["seed"], job["request"]["num_inference_steps"]) == (7, 4)


def test_a_stream_has_previews_of_the_denoising_loop(openai: OpenAI) -> None:
    steps = {"seed": 7, "num_inference_steps": 60}
    stream = openai.images.generate(
        prompt="a red apple", model="emoji-sd", stream=True, partial_images=2, extra_body=steps
    )
    *partial, last = stream
    assert {event.type for event in partial} == {"image_generation.partial_image"}
    assert last.type == "image_generation.completed"
    for event in (*partial, last):
        with Image.open(io.BytesIO(file_of(event.b64_json))) as image:
            assert image.size == (64, 64)


def test_an_edit_with_a_mask_comes_back_in_the_format_asked_for(openai: OpenAI) -> None:
    image, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(image, "PNG")
    transparent = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    transparent.paste((0, 0, 0, 0), (0, 0, 32, 64))
    transparent.save(mask, "PNG")
    answer = openai.images.edit(
        image=image.getvalue(),
        mask=mask.getvalue(),
        prompt="a star",
        model="emoji-sd",
        output_format="webp",
        extra_body={"seed": 7, "num_inference_steps": 4},
    )
    assert answer.data is not None
    with Image.open(io.BytesIO(file_of(answer.data[0].b64_json))) as edited:
        assert (edited.format, edited.size) == ("WEBP", (64, 64))
