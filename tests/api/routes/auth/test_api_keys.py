"""API keys over REST."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from shared.tenants.api_key import ApiKey
from tests.api.api_keys import bearer, make_key, make_tenant

HOME = "/v1/tenants/local/keys"


def test_a_key_is_shown_once_and_known_by_its_id_from_then_on(keyed_client: FlaskClient) -> None:
    made = keyed_client.post(HOME, json={"name": "server", "scopes": ["jobs", "fleet"]}, headers=bearer())
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    known = dict(made.json)
    key = known.pop("key")
    assert made.headers["Location"] == f"{HOME}/{known['id']}"
    assert ApiKey.parse(key).id == known["id"]
    assert known["scopes"] == ["jobs", "fleet"]
    assert known["last_used_at"] is None
    listed = keyed_client.get(HOME, headers=bearer())
    assert listed.json["keys"] == [known]
    assert ApiKey.parse(key).secret not in listed.text
    assert keyed_client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    read = keyed_client.get(made.headers["Location"], headers=bearer()).json
    assert datetime.fromisoformat(read["last_used_at"]) > datetime.now(UTC) - timedelta(minutes=2)


def test_a_revoked_key_is_refused_and_stays_in_the_list(keyed_client: FlaskClient) -> None:
    key = make_key(keyed_client)
    path = f"{HOME}/{ApiKey.parse(key).id}"
    assert keyed_client.delete(path, headers=bearer()).status_code == 204
    assert keyed_client.delete(path, headers=bearer()).status_code == 204
    answer = keyed_client.get("/v1/jobs", headers=bearer(key))
    assert (answer.status_code, answer.json["code"]) == (401, "key_revoked")
    assert keyed_client.get(path, headers=bearer()).json["revoked_at"] is not None


def test_a_rotated_key_works_beside_its_successor_for_a_while(keyed_client: FlaskClient) -> None:
    old = make_key(keyed_client, name="server", scopes=["jobs"])
    path = f"{HOME}/{ApiKey.parse(old).id}"
    made = keyed_client.post(f"{path}/rotate", json={"overlap_s": 60}, headers=bearer())
    assert (made.status_code, made.json["name"], made.json["scopes"]) == (201, "server", ["jobs"])
    for key in (old, made.json["key"]):
        assert keyed_client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    left = datetime.fromisoformat(keyed_client.get(path, headers=bearer()).json["expires_at"]) - datetime.now(
        UTC
    )
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)
    # Without an overlap it ends now, with its own error, and has no further successor
    keyed_client.post(f"{path}/rotate", json={"overlap_s": 0}, headers=bearer())
    answer = keyed_client.get("/v1/jobs", headers=bearer(old))
    assert (answer.status_code, answer.json["code"]) == (401, "key_expired")
    assert keyed_client.post(f"{path}/rotate", json={}, headers=bearer()).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["jobs", "jobs"]}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"key": "mine"}, "key"),
    ],
)
def test_what_is_wrong_with_a_key_is_named(keyed_client: FlaskClient, body: object, field: str) -> None:
    answer = keyed_client.post(HOME, json=body, headers=bearer())
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_a_key_is_found_with_its_own_tenant_only(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme")
    path = f"/v1/tenants/acme/keys/{ApiKey.parse(make_key(keyed_client)).id}"
    for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        body = {} if method == "POST" else None
        answer = keyed_client.open(path + end, method=method, json=body, headers=bearer())
        assert (answer.status_code, answer.json["code"]) == (404, "not_found"), method
