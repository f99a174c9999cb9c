"""The log of what admins have done."""

import hashlib
import logging
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from api.auth.audit import AuditLog
from api.auth.principal import ANYBODY
from api.services import Services
from shared import keys
from tests.api.api_keys import BOOTSTRAP_KEY, bearer, make_key, make_tenant
from tests.api.services import lora


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


def test_an_act_says_what_was_asked_for_and_no_secret(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme", weight=2, limits={"lora_bytes": 5})
    change = {"priorities": ["batch"], "limits": {"lora_bytes": None, "max_running_jobs": 1}}
    keyed_client.open("/v1/tenants/acme", method="PATCH", json=change, headers=bearer())
    key_id = make_key(keyed_client, "acme", name="gallery", scopes=["jobs", "metrics"]).split("_")[1]
    rotated = keyed_client.post(
        f"/v1/tenants/acme/keys/{key_id}/rotate", json={"overlap_s": 60}, headers=bearer()
    ).json
    keyed_client.post("/v1/tenants/nobody/keys", json={"scopes": ["admin"]}, headers=bearer())
    keyed_client.delete(f"/v1/tenants/acme/keys/{key_id}", headers=bearer())
    found = [act["changes"] for act in acts(keyed_client)]
    assert found == [
        {},
        {"name": "", "scopes": ["admin"], "expires_at": None},
        {"replaces": key_id, "scopes": ["jobs", "metrics"], "overlap_s": 60},
        {"name": "gallery", "scopes": ["jobs", "metrics"], "expires_at": None},
        change,
        {"id": "acme", "weight": 2, "limits": {"lora_bytes": 5}},
    ]
    assert rotated["key"] not in str(acts(keyed_client))


def test_changes_of_public_loras_are_listed_and_of_a_tenants_own_are_not(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme")
    for tenant in ("local", "acme"):
        headers = bearer(make_key(keyed_client, tenant, scopes=["loras"]))
        assert keyed_client.put("/v1/loras/style", data=lora(), headers=headers).status_code == 201
        assert keyed_client.delete("/v1/loras/style", headers=headers).status_code == 204
    found = {act["operation"]: act for act in acts(keyed_client) if "lora" in act["operation"]}
    assert len(acts(keyed_client)) == 5
    assert {act["target"] for act in found.values()} == {"/v1/loras/style"}
    assert found["upload_lora"]["changes"] == {
        "sha256": hashlib.sha256(lora()).hexdigest(),
        "size_bytes": len(lora()),
    }
    assert found["delete_lora"]["changes"] == {}


def test_an_act_that_an_earlier_version_has_stored_is_listed(
    keyed_client: FlaskClient, services: Services
) -> None:
    act = {
        "at": 1.0,
        "tenant": "local",
        "key_id": "",
        "client": "",
        "operation": "x",
        "target": "/",
        "status": 200,
    }
    services.control.xadd(keys.AUDIT, act)
    [found] = acts(keyed_client)
    assert (found["operation"], found["changes"]) == ("x", {})


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
