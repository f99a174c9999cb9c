from typing import Any

import pytest
from flask.testing import FlaskClient

from api.services import Services
from shared import keys
from shared.jobs.spec import JobSpec
from shared.webhooks.deliveries import NewDelivery, Settlement, message_id_of
from shared.webhooks.endpoint import Event
from shared.webhooks.endpoint_store import MAX_ENDPOINTS
from tests.api.services import receipt_of

URL = "https://example.com/hooks"


def create(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.json
    assert answer.headers["Location"] == answer.json["links"]["self"]
    return dict(answer.json)


def deliver(services: Services, webhook_id: str, n: int = 1, status: str = "delivered") -> str:
    """A delivery that has ended; returns its id."""
    store = services.webhook_deliveries
    entry = str(services.control.xadd(keys.WEBHOOK_EVENTS, {"any": "thing"}))
    new = NewDelivery(webhook_id, f"msg_{n}", "job.succeeded", f"{n:016x}", "", "{}")
    store.add("local", entry, [new])
    taken = store.take((), 60)
    assert taken is not None
    store.settle("local", taken[1], Settlement(status, response_status=204))  # type: ignore[arg-type]
    return new.message_id


def test_a_webhook_is_created_read_listed_and_deleted(client: FlaskClient) -> None:
    assert client.get("/v1/webhooks").json == {"webhooks": []}
    created = create(client, description="mine")
    secret = created.pop("secret")
    assert secret.startswith("whsec_")
    assert created["events"] == ["job.succeeded", "job.failed", "job.cancelled"]
    assert (created["enabled"], created["description"]) == (True, "mine")
    assert client.get(created["links"]["self"]).json == created
    assert client.get("/v1/webhooks").json == {"webhooks": [created]}
    assert secret not in client.get("/v1/webhooks").text
    assert client.delete(created["links"]["self"]).status_code == 204
    assert client.delete(created["links"]["self"]).status_code == 404
    assert client.get("/v1/webhooks").json == {"webhooks": []}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/",
        "http://localhost:8080/",
        "ftp://example.com/",
        "not a url",
        "",
        "https://user:secret@example.com/",
        "https://example.com/" + "x" * 3000,
        7,
        None,
    ],
)
def test_a_url_that_cannot_be_a_webhooks_is_refused_with_its_field(client: FlaskClient, url: Any) -> None:
    answer = client.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json["field"]) == (422, "url")
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "webhook": {"url": url}})
    assert (answer.status_code, answer.json["field"]) == (422, "webhook.url")
    assert client.get("/v1/webhooks").json == {"webhooks": []}
    assert client.get("/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.exploded"]}, "events.0"),
        ({"url": URL, "events": "job.failed"}, "events"),
        ({"url": URL, "secret": "whsec_x"}, "secret"),
        ({"url": URL, "description": "x" * 201}, "description"),
        ({"callback_url": URL}, "callback_url"),
    ],
)
def test_a_wrong_webhook_is_refused_with_the_field_at_fault(
    client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 422
    assert field in [one["field"] for one in answer.json["errors"]]


@pytest.mark.parametrize(("method", "path"), [("post", ""), ("patch", "/{id}"), ("post", "/{id}/replay")])
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, method: str, path: str) -> None:
    url = "/v1/webhooks" + path.format(id=create(client)["id"])
    send = getattr(client, method)
    assert send(url, data="{", content_type="application/json").status_code == 400
    assert send(url, json=[]).status_code == 422
    assert send(url, data="{}").status_code == 415


def test_a_webhook_is_changed_disabled_and_enabled(client: FlaskClient) -> None:
    home = create(client)["links"]["self"]
    changed = client.patch(home, json={"url": URL + "/2", "events": ["job.started"], "enabled": False}).json
    assert (changed["url"], changed["events"]) == (URL + "/2", ["job.started"])
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "request")
    assert changed["disabled_at"]
    enabled = client.patch(home, json={"enabled": True}).json
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["disabled_at"]) == (True, None, None)
    assert enabled["url"] == URL + "/2"
    assert client.patch(home, json={"url": "http://10.0.0.1/"}).json["field"] == "url"
    assert client.patch(home, json={"url": None}).json == enabled


def test_a_tenant_has_a_bounded_number_of_webhooks(client: FlaskClient) -> None:
    for _ in range(MAX_ENDPOINTS):
        create(client)
    answer = client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")


@pytest.mark.parametrize("webhook_id", ["wh_0123456789abcdef", "default", "a%2Fb", "*", "wh_1:msg_1"])
def test_what_is_not_there_is_not_found(client: FlaskClient, webhook_id: str) -> None:
    home = f"/v1/webhooks/{webhook_id}"
    assert client.get(home).status_code == 404
    assert client.patch(home, json={}).status_code == 404
    assert client.delete(home).status_code == 404
    if webhook_id != "default":
        assert client.post(f"{home}/rotate").status_code == 404
        assert client.get(f"{home}/deliveries").status_code == 404
        assert client.post(f"{home}/replay", json={}).status_code == 404


def test_a_rotated_secret_is_told_with_the_end_of_the_one_before(client: FlaskClient) -> None:
    created = create(client)
    rotated = client.post(f"{created['links']['self']}/rotate").json
    assert rotated["secret"] != created["secret"]
    assert rotated["previous_expires_at"]


