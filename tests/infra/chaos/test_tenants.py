"""What a chaos run with tenants counts as a violation."""

import json
import time
from pathlib import Path

import pytest

from infra.chaos.target import Target
from infra.chaos.tenants import check_isolation, check_receivers
from infra.chaos.traffic import Accepted
from infra.chaos.webhooks import WebhookReceiver
from infra.local.stack import Stack
from shared.settings import Settings
from shared.webhooks.endpoint import new_secret
from tests.infra.cli.scripted_api import ScriptedApi, scripted_api
from workers.webhooks.signatures import sign

LIST = "/v1/jobs?limit=200&fields=id"
ACCEPTED = [Accepted("a", 0, "north"), Accepted("b", 0, "south")]


def target(api: ScriptedApi) -> Target:
    stack = Stack(home=Path(), env={"API_URL": api.url})
    return Target(stack, Settings(), False, {"north": "key-north", "south": "key-south"})


def page(*ids: str, cursor: str | None = None) -> bytes:
    return json.dumps({"jobs": [{"id": one} for one in ids], "next_cursor": cursor}).encode()


def test_each_job_is_asked_for_with_the_key_of_another_tenant() -> None:
    answers = {
        "/v1/jobs/a": [(404, b"{}")],
        "/v1/jobs/b": [(404, b"{}")],
        LIST: [(200, page("a", cursor="next")), (200, page("b"))],
        f"{LIST}&cursor=next": [(200, page())],
    }
    with scripted_api(answers) as api:
        assert list(check_isolation(target(api), ACCEPTED)) == []
        paths = [path for _, path, _ in api.requests]
        asked = {path: key for path, key in zip(paths, api.authorizations, strict=True) if path != LIST}
    assert asked == {
        "/v1/jobs/a": "Bearer key-south",
        "/v1/jobs/b": "Bearer key-north",
        f"{LIST}&cursor=next": "Bearer key-north",
    }


def test_a_job_that_another_tenant_sees_is_a_violation() -> None:
    answers = {
        "/v1/jobs/a": [(200, b"{}")],
        "/v1/jobs/b": [(404, b"{}")],
        LIST: [(200, page("a", "b")), (200, page("b"))],
    }
    with scripted_api(answers) as api:
        found = list(check_isolation(target(api), ACCEPTED))
    assert found == [
        "job a of north was answered 200 to south",
        "1 jobs of others are on the list of north: ['b']",
    ]


def test_webhooks_that_come_to_another_tenant_or_with_its_secret_are_violations() -> None:
    receiver, secrets = WebhookReceiver(1), {"north": new_secret(), "south": new_secret()}
    for tenant, secret in secrets.items():
        receiver.expect(tenant, secret)
    body = json.dumps({"type": "job.failed", "data": {"id": "a"}})
    for tenant, signed_by in (("north", "north"), ("north", "south"), ("south", "south")):
        receiver.receive(tenant, body.encode(), sign([secrets[signed_by]], "msg_a", time.time(), body))
    assert receiver.unsigned == 1
    owners = {one.job_id: one.tenant for one in ACCEPTED}
    assert list(check_receivers(receiver.tenants, owners)) == ["webhooks of job a of north came to ['south']"]


@pytest.mark.parametrize(("tenants", "submitters"), [({}, ["local"]), ({"north": "k"}, ["north"])])
def test_without_tenants_all_jobs_are_those_of_an_open_api(
    tenants: dict[str, str], submitters: list[str]
) -> None:
    found = Target(Stack(home=Path(), env={}), Settings(), False, tenants)
    assert found.submitters == submitters
    assert found.headers("local") == {}
