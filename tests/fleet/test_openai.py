"""OpenAI's official clients, for Python and for Node, against a whole fleet."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI
from PIL import Image

from tests.fleet.conftest import Client
from tests.node_scripts import NodeScripts

#: Makes a call of ``tests/node/openai.js`` with parameters.
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def openai(fleet: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.stack.api_url}/v1", api_key="any", timeout=120) as client:
        yield client


@pytest.fixture
def node_client(fleet: Client, node: NodeScripts) -> Call:
    def call(name: str, **parameters: Any) -> dict[str, Any]:
        url = f"{fleet.stack.api_url}/v1"
        answer: dict[str, Any] = node.run("openai.js", name, json.dumps(parameters), BASE_URL=url)
        return answer

    return call


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


def image_and_mask() -> tuple[bytes, bytes]:
    """An image of one colour, and a mask whose left half is transparent."""
    image, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(image, "PNG")
    transparent = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    transparent.paste((0, 0, 0, 0), (0, 0, 32, 64))
    transparent.save(mask, "PNG")
    return image.getvalue(), mask.getvalue()


def test_an_edit_with_a_mask_comes_back_in_the_format_asked_for(openai: OpenAI) -> None:
    image, mask = image_and_mask()
    answer = openai.images.edit(
        image=image,
        mask=mask,
        prompt="a star",
        model="emoji-sd",
        output_format="webp",
        extra_body={"seed": 7, "num_inference_steps": 4},
    )
    assert answer.data is not None
    with Image.open(io.BytesIO(file_of(answer.data[0].b64_json))) as edited:
        assert (edited.format, edited.size) == ("WEBP", (64, 64))


def test_the_client_for_node_generates_the_image_of_the_same_job(fleet: Client, node_client: Call) -> None:
    answer = node_client("generate", prompt="a red apple", model="dall-e-3", seed=7, num_inference_steps=4)
    job = fleet.wait(answer["id"])
    assert file_of(answer["data"][0]["b64_json"]) == fleet.get(job["images"][0]["url"]).content
    assert answer["requests"] == 1
    assert "model dall-e-3 is served by emoji-sd" in answer["warnings"]
    assert "emoji-sd" in node_client("models", model="emoji-sd")["ids"]


def test_the_client_for_node_edits_only_what_the_mask_leaves_open(node_client: Call) -> None:
    image, mask = (base64.b64encode(file).decode() for file in image_and_mask())
    answer = node_client(
        "edit", image=image, mask=mask, prompt="a star", model="emoji-sd", seed=7, num_inference_steps=4
    )
    with Image.open(io.BytesIO(file_of(answer["data"][0]["b64_json"]))) as edited:
        assert (edited.format, edited.size) == ("PNG", (64, 64))


def test_the_client_for_node_streams_previews_of_the_denoising_loop(node_client: Call) -> None:
    steps = {"model": "emoji-sd", "seed": 7, "num_inference_steps": 60}
    *partial, last = node_client("stream", prompt="a red apple", stream=True, partial_images=2, **steps)[
        "events"
    ]
    assert {event["type"] for event in partial} == {"image_generation.partial_image"}
    assert last["type"] == "image_generation.completed"
    for event in (*partial, last):
        with Image.open(io.BytesIO(file_of(event["b64_json"]))) as image:
            assert image.size == (64, 64)


def test_a_refusal_costs_the_client_for_node_one_request(node_client: Call) -> None:
    answer = node_client("generate", prompt="a red apple", model="sdxl-9")
    assert (answer["error"]["status"], answer["error"]["param"]) == (400, "model")
    assert (answer["error"]["code"], answer["requests"]) == ("model_not_found", 1)


def test_a_stream_that_the_client_for_node_leaves_has_its_job_cancelled(
    fleet: Client, node_client: Call
) -> None:
    steps = {"model": "emoji-sd", "num_inference_steps": 200}
    answer = node_client("leaveStream", prompt="a red apple", stream=True, partial_images=3, **steps)
    assert answer["event"]["type"] == "image_generation.partial_image"
    assert fleet.wait(answer["job"])["status"] == "cancelled"
