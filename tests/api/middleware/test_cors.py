"""Which pages of other origins browsers let use the API."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from tests.api.api_keys import bearer

APP = "https://app.example.com"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST"}


def client_of(services: Services, *origins: str) -> FlaskClient:
    settings = services.settings.model_copy(update={"cors_origins": origins})
    return create_app(replace(services, settings=settings)).test_client()


def test_without_a_setting_no_answer_allows_anything(client: FlaskClient) -> None:
    for answer in (
        client.get("/healthz", headers={"Origin": APP}),
        client.options("/v1/jobs", headers=PREFLIGHT),
    ):
        assert [name for name, _ in answer.headers if name.startswith("Access-Control")] == []
    assert client.post("/v1/jobs", json={"prompt": "a"}, headers={"Origin": APP}).status_code == 403


def test_a_listed_origin_may_send_keys_and_read_answers_errors_too(
    keyed: Services, services: Services
) -> None:
    client = client_of(keyed, APP)
    preflight = client.options("/v1/jobs", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == APP
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    answer = client.post("/v1/jobs", json={"prompt": "a cat"}, headers={"Origin": APP, **bearer()})
    assert answer.status_code == 202
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    refused = client.get("/v1/jobs", headers={"Origin": APP})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, APP)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example.com", "https://app.example.com.evil.example", "null"],
)
def test_another_origin_may_nothing(keyed: Services, services: Services, origin: str) -> None:
    client = client_of(keyed, APP)
    answer = client.get("/v1/jobs", headers={"Origin": origin, **bearer()})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]
    changed = client.post("/v1/jobs", json={"prompt": "a"}, headers={"Origin": origin, **bearer()})
    assert changed.status_code == 403


def test_no_answer_lets_a_browser_send_cookies(keyed: Services, services: Services) -> None:
    for client in (client_of(keyed, APP), client_of(keyed, "*")):
        for answer in (
            client.options("/v1/jobs", headers=PREFLIGHT),
            client.get("/healthz", headers=PREFLIGHT),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert "Access-Control-Allow-Credentials" not in answer.headers
