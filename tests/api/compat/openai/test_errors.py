"""Refusals of every part of the API, as OpenAI's clients read them: their shape, and whether to try again."""

import gc
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from PIL import Image
from redis import Redis
from werkzeug.test import TestResponse

from api.app import create_app
from api.compat.openai.errors import LONGEST_RETRY_AFTER_S
from api.schemas.submission import Submission
from api.services import Services
from shared.jobs.attempt import Attempt
from shared.jobs.store import JobStore
from shared.messaging.celery_app import make_celery
from shared.redis_clients import without_retries
from shared.storage.image_bucket import ImageBucket
from shared.tenants.scopes import Scope
from tests.api.api_keys import bearer
from tests.api.compat.fake_worker import FakeWorker, generate
from tests.api.services import animated_file, base64_of, image_file
from tests.api.tenants import add_tenant, client_of

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
NOWHERE = "redis://127.0.0.1:1/0"


def error_of(answer: TestResponse, status: int, *, is_retried: bool = False) -> dict[str, Any]:
    """The error of a refusal, once it has the shape that it must have."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    assert answer.json.keys() == {"error"}
    error: dict[str, Any] = answer.json["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.headers.get("x-should-retry") == (None if is_retried else "false")
    assert int(answer.headers.get("Retry-After", 0)) <= LONGEST_RETRY_AFTER_S
    return error


def limited(services: Services, **changes: object) -> FlaskClient:
    return create_app(replace(services, settings=services.settings.model_copy(update=changes))).test_client()


def edit(client: FlaskClient, *, image: bytes | None = None, **fields: Any) -> TestResponse:
    files: dict[str, Any] = {"image": (io.BytesIO(image or image_file()), "image.png")}
    for name in fields.keys() & {"mask"}:
        files[name] = (io.BytesIO(fields.pop(name)), "mask.png")
    return client.post(EDITS, data={"prompt": "a hat", **fields, **files})


def mask(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", size, (0, 0, 0, 0)).save(file, "PNG")
    return file.getvalue()


def control(image: str, *, name: str = "edge") -> str:
    """The field of one ControlNet in a form."""
    return json.dumps([{"name": name, "image": image}])


FORM = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", GENERATIONS, {}, 405, "method_not_allowed"),
        ("POST", "/v1/images/upscales", {}, 404, "not_found"),
        ("POST", "/v1/images/variations", {}, 404, "not_found"),
        ("POST", GENERATIONS, {"data": b"{", "content_type": "application/json"}, 400, "bad_request"),
        ("POST", GENERATIONS, {"data": b"[]", "content_type": "application/json"}, 400, "invalid_request"),
        ("POST", GENERATIONS, {"data": {"prompt": "a cat"}}, 415, "unsupported_media_type"),
        ("POST", EDITS, {"json": {"prompt": "a cat"}}, 415, "unsupported_media_type"),
        ("POST", EDITS, {"data": b"--x", "content_type": "multipart/form-data"}, 400, "bad_request"),
        ("POST", EDITS, {"data": b"no form", "content_type": FORM}, 400, "bad_request"),
        ("POST", EDITS, {"data": b"--x\r\nno header", "content_type": FORM}, 400, "bad_request"),
        ("POST", GENERATIONS, {"json": {"prompt": "a cat", "size": "64"}}, 400, "invalid_request"),
        ("POST", GENERATIONS, {"json": {"prompt": "a cat", "model": "x"}}, 400, "model_not_found"),
        ("POST", GENERATIONS, {"json": {"prompt": "a cat", "n": 99}}, 400, "invalid_request"),
    ],
)
def test_every_wrong_request_is_answered_in_the_same_shape(
    method: str, path: str, sent: dict[str, Any], status: int, code: str, client: FlaskClient
) -> None:
    answer = client.open(path, method=method, **sent)
    assert error_of(answer, status)["code"] == code
    assert status != 405 or "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"image": animated_file("WEBP")}, "image", "animated"),
        ({"image": image_file()[:100]}, "image", "broken"),
        ({"mask": animated_file("WEBP")}, "mask", "animated"),
        ({"mask": mask((32, 64))}, "mask", "32 x 64"),
        ({"prompt": "a (cat:1.2.3)", "prompt_syntax": "a1111"}, "prompt", "'1.2.3' is no weight"),
        ({"prompt": "<lora:nobody:1>", "prompt_syntax": "a1111"}, "prompt", "nobody"),
        ({"controlnets": control(base64_of(animated_file()))}, "controlnets.0.image", "animated"),
        ({"controlnets": control(base64_of(image_file()[:100]))}, "controlnets.0.image", "broken"),
        ({"controlnets": control("", name="nobody")}, "controlnets.0.name", "nobody"),
        ({"guidance_scale": "NaN"}, "guidance_scale", "finite"),
        ({"loras": '[{"name": "a", "scale": Infinity}]'}, "loras.0.scale", "finite"),
        ({"seed": ""}, "seed", "integer"),
        ({"num_inference_steps": "many"}, "num_inference_steps", "integer"),
        ({"controlnets": "[" * 100_000}, "controlnets", "list"),
        ({"x" * 200: "1"}, "x" * 100, "unknown field"),
    ],
)
def test_a_wrong_field_of_an_edit_is_named(
    fields: dict[str, Any], param: str, words: str, client: FlaskClient
) -> None:
    error = error_of(edit(client, **fields), 400)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize("path", [GENERATIONS, EDITS])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(
    path: str, is_chunked: bool, app_with: Callable[..., OpenAPI]
) -> None:
    client = app_with(max_body_bytes=1000).test_client()
    sent: dict[str, Any] = (
        {"data": {"prompt": "a" * 1000}} if path == EDITS else {"json": {"prompt": "a" * 1000}}
    )
    if is_chunked:
        sent["environ_overrides"] = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    if path == EDITS:
        sent["content_type"] = "multipart/form-data"
    error = error_of(client.post(path, **sent), 413)
    assert error["code"] == "too_large"
    assert "SWIFT_MAX_BODY_BYTES" in error["message"]


def test_forms_count_for_what_bodies_may_take_of_the_memory(services: Services) -> None:
    client = limited(services, api_body_bytes=1000)
    for _ in range(3):
        error = error_of(edit(client, negative_prompt="a" * 1000), 503, is_retried=True)
        assert error["code"] == "unavailable"
    # Nothing is kept of what was refused
    assert error_of(client.post(EDITS, data={"prompt": "a"}, content_type="multipart/form-data"), 400)


def test_without_redis_a_call_may_be_repeated(services: Services) -> None:
    settings = services.settings.model_copy(update={"redis_url": NOWHERE})
    away = without_retries(Redis.from_url(NOWHERE, decode_responses=True))
    without = replace(
        services, control=away, streams=away, jobs=JobStore(away, settings), celery=make_celery(settings)
    )
    answer = create_app(without).test_client().post(GENERATIONS, json={"prompt": "a cat"})
    error = error_of(answer, 503, is_retried=True)
    assert (error["code"], error["type"]) == ("unavailable", "server_error")
    assert "x-request-id" not in answer.headers


def bucket_that_is_away(services: Services) -> ImageBucket:
    images = ImageBucket(services.settings, services.control)
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    images.client = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:1", region_name="us-east-1", config=config
    )
    return images


def test_without_s3_an_edit_may_be_repeated(services: Services) -> None:
    client = create_app(replace(services, images=bucket_that_is_away(services))).test_client()
    assert error_of(edit(client), 503, is_retried=True)["code"] == "unavailable"
    assert services.jobs.page()[0] == []


def test_a_call_is_not_repeated_once_its_job_was_accepted(services: Services, worker: FakeWorker) -> None:
    client = create_app(replace(services, images=bucket_that_is_away(services))).test_client()
    answer = client.post(GENERATIONS, json={"prompt": "a cat"})
    assert error_of(answer, 503)["code"] == "unavailable"
    assert [answer.headers["x-request-id"]] == worker.jobs


def test_a_stream_that_cannot_go_on_says_why(services: Services, worker: FakeWorker) -> None:
    client = create_app(replace(services, images=bucket_that_is_away(services))).test_client()
    answer = client.post(GENERATIONS, json={"prompt": "a cat", "stream": True})
    [*_, last] = answer.text.rstrip("\n").split("\n\n")
    kind, data = last.split("\n")
    assert kind == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "unavailable"


def test_a_bug_is_told_as_one_and_not_repeated(services: Services) -> None:
    class Broken(JobStore):
        def check_limits(self, tenant: str) -> None:
            raise RuntimeError("the inside")

    broken = replace(services, jobs=Broken(services.control, services.settings))
    answer = create_app(broken).test_client().post(GENERATIONS, json={"prompt": "a cat"})
    error = error_of(answer, 500)
    assert (error["code"], error["type"]) == ("internal", "server_error")
    assert "inside" not in answer.text


@pytest.fixture
def with_limits(keyed: Services, keyed_app: OpenAPI, services: Services) -> FlaskClient:
    """A client of tenant ``acme``; `services` has emptied the servers."""
    add_tenant(services, "acme", max_waiting_jobs=1, pixel_steps_per_day=500_000)
    return client_of(keyed_app, keyed, "acme", ("jobs",))


def test_a_key_is_missing_or_wrong_in_the_api_s_own_words(
    keyed_client: FlaskClient, keyed: Services, keyed_app: OpenAPI
) -> None:
    answer = keyed_client.post(GENERATIONS, json={"prompt": "a cat"})
    error = error_of(answer, 401)
    assert (error["code"], error["type"]) == ("key_missing", "authentication_error")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    answer = keyed_client.post(GENERATIONS, json={"prompt": "a cat"}, headers=bearer("sk-openai"))
    assert error_of(answer, 401)["code"] == "key_malformed"
    scopes: tuple[Scope, ...] = ("loras",)
    answer = client_of(keyed_app, keyed, "local", scopes).post(EDITS, data={"prompt": "a hat"})
    error = error_of(answer, 403)
    assert (error["code"], error["type"]) == ("scope_missing", "permission_error")


def test_a_foreign_page_and_a_foreign_host_are_refused_in_the_same_shape(client: FlaskClient) -> None:
    answer = client.post(GENERATIONS, json={}, headers={"Origin": "https://example.org"})
    assert error_of(answer, 403)["code"] == "forbidden"
    answer = client.post(GENERATIONS, json={}, headers={"Host": "example.org"})
    assert error_of(answer, 421)["code"] == "misdirected_request"


def test_a_rate_limit_is_worth_waiting_for(keyed: Services, keyed_app: OpenAPI, services: Services) -> None:
    add_tenant(services, "slow", requests_per_s=1)
    client = client_of(keyed_app, keyed, "slow", ("jobs",))
    answers = [client.post(GENERATIONS, json={}) for _ in range(4)]
    [refused, *_] = [answer for answer in answers if answer.status_code == 429]
    error = error_of(refused, 429, is_retried=True)
    assert (error["code"], error["type"]) == ("too_many_requests", "rate_limit_error")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "RateLimit" in refused.headers


def test_too_many_wrong_keys_are_refused_in_the_same_shape(keyed: Services, services: Services) -> None:
    client = limited(keyed, wrong_keys_per_min=1)
    answers = [client.post(GENERATIONS, json={}, headers=bearer("wrong")) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [401, 429]
    assert error_of(answers[1], 429, is_retried=True)["type"] == "rate_limit_error"


def test_a_full_queue_is_worth_waiting_for(with_limits: FlaskClient) -> None:
    assert with_limits.post("/v1/jobs", json={"prompt": "a cat", "num_inference_steps": 2}).status_code == 202
    answer = with_limits.post(GENERATIONS, json={"prompt": "a cat", "num_inference_steps": 2})
    error = error_of(answer, 429, is_retried=True)
    assert (error["code"], error["type"]) == ("limit_exceeded", "rate_limit_error")


def test_a_day_s_budget_is_not_waited_for(with_limits: FlaskClient) -> None:
    answer = with_limits.post(GENERATIONS, json={"prompt": "a cat", "num_inference_steps": 200})
    assert error_of(answer, 429)["code"] == "limit_exceeded"
    assert answer.headers["Retry-After"] == str(LONGEST_RETRY_AFTER_S)


def test_a_place_among_waiting_calls_is_worth_waiting_for(services: Services, keyed: Services) -> None:
    client = limited(services, api_event_streams=0)
    answer = client.post(GENERATIONS, json={"prompt": "a cat"})
    assert error_of(answer, 503, is_retried=True)["code"] == "unavailable"
    # A tenant has a quarter of all at most
    settings = keyed.settings.model_copy(update={"api_event_streams": 4})
    full = replace(keyed, settings=settings)
    add_tenant(services, "acme")
    full.event_slots.take("acme")
    answer = client_of(create_app(full), full, "acme", ("jobs",)).post(GENERATIONS, json={"prompt": "a cat"})
    error = error_of(answer, 429, is_retried=True)
    assert (error["code"], error["type"]) == ("limit_exceeded", "rate_limit_error")


def test_a_model_that_is_unknown_is_told_to_both_kinds_of_clients(
    client: FlaskClient, keyed_client: FlaskClient
) -> None:
    answer = client.get("/v1/models/dall-e-9")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert answer.json["code"] == answer.json["error"]["code"] == "not_found"
    assert answer.json["error"]["type"] == "not_found_error"
    assert answer.headers["x-should-retry"] == "false"
    for path in ("/v1/models", "/v1/models/emoji-sd"):
        answer = keyed_client.get(path)
        assert (answer.status_code, answer.json["error"]["code"]) == (401, "key_missing")


def test_other_routes_keep_their_problems(client: FlaskClient) -> None:
    answer = client.get("/v1/jobs/x")
    assert answer.content_type == "application/problem+json"
    assert "error" not in answer.json
    assert "x-should-retry" not in answer.headers


@pytest.mark.usefixtures("only_new_objects")
def test_a_call_that_waits_keeps_nothing_of_its_body(services: Services) -> None:
    # Given an API that may hold one body of this size
    client = limited(services, api_body_bytes=3000)
    body = {"prompt": "a" * 900, "negative_prompt": "b" * 900}
    submissions: list[int] = []

    def look(services: Services, attempt: Attempt) -> None:
        # When a call waits for its job, another one of that size comes
        worker.work = generate
        deadline = time.monotonic() + 30
        while client.application.test_client().post("/v1/jobs", json=body).status_code != 202:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            gc.collect()
            submissions.append(sum(isinstance(one, Submission) for one in gc.get_objects()))
        generate(services, attempt)

    worker = FakeWorker(services)
    worker.work = look
    gc.collect()
    before = sum(isinstance(one, Submission) for one in gc.get_objects())
    worker.start()
    try:
        assert client.post(GENERATIONS, json=body).status_code == 200
    finally:
        worker.stop()
    # Then it is accepted, and nothing of the first one is left but its job
    assert submissions == [before]
