import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest
import redis
from flask.testing import FlaskClient

from api.app import create_app
from api.loras.header_cache import LoraHeaderCache
from api.services import Services
from shared.jobs.store import JobStore
from shared.redis_clients import without_retries
from tests.api.services import OCTETS, lora


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_names_the_whole_contract(document: dict[str, Any]) -> None:
    assert {f"{method} {path}" for method, path, _ in operations(document)} == {
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{id}",
        "DELETE /v1/jobs/{id}",
        "POST /v1/jobs/{id}/cancel",
        "GET /v1/jobs/{id}/preview",
        "GET /v1/jobs/{id}/images.zip",
        "GET /v1/jobs/{id}/images",
        "GET /v1/jobs/{id}/images/{n}",
        "GET /v1/jobs/{id}/images/{n}/thumbnail",
        "GET /v1/jobs/{id}/controlnets/{n}/image",
        "GET /v1/jobs/{id}/controlnets/{n}/map",
        "GET /v1/jobs/{id}/events",
        "GET /v1/webhooks",
        "POST /v1/webhooks",
        "GET /v1/webhooks/{webhook_id}",
        "PATCH /v1/webhooks/{webhook_id}",
        "DELETE /v1/webhooks/{webhook_id}",
        "GET /v1/webhooks/default/secret",
        "POST /v1/webhooks/{webhook_id}/rotate",
        "GET /v1/webhooks/{webhook_id}/deliveries",
        "POST /v1/webhooks/{webhook_id}/replay",
        "GET /v1/events",
        "GET /v1/usage",
        "GET /v1/models",
        "GET /v1/models/{name}",
        "GET /v1/controlnets",
        "POST /v1/controlnets/preprocess",
        "GET /v1/fleet",
        "GET /v1/loras",
        "GET /v1/loras/{name}",
        "PUT /v1/loras/{name}",
        "DELETE /v1/loras/{name}",
        "POST /v1/loras/{name}/upload",
        "POST /v1/loras/{name}/complete",
        "GET /v1/tenants",
        "POST /v1/tenants",
        "GET /v1/tenants/{id}",
        "PATCH /v1/tenants/{id}",
        "DELETE /v1/tenants/{id}",
        "GET /v1/tenants/{id}/keys",
        "POST /v1/tenants/{id}/keys",
        "GET /v1/tenants/{id}/keys/{key_id}",
        "DELETE /v1/tenants/{id}/keys/{key_id}",
        "POST /v1/tenants/{id}/keys/{key_id}/rotate",
        "GET /v1/session",
        "POST /v1/session",
        "DELETE /v1/session",
        "GET /v1/audit",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_operation_is_described_for_client_generators(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in ids)
    for _, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["tags"] != ["default"], path
        assert any(status.startswith("2") for status in operation["responses"]), path
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5", "d")):
                assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_without_redis_every_operation_answers_as_its_description_says(
    document: dict[str, Any], services: Services
) -> None:
    control = without_retries(redis.Redis.from_url("redis://127.0.0.1:1"))
    jobs, inspections = JobStore(control, services.settings), LoraHeaderCache(control, services.loras)
    client = create_app(replace(services, control=control, jobs=jobs, lora_headers=inspections)).test_client()
    services.loras.put("anime.safetensors", lora(), content_type=OCTETS)
    statuses = {}
    for method, path, operation in sorted(operations(document), key=lambda one: one[0], reverse=True):
        place = path.format(id="0" * 16, n=0, name="anime", key_id="0" * 12, webhook_id="wh_1")
        body = {"json": {"prompt": "a cat"}} if path == "/v1/jobs" and method == "POST" else {}
        statuses[f"{method} {path}"] = status = client.open(place, method=method, **body).status_code
        assert str(status) in operation["responses"], (method, path)
    assert statuses["POST /v1/jobs"] == statuses["GET /v1/jobs"] == statuses["GET /v1/loras/{name}"] == 503


def test_every_reference_of_the_document_resolves(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference


def test_the_document_says_which_fields_a_job_takes(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["JobRequest"]
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False
    headers = document["paths"]["/v1/jobs"]["post"]["parameters"]
    assert [(header["name"], header["in"]) for header in headers] == [
        ("Idempotency-Key", "header"),
        ("dry_run", "query"),
    ]


def bodies(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """The examples of a request body and of what it refers to, as `/docs` offers them."""
    yield from ([schema["example"]] if "example" in schema else schema.get("examples", []))
    for inner in [*schema.get("anyOf", []), *([schema] if "$ref" in schema else [])]:
        if "$ref" in inner:
            name = inner["$ref"].removeprefix("#/components/schemas/")
            yield from bodies(document, document["components"]["schemas"][name])


def test_every_example_is_accepted_by_a_fresh_fleet(client: FlaskClient, document: dict[str, Any]) -> None:
    examples = [
        (method, path, body)
        for method, path, operation in operations(document)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for body in [*bodies(document, content["schema"]), *content.get("examples", {}).values()]
    ]
    assert "/v1/jobs" in [path for _, path, _ in examples]
    for method, path, body in examples:
        answer = client.open(path, method=method, json=body)
        assert answer.status_code == 202, answer.json
    fields = document["components"]["schemas"]["JobRequest"]["properties"]
    for name, field in fields.items():
        for value in field.get("examples", []):
            request = {"prompt": "a cat", name: value}
            assert client.post("/v1/jobs", json=request).status_code == 202, name


def test_binary_answers_have_a_type_that_client_generators_know(document: dict[str, Any]) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}
    for _, path, operation in operations(document):
        content = operation["responses"].get("200", {}).get("content", {})
        if any(type.startswith("image/") or type == "application/zip" for type in content):
            assert "application/octet-stream" in content, path
            assert all(one == binary for one in content.values()), path


def test_the_documentation_is_browsable_without_the_internet(client: FlaskClient) -> None:
    page = client.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(source.endswith(".js") for source in sources)
    for source in sources:
        assert not source.startswith(("http", "//")), source
        if source.endswith((".js", ".css")):
            with client.get(urljoin(page.request.path, source)) as file:
                assert file.status_code == 200
    assert client.get("/docs/openapi.json").json == client.get("/openapi.json").json


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/loras", "/v1/loras/anime", "/healthz"])
def test_the_methods_of_a_path_are_listed_without_a_body(client: FlaskClient, path: str) -> None:
    answer = client.open(path, method="OPTIONS")
    assert answer.status_code == 200
    assert "GET" in answer.headers["Allow"]
