"""Tenants over REST."""

import pytest
from flask.testing import FlaskClient

from tests.api.api_keys import bearer, make_key, make_tenant

HOME = "/v1/tenants"
NO_LIMITS = dict.fromkeys(
    ("requests_per_s", "max_waiting_jobs", "max_running_jobs", "pixel_steps_per_day", "lora_bytes")
)


def test_a_tenant_is_created_read_changed_and_deleted(keyed_client: FlaskClient) -> None:
    body = {"id": "acme", "name": "Acme", "weight": 2, "priorities": ["normal"], "limits": {"lora_bytes": 5}}
    made = keyed_client.post(HOME, json=body, headers=bearer())
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/tenants/acme")
    assert made.json["limits"] == {**NO_LIMITS, "lora_bytes": 5}
    assert made.json["created_at"].endswith("Z")
    change = {"weight": 0.5, "limits": {"lora_bytes": None, "max_running_jobs": 1}}
    changed = keyed_client.patch(f"{HOME}/acme", json=change, headers=bearer())
    assert changed.json == {**made.json, "weight": 0.5, "limits": {**NO_LIMITS, "max_running_jobs": 1}}
    assert keyed_client.get(f"{HOME}/acme", headers=bearer()).json == changed.json
    assert keyed_client.delete(f"{HOME}/acme", headers=bearer()).status_code == 204
    assert keyed_client.get(f"{HOME}/acme", headers=bearer()).status_code == 404
    again = keyed_client.post(HOME, json=body, headers=bearer())
    assert (again.status_code, again.json["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"id": "Acme"}, "id"),
        ({"id": "-acme"}, "id"),
        ({"id": "a" * 33}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": "acme", "weight": 0}, "weight"),
        ({"id": "acme", "weight": "1"}, "weight"),
        ({"id": "acme", "name": "\u0000"}, "name"),
        ({"id": "acme", "priorities": []}, "priorities"),
        ({"id": "acme", "priorities": ["batch", "batch"]}, "priorities"),
        ({"id": "acme", "priorities": ["urgent"]}, "priorities.0"),
        ({"id": "acme", "limits": {"requests_per_s": 0}}, "limits.requests_per_s"),
        ({"id": "acme", "limits": {"requests_per_s": "5"}}, "limits.requests_per_s"),
        ({"id": "acme", "limits": {"lora_bytes": -1}}, "limits.lora_bytes"),
        ({"id": "acme", "limits": {"max_jobs": 1}}, "limits.max_jobs"),
        ({"id": "acme", "owner": "me"}, "owner"),
    ],
)
def test_what_is_wrong_with_a_tenant_is_named(keyed_client: FlaskClient, body: object, field: str) -> None:
    answer = keyed_client.post(HOME, json=body, headers=bearer())
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_local_is_listed_first_and_stays_as_it_is(keyed_client: FlaskClient) -> None:
    for name in ("b", "a", "c"):
        make_tenant(keyed_client, name)
    first = keyed_client.get(f"{HOME}?limit=2", headers=bearer()).json
    assert [tenant["id"] for tenant in first["tenants"]] == ["local", "a", "b"]
    second = keyed_client.get(f"{HOME}?limit=2&cursor={first['next_cursor']}", headers=bearer()).json
    assert ([tenant["id"] for tenant in second["tenants"]], second["next_cursor"]) == (["c"], None)
    assert keyed_client.get(f"{HOME}/local", headers=bearer()).json["limits"] == NO_LIMITS
    assert keyed_client.patch(f"{HOME}/local", json={"weight": 2}, headers=bearer()).status_code == 409
    assert keyed_client.delete(f"{HOME}/local", headers=bearer()).status_code == 409


@pytest.mark.parametrize("tenant", ["nobody", "acme:keys", "acme%3Akeys", "ACME"])
def test_a_tenant_that_does_not_exist_is_not_found(keyed_client: FlaskClient, tenant: str) -> None:
    make_tenant(keyed_client, "acme")
    make_key(keyed_client, "acme")
    for method, path, body in (
        ("GET", f"{HOME}/{tenant}", None),
        ("PATCH", f"{HOME}/{tenant}", {}),
        ("DELETE", f"{HOME}/{tenant}", None),
        ("GET", f"{HOME}/{tenant}/keys", None),
        ("POST", f"{HOME}/{tenant}/keys", {}),
    ):
        answer = keyed_client.open(path, method=method, json=body, headers=bearer())
        assert (answer.status_code, answer.json["code"]) == (404, "not_found"), (method, path)


def test_keys_of_a_deleted_tenant_end(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme")
    key = bearer(make_key(keyed_client, "acme"))
    assert keyed_client.get("/v1/jobs", headers=key).status_code == 200
    keyed_client.delete(f"{HOME}/acme", headers=bearer())
    assert keyed_client.get("/v1/jobs", headers=key).status_code == 401


def test_tenants_and_keys_can_be_made_before_the_api_asks_for_keys(
    client: FlaskClient, keyed_client: FlaskClient
) -> None:
    assert client.post(HOME, json={"id": "acme"}).status_code == 201
    key = client.post(f"{HOME}/acme/keys", json={}).json["key"]
    assert keyed_client.get("/v1/jobs", headers=bearer(key)).status_code == 200
