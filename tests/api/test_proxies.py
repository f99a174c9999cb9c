"""The API behind proxies: which headers of theirs count, and what its links then are."""

import re
from dataclasses import replace
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services

FORWARDED = {
    "X-Forwarded-Prefix": "/images-api",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "example.com",
    "X-Forwarded-For": "203.0.113.9",
}


@pytest.fixture
def behind(services: Services) -> FlaskClient:
    """An API that trusts one proxy."""
    changes = {"trusted_proxies": 1, "allowed_hosts": ("example.com",)}
    return create_app(replace(services, settings=services.settings.model_copy(update=changes))).test_client()


def test_links_hold_the_prefix_of_a_trusted_proxy(behind: FlaskClient) -> None:
    answer = behind.post("/v1/jobs", json={"prompt": "a cat"}, headers=FORWARDED)
    job_id = answer.json["id"]
    home = f"/images-api/v1/jobs/{job_id}"
    assert answer.headers["Location"] == home
    assert answer.json["links"] == {"self": home, "events": f"{home}/events", "images": f"{home}/images"}


def test_documents_and_pages_hold_it_too(behind: FlaskClient) -> None:
    for path in ("/openapi.json", "/docs/openapi.json"):
        assert behind.get(path, headers=FORWARDED).json["servers"] == [{"url": "/images-api"}]
    assert behind.get("/docs", headers=FORWARDED).headers["Location"] == "/images-api/docs/swagger"
    page = behind.get("/docs/swagger", headers=FORWARDED).text
    for source in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert urljoin("/images-api/docs/swagger", source).startswith("/images-api/"), source


def test_the_host_that_the_proxy_was_asked_for_must_be_ours(behind: FlaskClient) -> None:
    headers = {**FORWARDED, "X-Forwarded-Host": "evil.example"}
    assert behind.get("/healthz", headers=headers).status_code == 421
    origin = {**FORWARDED, "Origin": "https://example.com"}
    assert behind.post("/v1/jobs", json={"prompt": "a cat"}, headers=origin).status_code == 202


def test_without_a_trusted_proxy_its_headers_count_for_nothing(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat"}, headers=FORWARDED)
    assert answer.status_code == 202
    assert answer.headers["Location"] == answer.json["links"]["self"] == f"/v1/jobs/{answer.json['id']}"
    assert client.get("/openapi.json", headers=FORWARDED).json["servers"] == [{"url": "/"}]
