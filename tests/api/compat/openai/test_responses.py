"""What a call answers, field by field, to a client that is no SDK."""

import json
import threading
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from api.services import Services
from shared.errors import JobCancelled
from shared.jobs.attempt import Attempt
from shared.keys import watched
from tests.api.compat.fake_worker import FakeWorker, generate
from tests.api.services import base64_of, image_file
from tests.api.tenants import add_tenant, client_of

GENERATIONS = "/v1/images/generations"
USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "total_tokens": 0,
}


def test_an_answer_has_every_field_that_clients_read(client: FlaskClient, worker: FakeWorker) -> None:
    before = int(time.time())
    answer = client.post(GENERATIONS, json={"prompt": "a cat", "size": "auto", "n": 2, "seed": 5})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == answer.json["id"] == worker.jobs[0]
    found: dict[str, Any] = dict(answer.json)
    assert before <= found.pop("created") <= time.time()
    data = found.pop("data")
    assert found == {
        "output_format": "png",
        "quality": "high",
        "size": "64x64",
        "background": "opaque",
        "usage": USAGE,
        "id": worker.jobs[0],
        "model": "emoji-sd",
        "warnings": [],
    }
    assert [{name for name, value in one.items() if value is not None} for one in data] == [
        {"b64_json", "revised_prompt", "seed"}
    ] * 2
    assert [(one["revised_prompt"], one["seed"]) for one in data] == [("a cat", 5), ("a cat", 6)]


def test_images_are_not_compressed_once_more(client: FlaskClient, worker: FakeWorker) -> None:
    body = {"prompt": "a cat", "size": "512x512"}
    answer = client.post(GENERATIONS, json=body, headers={"Accept-Encoding": "gzip"})
    assert len(answer.data) > 1024
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store, no-transform"


def test_events_of_a_stream_have_every_field_that_clients_read(
    client: FlaskClient, worker: FakeWorker
) -> None:
    body = {"prompt": "a cat", "stream": True, "partial_images": 1}
    answer = client.post(GENERATIONS, json=body)
    assert answer.content_type.startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if not block.startswith(":") and block]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [kind for kind, _ in blocks] == [f"event: {event['type']}" for event in events]
    common = {"type", "created_at", "size", "quality", "background", "output_format", "b64_json"}
    assert events[0].keys() == common | {"partial_image_index"}
    assert events[1].keys() == common | {"usage", "id", "seed", "warnings"}
    assert events[1]["usage"] == USAGE


def test_an_idempotency_key_stands_for_one_job(client: FlaskClient, worker: FakeWorker) -> None:
    headers = {"Idempotency-Key": "one"}
    answers = [client.post(GENERATIONS, json={"prompt": "a cat"}, headers=headers) for _ in range(2)]
    assert [answer.json["id"] for answer in answers] == worker.jobs * 2
    other = client.post(GENERATIONS, json={"prompt": "a dog"}, headers=headers)
    assert (other.status_code, other.json["error"]["code"]) == (409, "conflict")
    assert other.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("leaving", [{0}, {1}, {0, 1}])
def test_calls_with_an_idempotency_key_leave_their_job_to_each_other_and_to_repeats(
    leaving: set[int], client: FlaskClient, services: Services
) -> None:
    headers, has_left = {"Idempotency-Key": "one"}, threading.Event()

    def wait_after_a_preview(services: Services, attempt: Attempt) -> None:
        attempt.advance(3, 4)
        attempt.preview(base64_of(image_file((8, 8))), 3)
        assert has_left.wait(30)
        generate(services, attempt)

    worker = FakeWorker(services)
    worker.work = wait_after_a_preview
    worker.start()
    try:
        # Given two calls that have both read a partial image
        body = {"prompt": "a cat", "stream": True, "partial_images": 1}
        calls = [client.post(GENERATIONS, json=body, headers=headers) for _ in range(2)]
        # When some of them hang up
        for i in leaving:
            calls[i].close()
        assert services.jobs.get(worker.jobs[0]).status == "running"
        has_left.set()
        # Then the others get the image, and so does a repeat
        for i in {0, 1} - leaving:
            assert "image_generation.completed" in calls[i].text
        again = client.post(GENERATIONS, json={"prompt": "a cat"}, headers=headers)
        assert (again.status_code, again.json.get("id")) == (200, worker.jobs[0])
        assert len(worker.jobs) == 1
    finally:
        has_left.set()
        worker.stop()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, 0),
        ({"partial_images": 2}, 0),
        ({"stream": True}, 0),
        ({"stream": True, "partial_images": 1}, 1),
    ],
)
def test_workers_make_previews_only_for_calls_that_read_them(
    more: dict[str, Any], expected: int, client: FlaskClient, services: Services, worker: FakeWorker
) -> None:
    answer = client.post(GENERATIONS, json={"prompt": "a cat"} | more)
    assert answer.status_code == 200
    assert answer.data
    assert services.control.exists(watched(worker.jobs[0])) == expected


def test_a_key_s_tenant_owns_the_job_and_its_images(
    keyed: Services, keyed_app: OpenAPI, services: Services, worker: FakeWorker
) -> None:
    for tenant in ("acme", "other"):
        add_tenant(services, tenant)
    owner = client_of(keyed_app, keyed, "acme", ("jobs",))
    answer = owner.post(GENERATIONS, json={"prompt": "a cat", "response_format": "url"})
    [image] = answer.json["data"]
    path = image["url"].removeprefix("http://localhost")
    assert owner.get(path).data == image_file()
    assert client_of(keyed_app, keyed, "other", ("jobs",)).get(path).status_code == 404


@pytest.mark.parametrize("does_stream", [False, True])
def test_a_call_whose_key_ends_meanwhile_is_refused_and_its_job_cancelled(
    does_stream: bool, keyed: Services, keyed_app: OpenAPI, services: Services
) -> None:
    add_tenant(services, "acme")
    client = client_of(keyed_app, keyed, "acme", ("jobs",))

    attempts: list[Attempt] = []

    def revoke(services: Services, attempt: Attempt) -> None:
        [key] = services.api_keys.of_tenant("acme")
        services.api_keys.revoke("acme", key.id, time.time())
        attempts.append(attempt)
        attempt.advance(1, 4)  # an event: the API looks at the key before it passes one on

    worker = FakeWorker(services)
    worker.work = revoke
    worker.start()
    try:
        answer = client.post(GENERATIONS, json={"prompt": "a cat", "stream": does_stream})
        error = json.loads(answer.text.rpartition("data: ")[2])["error"]
        assert (error["code"], error["type"]) == ("unauthorized", "authentication_error")
        assert answer.status_code == (200 if does_stream else 401)
    finally:
        worker.stop()
    with pytest.raises(JobCancelled):
        attempts[0].advance(2, 4)
