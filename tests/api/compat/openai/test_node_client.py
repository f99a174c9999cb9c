"""OpenAI's images API through the official client for Node, unmodified."""

import json
import time
from typing import Any

import pytest

from api.services import Services
from tests.api.compat.fake_worker import FakeWorker, fail
from tests.api.compat.openai.test_routes import image_of, mask, run_until_cancelled
from tests.api.services import base64_of, image_file
from tests.node_scripts import NodeScripts


class Client:
    """Makes one call with the client for Node; `services` has emptied the servers."""

    def __init__(self, node: NodeScripts, port: int) -> None:
        self._node, self._url = node, f"http://127.0.0.1:{port}/v1"

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._node.run("openai.js", name, json.dumps(parameters), BASE_URL=self._url)
        return answer


@pytest.fixture
def client(node: NodeScripts, port: int, services: Services) -> Client:
    return Client(node, port)


def test_images_come_back_in_one_request(client: Client, worker: FakeWorker, services: Services) -> None:
    answer = client.call("generate", prompt="a cat", model="gpt-image-1", size="128x64", n=2, seed=5)
    assert [image_of(image["b64_json"]).size for image in answer["data"]] == [(128, 64)] * 2
    assert answer["requests"] == 1
    assert answer["warnings"] == ["model gpt-image-1 is served by emoji-sd"]
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.prompt, spec.seed, spec.num_images) == ("a cat", 5, 2)


def test_an_edit_goes_as_a_form_with_image_and_mask(
    client: Client, worker: FakeWorker, services: Services
) -> None:
    answer = client.call(
        "edit",
        image=base64_of(image_file()),
        mask=base64_of(mask()),
        prompt="a hat",
        output_format="webp",
        strength=0.6,
    )
    assert image_of(answer["data"][0]["b64_json"]).format == "WEBP"
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.width, spec.strength) == (64, 0.6)
    assert spec.mask_image is not None


def test_streams_have_partial_images_and_the_whole_one(client: Client, worker: FakeWorker) -> None:
    generated = client.call("stream", prompt="a cat", size="128x64", stream=True, partial_images=2)["events"]
    assert [event["type"] for event in generated] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [image_of(event["b64_json"]).size for event in generated] == [(128, 64)] * 3
    edited = client.call("streamEdit", image=base64_of(image_file()), prompt="a hat", partial_images=1)
    assert [event["type"] for event in edited["events"]] == [
        "image_edit.partial_image",
        "image_edit.completed",
    ]


def test_what_is_wrong_is_refused_with_its_field_in_one_request(client: Client) -> None:
    answer = client.call("generate", prompt="a cat", size="65x64")
    error = answer["error"]
    assert (error["name"], error["status"], error["param"]) == ("BadRequestError", 400, "size")
    assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
    assert "multiple of 8" in error["message"]
    assert answer["requests"] == 1
    error = client.call("edit", image=base64_of(b"no image"), prompt="a hat")["error"]
    assert (error["status"], error["param"], error["code"]) == (400, "image", "invalid_image")


def test_a_failed_job_is_asked_for_once(client: Client, worker: FakeWorker) -> None:
    worker.work = fail
    answer = client.call("generate", prompt="a cat")
    error = answer["error"]
    assert (error["name"], error["status"]) == ("InternalServerError", 500)
    assert error["code"] == "non_finite_image"
    assert [error["requestID"]] == worker.jobs
    assert answer["requests"] == 1
    error = client.call("stream", prompt="a cat", stream=True)["error"]
    assert "the VAE overflows" in error["message"]
    assert len(worker.jobs) == 2


def test_models_are_listed_and_read(client: Client) -> None:
    answer = client.call("models", model="emoji-sd")
    assert answer["ids"] == ["emoji-sd"]
    assert answer["model"]["object"] == "model"
    unknown = client.call("models", model="dall-e-9")
    assert (unknown["error"]["status"], unknown["error"]["code"]) == (404, "not_found")
    assert unknown["requests"] == 2  # the list, and one try


@pytest.mark.parametrize("call", ["abort", "leaveStream"])
def test_a_call_that_is_aborted_has_its_job_cancelled(call: str, client: Client, services: Services) -> None:
    worker = FakeWorker(services)
    worker.work = lambda _, attempt: run_until_cancelled(attempt)
    worker.start()
    try:
        more = {"stream": True, "partial_images": 1} if call == "leaveStream" else {}
        answer = client.call(call, prompt="a cat", **more)
        assert answer.get("error", {}).get("name", "") in ("", "APIUserAbortError")
        deadline = time.monotonic() + 30
        while services.jobs.get(worker.jobs[0]).status != "cancelled":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(worker.jobs) == 1
    finally:
        worker.stop()
