from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.jobs.store import JobStore
from shared.storage.image_bucket import ImageBucket
from tests.api.services import edge

JSON = "application/json"


def test_a_problem_says_everything_rfc_9457_asks_for(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "width": 63})
    problem = answer.json
    assert answer.content_type == "application/problem+json"
    assert problem["type"] == "urn:swiftdiffusion:problem:invalid_request"
    assert problem["status"] == answer.status_code == 422
    assert problem["title"]
    assert problem["code"] == "invalid_request"
    assert problem["field"] == "width"
    assert "multiple of 8" in problem["detail"]
    assert problem["errors"] == [{"field": "width", "detail": problem["detail"].removeprefix("width: ")}]


@pytest.mark.parametrize("body", [b"", b"{", b'{"prompt": "a cat",}', b"\xff\xfe\x00", b"[" * 100_000])
def test_malformed_json_is_a_bad_request(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/v1/jobs", data=body, content_type=JSON)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert "JSON" in answer.json["detail"]


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"loras": ["anime"]}, "loras.0: must be a JSON object"),
        ({"loras": {"anime": 1}}, "loras: must be a list"),
        ({"loras": [{"name": "a", "scale": [1]}]}, "loras.0.scale: must be a number or a JSON object"),
        (
            {"loras": [{"name": "a", "scale": {"unet": {"up": {"x": 1}}}}]},
            "loras.0.scale.unet.up.x: String should match pattern '^block_[0-9]{1,3}$'",
        ),
        ({"original_size": 64}, "original_size: must be a list"),
        ({"receipt": "x.png"}, "receipt: must be a JSON object"),
    ],
)
def test_a_value_of_another_type_is_explained_in_terms_of_json(
    asked: dict[str, Any], detail: str, client: FlaskClient
) -> None:
    body = asked if "receipt" in asked else {"prompt": "a cat", **asked}
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json["detail"]) == (422, detail)


@pytest.mark.parametrize("body", ["[]", "null", "3", '"{\\"prompt\\": \\"a cat\\"}"'])
def test_json_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    answer = client.post("/v1/jobs", data=body, content_type=JSON)
    assert (answer.status_code, answer.json["detail"]) == (422, "the body must be a JSON object")


def test_half_of_a_surrogate_pair_is_no_prompt(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", data=b'{"prompt": "\\ud83d"}', content_type=JSON)
    assert (answer.status_code, answer.json["field"]) == (422, "prompt")


def test_numbers_that_are_none_are_refused(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", data='{"prompt": "a", "guidance_scale": NaN}', content_type=JSON)
    assert (answer.status_code, answer.json["field"]) == (422, "guidance_scale")


def test_another_content_type_is_refused(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", data={"prompt": "a cat"})
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert JSON in answer.json["detail"]


def test_a_body_over_the_limit_is_too_large(services: Services) -> None:
    limited = services.settings.model_copy(update={"max_body_bytes": 1000})
    client = create_app(replace(services, settings=limited)).test_client()
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "negative_prompt": "x" * 1000})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_an_unknown_route_is_not_found(client: FlaskClient) -> None:
    answer = client.get("/v2/jobs")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.content_type == "application/problem+json"


def test_another_method_is_refused_with_the_allowed_ones(client: FlaskClient) -> None:
    answer = client.put("/v1/jobs", json={})
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_without_s3_a_control_image_is_refused_and_may_be_tried_again(services: Services) -> None:
    images = ImageBucket(services.settings, services.control)
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    images.client = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:1", region_name="us-east-1", config=config
    )
    client = create_app(replace(services, images=images)).test_client()
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge()]})
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/v1/jobs").json["jobs"] == []


def test_the_response_to_a_bug_reveals_no_internals(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(JobStore):
        def get(self, job_id: str, *, tenant: str | None = None) -> None:  # type: ignore[override]
            raise RuntimeError("the inside")

    broken = replace(services, jobs=Broken(services.control, services.settings))
    answer = create_app(broken).test_client().get("/v1/jobs/x")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "inside" not in answer.text
    assert "the inside" in caplog.text
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert (record.message, record.__dict__["path"]) == ("unexpected error", "/v1/jobs/x")
