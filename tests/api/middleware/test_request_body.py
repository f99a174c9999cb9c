"""How bodies may come: compressed, within bounds, and how many at once."""

import gzip
import json
import zlib
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.middleware.request_body import Budget, BufferedBody
from api.services import Services
from shared.errors import TooLarge, Unavailable

JSON = "application/json"
JOB = b'{"prompt": "a cat", "seed": 7}'
PACKED = gzip.compress(JOB, mtime=0)


def limited(services: Services, **changes: object) -> FlaskClient:
    return create_app(replace(services, settings=services.settings.model_copy(update=changes))).test_client()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip "])
def test_a_job_may_come_in_gzip(client: FlaskClient, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    answer = client.post("/v1/jobs", data=PACKED, content_type=JSON, headers=headers)
    assert (answer.status_code, answer.json["seed"]) == (202, 7)


def test_plain_and_compressed_are_the_same_request(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/jobs", data=JOB, content_type=JSON, headers=headers)
    headers["Content-Encoding"] = "gzip"
    second = client.post("/v1/jobs", data=PACKED, content_type=JSON, headers=headers)
    assert second.json["id"] == first.json["id"]


@pytest.mark.parametrize(
    "body",
    [
        JOB,
        b"",
        PACKED[:-4],
        PACKED[:5],
        PACKED + b"more",
        PACKED + PACKED,
        zlib.compress(JOB),
    ],
)
def test_what_only_says_that_it_is_gzip_is_a_bad_request(client: FlaskClient, body: bytes) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = client.post("/v1/jobs", data=body, content_type=JSON, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert "gzip" in answer.json["detail"]


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd", "rot13"])
def test_other_codings_are_refused_naming_the_header(client: FlaskClient, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    answer = client.post("/v1/jobs", data=JOB, content_type=JSON, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in answer.json["detail"]
    assert answer.headers["Accept-Encoding"] == "gzip"


def test_a_compressed_lora_is_refused_naming_the_header(client: FlaskClient) -> None:
    answer = client.put("/v1/loras/x", data=PACKED, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json["detail"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused_with_limit_and_setting(
    services: Services, is_chunked: bool
) -> None:
    client = limited(services, max_body_bytes=1000)
    job = json.dumps({"prompt": "a" * 990}).encode()
    chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""} if is_chunked else {}
    answer = client.post("/v1/jobs", data=job, content_type=JSON, environ_overrides=chunked)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert "1000 bytes" in answer.json["detail"]
    assert "SWIFT_MAX_BODY_BYTES" in answer.json["detail"]


def test_a_small_body_that_decodes_to_a_large_one_is_refused(services: Services) -> None:
    client = limited(services, max_body_bytes=100_000)
    bomb = gzip.compress(b" " * (200 << 20))
    answer = client.post(
        "/v1/jobs", data=bomb[:99_000], content_type=JSON, headers={"Content-Encoding": "gzip"}
    )
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_body_of_exactly_the_limit_is_accepted(services: Services) -> None:
    job = json.dumps({"prompt": "a cat"}).encode().ljust(1000)
    assert (
        limited(services, max_body_bytes=1000).post("/v1/jobs", data=job, content_type=JSON).status_code
        == 202
    )


def test_all_bodies_together_are_bounded(services: Services) -> None:
    client = limited(services, api_body_bytes=100)
    job = json.dumps({"prompt": "a" * 100}).encode()
    for _ in range(3):
        answer = client.post("/v1/jobs", data=job, content_type=JSON)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    for _ in range(5):  # nothing is kept of what was refused, or is done with
        assert client.post("/v1/jobs", data=JOB, content_type=JSON).status_code == 202


def test_a_body_counts_until_it_is_released() -> None:
    class Endless:
        def read(self, count: int) -> bytes:
            return bytes(count)

    budget = Budget(100)
    first, second = BufferedBody(Endless(), 80, budget), BufferedBody(Endless(), 80, budget)
    first.read(70)
    with pytest.raises(Unavailable):
        second.read(40)
    with pytest.raises(TooLarge):
        first.read(11)
    first.release()
    assert second.read(40) == bytes(40)
