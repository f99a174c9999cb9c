"""The log of what admins have done."""

import logging
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from api.auth.audit import AuditLog
from api.auth.principal import ANYBODY
from tests.api.api_keys import BOOTSTRAP_KEY, bearer, make_key, make_tenant


def acts(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/v1/audit{query}", headers=bearer())
    assert answer.status_code == 200, answer.json
    found: list[dict[str, Any]] = answer.json["acts"]
    return found


def test_every_act_of_an_admin_is_listed_the_last_first(
    keyed_client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.audit")
    make_tenant(keyed_client, "acme")
    key_id = make_key(keyed_client, "acme").split("_")[1]
    keyed_client.delete("/v1/tenants/nobody", headers=bearer())
    found = [(act["operation"], act["target"], act["status"]) for act in acts(keyed_client)]
    assert found == [
        ("delete_tenant", "/v1/tenants/nobody", 404),
        ("create_key", f"/v1/tenants/acme/keys/{key_id}", 201),
        ("create_tenant", "/v1/tenants/acme", 201),
    ]
    act = acts(keyed_client)[-1]
    assert (act["tenant"], act["key_id"]) == ("local", BOOTSTRAP_KEY.split("_")[1])
    assert act["client"] == "127.0.0.1"
    assert [record.operation for record in caplog.records] == ["create_tenant", "create_key", "delete_tenant"]


def test_pages_of_acts_do_not_overlap(keyed_client: FlaskClient) -> None:
    for name in ("a", "b", "c"):
        make_tenant(keyed_client, name)
    first = keyed_client.get("/v1/audit?limit=2", headers=bearer()).json
    assert [act["target"][-1] for act in first["acts"]] == ["c", "b"]
    second = keyed_client.get(f"/v1/audit?limit=2&cursor={first['next_cursor']}", headers=bearer()).json
    assert [act["target"][-1] for act in second["acts"]] == ["a"]
    assert second["next_cursor"] is None
    assert keyed_client.get("/v1/audit?cursor=x", headers=bearer()).status_code == 422


def test_what_others_try_and_what_only_reads_is_not_listed(keyed_client: FlaskClient) -> None:
    key = bearer(make_key(keyed_client))
    keyed_client.get("/v1/tenants", headers=bearer())
    keyed_client.post("/v1/tenants", json={"id": "x"}, headers=key)
    keyed_client.post("/v1/tenants", json={"id": "x"})
    assert [act["operation"] for act in acts(keyed_client)] == ["create_key"]


def test_logins_with_an_admins_key_are_listed(keyed_client: FlaskClient) -> None:
    for key in (make_key(keyed_client), BOOTSTRAP_KEY, "wrong"):
        keyed_client.post("/v1/session", json={"key": key})
    login, _ = acts(keyed_client)
    assert (login["operation"], login["status"]) == ("log_in", 200)
    assert login["key_id"] == BOOTSTRAP_KEY.split("_")[1]


def test_no_secret_is_in_the_log(keyed_client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    key = make_key(keyed_client)
    text = "".join(str(record.__dict__) for record in caplog.records) + str(acts(keyed_client))
    assert "create_key" in text
    assert key not in text
    assert BOOTSTRAP_KEY not in text


def test_an_act_that_redis_does_not_take_is_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.audit")
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1")
    AuditLog(nowhere).record(ANYBODY, operation="create_tenant")
    assert [record.message for record in caplog.records] == ["admin act", "admin act not stored"]
