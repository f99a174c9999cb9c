"""Refusals of every part of the API, as A1111's clients read them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import Services
from shared.jobs.store import JobStore
from shared.messaging.celery_app import make_celery
from shared.redis_clients import without_retries
from tests.api.api_keys import UNKNOWN_KEY, basic

TXT2IMG = "/sdapi/v1/txt2img"
NOWHERE = "redis://127.0.0.1:1/0"


def error_of(answer: TestResponse, status: int) -> dict[str, Any]:
    """The error of a refusal, once it has the shape that it must have."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    error: dict[str, Any] = json.loads(answer.text)
    assert error.keys() == {"error", "detail", "body", "errors"}
    assert error["detail"]
    return error


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", TXT2IMG, {}, 405, "method_not_allowed"),
        ("POST", "/controlnet/version", {}, 405, "method_not_allowed"),
        ("POST", "/sdapi/v1/extra-single-image", {"json": {}}, 404, "not_found"),
        ("GET", "/controlnet/nothing", {}, 404, "not_found"),
        ("POST", TXT2IMG, {"data": b"{", "content_type": "application/json"}, 400, "bad_request"),
        ("POST", TXT2IMG, {"data": b"[]", "content_type": "application/json"}, 422, "invalid_request"),
        ("POST", TXT2IMG, {"data": {"prompt": "a cat"}}, 415, "unsupported_media_type"),
        ("GET", "/sdapi/v1/progress", {"headers": {"Host": "example.org"}}, 421, "misdirected_request"),
    ],
)
def test_every_wrong_request_is_answered_in_the_same_shape(
    method: str, path: str, sent: dict[str, Any], status: int, code: str, client: FlaskClient
) -> None:
    answer = client.open(path, method=method, **sent)
    assert error_of(answer, status)["error"] == code
    assert status != 405 or "Allow" in answer.headers


def test_without_redis_a_call_is_refused_in_the_same_shape(services: Services) -> None:
    settings = services.settings.model_copy(update={"redis_url": NOWHERE})
    away = without_retries(Redis.from_url(NOWHERE, decode_responses=True))
    without = replace(
        services, control=away, streams=away, jobs=JobStore(away, settings), celery=make_celery(settings)
    )
    answer = create_app(without).test_client().get("/sdapi/v1/progress")
    assert error_of(answer, 503)["error"] == "unavailable"
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_bug_is_told_as_one(services: Services) -> None:
    class Broken(JobStore):
        def check_limits(self, tenant: str) -> None:
            raise RuntimeError("the inside")

    broken = replace(services, jobs=Broken(services.control, services.settings))
    answer = create_app(broken).test_client().post(TXT2IMG, json={"prompt": "a cat"})
    assert error_of(answer, 500)["error"] == "internal"
    assert "inside" not in answer.text


def test_too_many_wrong_keys_are_refused_in_the_same_shape(keyed: Services, services: Services) -> None:
    settings = keyed.settings.model_copy(update={"wrong_keys_per_min": 1})
    client = create_app(replace(keyed, settings=settings)).test_client()
    headers = basic("me", UNKNOWN_KEY)
    answers = [client.post(TXT2IMG, json={}, headers=headers) for _ in range(3)]
    [refused, *_] = [answer for answer in answers if answer.status_code == 429]
    assert error_of(refused, 429)["error"] == "too_many_requests"
    assert "Retry-After" in refused.headers