def test_the_secret_of_single_jobs_can_be_read_and_rotated(client: FlaskClient) -> None:
    first = client.get("/v1/webhooks/default/secret").json
    assert first == client.get("/v1/webhooks/default/secret").json
    assert first["secret"].startswith("whsec_")
    assert first["previous_expires_at"] is None
    rotated = client.post("/v1/webhooks/default/rotate").json
    assert rotated["secret"] != first["secret"]
    assert client.get("/v1/webhooks/default/secret").json == rotated


def test_deliveries_are_listed_with_status_attempts_and_answer(
    client: FlaskClient, services: Services
) -> None:
    created = create(client)
    for n in range(3):
        deliver(services, created["id"], n)
    page = client.get(f"{created['links']['deliveries']}?limit=2").json
    newest = page["deliveries"][0]
    assert (newest["id"], newest["event"], newest["job_id"]) == ("msg_2", "job.succeeded", f"{2:016x}")
    assert (newest["status"], newest["attempts"], newest["response_status"]) == ("delivered", 1, 204)
    assert (newest["url"], newest["error"], newest["next_attempt_at"]) == (URL, None, None)
    assert newest["last_attempt_at"]
    rest = client.get(f"{created['links']['deliveries']}?cursor={page['next_cursor']}").json
    assert [one["id"] for one in rest["deliveries"]] == ["msg_0"]
    assert rest["next_cursor"] is None
    assert client.get(f"{created['links']['deliveries']}?cursor=msg_9").json["field"] == "cursor"


def test_deliveries_of_one_job_are_found_among_any_number(client: FlaskClient, services: Services) -> None:
    created, store, job = create(client), services.webhook_deliveries, "a" * 16
    events: tuple[Event, ...] = ("job.started", "job.succeeded")
    for event in events:
        entry = str(services.control.xadd(keys.WEBHOOK_EVENTS, {"any": "thing"}))
        store.add(
            "local", entry, [NewDelivery(created["id"], message_id_of(job, event), event, job, "", "{}")]
        )
    for n in range(3):
        deliver(services, created["id"], n)
    page = client.get(f"{created['links']['deliveries']}?job={job}&limit=1").json
    assert [(one["job_id"], one["event"]) for one in page["deliveries"]] == [
        (job, event) for event in reversed(events)
    ]
    assert page["next_cursor"] is None
    none = client.get(f"{created['links']['deliveries']}?job={'b' * 16}").json
    assert none == {"deliveries": [], "next_cursor": None}
    assert client.get(f"{created['links']['deliveries']}?job=x").json["field"] == "job"


def test_deliveries_are_replayed_by_id_or_all_that_failed(client: FlaskClient, services: Services) -> None:
    created = create(client)
    replay = f"{created['links']['self']}/replay"
    deliver(services, created["id"], 1)
    deliver(services, created["id"], 2, "failed")
    assert client.post(replay, json={}).json == {"replayed": 1}
    assert client.post(replay, json={"deliveries": ["msg_1"]}).json == {"replayed": 1}
    assert client.post(replay, json={"deliveries": ["msg_1", "msg_9"]}).status_code == 404
    assert client.post(replay, json={"deliveries": []}).status_code == 422
    page = client.get(created["links"]["deliveries"]).json
    assert {one["status"] for one in page["deliveries"]} == {"pending"}


def test_a_jobs_webhook_is_stored_beside_its_spec(client: FlaskClient, services: Services) -> None:
    webhook = {"url": URL, "events": ["job.started", "job.failed"]}
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "webhook": webhook})
    assert answer.status_code == 202
    job_id = answer.json["id"]
    stored = services.control.hget(keys.job(job_id), "webhook")
    assert stored == '{"url":"https://example.com/hooks","events":["job.started","job.failed"]}'
    job = client.get(f"/v1/jobs/{job_id}").json
    assert "webhook" not in job["request"]
    assert job["has_webhook"]
    assert "webhook" not in JobSpec.model_fields


def test_a_replay_of_a_receipt_may_have_a_webhook(client: FlaskClient, services: Services) -> None:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat", "seed": 7}).json["id"]
    receipt = receipt_of(services.jobs.get(job_id).spec).model_dump(mode="json")
    answer = client.post("/v1/jobs", json={"receipt": receipt, "webhook": {"url": URL}})
    assert answer.status_code == 202, answer.json
    assert services.control.hget(keys.job(answer.json["id"]), "webhook")
    wrong = {"receipt": receipt, "webhook": {"url": "http://10.0.0.1/"}}
    assert client.post("/v1/jobs", json=wrong).json["field"] == "webhook.url"
    assert client.post("/v1/jobs", json={"receipt": receipt, "seed": 1}).json["field"] == "seed"


def test_an_event_is_noted_when_a_job_of_a_tenant_with_webhooks_ends(
    client: FlaskClient, services: Services
) -> None:
    create(client)
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    ((_, entry),) = services.control.xrange(keys.WEBHOOK_EVENTS)
    assert (entry["event"], entry["job"], entry["tenant"]) == ("job.cancelled", job_id, "local")
