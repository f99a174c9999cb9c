"""From a change of a job to its deliveries: real jobs, real endpoints."""

import json
from datetime import datetime
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs.record import Failure
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from shared.webhooks.deliveries import DAMAGED_PAUSE_S, Delivery, DeliveryStore
from shared.webhooks.endpoint import DEFAULT, ENDED, EVENTS, LEFT_S, Endpoint, JobWebhook
from shared.webhooks.endpoint_store import EndpointStore
from tests.shared.jobs.records import DAMAGES, damage, spec
from workers.webhooks.job_events import BATCH, JobEvents, payload_of, read_event

URL = "https://example.com/hooks"
WHY = Failure(code="invalid_lora", detail="it is no LoRA")


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers)


@pytest.fixture
def deliveries(control: Redis) -> DeliveryStore:
    return DeliveryStore(control, 1000)


@pytest.fixture
def endpoints(control: Redis) -> EndpointStore:
    return EndpointStore(control)


@pytest.fixture
def events(control: Redis, deliveries: DeliveryStore, endpoints: EndpointStore) -> JobEvents:
    return JobEvents(control, deliveries, endpoints, "https://api.example")


def endpoint(endpoints: EndpointStore, *events: str, tenant: str = "local") -> Endpoint:
    return endpoints.create(tenant, URL, events or EVENTS, description="", now=1.0)  # type: ignore[arg-type]


def run(jobs: JobStore, webhook: JobWebhook | None = None) -> str:
    """A job that fails."""
    job_id, _ = jobs.create(spec(), webhook=webhook, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.end("failed", WHY, [])
    return job_id


def made(events: JobEvents, deliveries: DeliveryStore) -> list[Delivery]:
    """The deliveries of all that has happened, in its order."""
    while events.expand(0.001):
        pass
    found = []
    while (taken := deliveries.take((), 60)) is not None:
        found.append(taken[1])
    return found


def test_a_job_whose_tenant_has_no_endpoint_writes_no_event(jobs: JobStore, control: Redis) -> None:
    run(jobs)
    assert not control.exists(keys.WEBHOOK_EVENTS)


def test_the_start_and_the_end_of_a_job_are_delivered_to_each_endpoint_that_wants_them(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore, endpoints: EndpointStore
) -> None:
    all_events, ends = endpoint(endpoints), endpoint(endpoints, "job.failed", "job.succeeded")
    endpoint(endpoints, "job.cancelled")
    endpoint(endpoints, tenant="other")
    job_id = run(jobs)
    started, failed = f"msg_{job_id}_started", f"msg_{job_id}_failed"
    found = {(one.endpoint, one.message_id) for one in made(events, deliveries)}
    assert found == {(all_events.id, started), (all_events.id, failed), (ends.id, failed)}


def test_the_webhook_of_a_job_gets_the_events_that_it_names(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    run(jobs, JobWebhook(url=URL, events=["job.started"]))
    run(jobs, JobWebhook(url=URL))
    found = [(one.endpoint, one.url, one.event) for one in made(events, deliveries)]
    assert found == [(DEFAULT, URL, "job.started"), (DEFAULT, URL, "job.failed")]


def test_a_disabled_endpoint_gets_nothing(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore, endpoints: EndpointStore
) -> None:
    one = endpoint(endpoints)
    endpoints.update("local", one.id, lambda it: it.disabled("request", 1.0))
    run(jobs)
    assert made(events, deliveries) == []


def test_further_attempts_of_a_job_are_no_further_starts(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=URL, events=list(EVENTS)), tenant=LOCAL)
    first = jobs.claim(job_id, "w")
    assert first is not None
    first.requeue(WHY)
    second = jobs.claim(job_id, "w")
    assert second is not None
    second.end("cancelled", None, [])
    assert [one.event for one in made(events, deliveries)] == ["job.started", "job.cancelled"]


@pytest.mark.parametrize("is_running", [False, True])
def test_a_job_that_is_deleted_while_it_lives_is_cancelled(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore, is_running: bool
) -> None:
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=URL), tenant=LOCAL)
    if is_running:
        jobs.claim(job_id, "w")
    jobs.delete(job_id)
    assert [one.event for one in made(events, deliveries)] == ["job.cancelled"]


def test_deleting_an_ended_job_is_no_event(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    jobs.delete(run(jobs, JobWebhook(url=URL)))
    assert [one.event for one in made(events, deliveries)] == ["job.failed"]


def test_the_end_is_told_once_whoever_asks_again(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=URL), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    for _ in range(3):
        attempt.end("failed", WHY, [])
    jobs.cancel(job_id)
    assert [one.event for one in made(events, deliveries)] == ["job.failed"]


def test_a_payload_names_the_job_and_says_where_the_rest_is(
    jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    job_id = run(jobs, JobWebhook(url=URL))
    (delivery,) = made(events, deliveries)
    payload = json.loads(delivery.payload)
    job = jobs.get(job_id)
    home = f"https://api.example/v1/jobs/{job_id}"
    assert payload["type"] == "job.failed"
    assert payload["data"]["id"] == job_id
    assert payload["data"]["status"] == "failed"
    assert payload["data"]["error"] == {"code": WHY.code, "detail": WHY.detail}
    assert payload["data"]["links"] == {"self": home, "events": f"{home}/events", "images": f"{home}/images"}
    times = [payload["data"][name] for name in ("created_at", "started_at", "finished_at")]
    stored = [job.created_at, job.started_at, job.finished_at]
    assert [datetime.fromisoformat(time).timestamp() for time in times] == pytest.approx(stored)
    assert payload["timestamp"] == payload["data"]["finished_at"]
    assert "prompt" not in delivery.payload


def test_a_payload_stays_small_whatever_failed_the_job(jobs: JobStore) -> None:
    event = read_event({"event": "job.failed", "job": "0" * 16, "tenant": "local", "at": "1.5"})
    huge = event.model_copy(update={"error": Failure(code="x", detail="é" * 100_000)})
    assert len(payload_of(huge, "https://" + "x" * 250)) < 20_000


def test_links_are_paths_where_no_public_address_is_set() -> None:
    event = read_event({"event": "job.started", "job": "0" * 16, "tenant": "local", "at": "1.5"})
    data = json.loads(payload_of(event, ""))["data"]
    assert data["links"]["self"] == f"/v1/jobs/{'0' * 16}"
    assert (data["status"], data["finished_at"]) == ("running", None)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_record_neither_stops_the_job_script_nor_the_dispatcher(
    jobs: JobStore, control: Redis, events: JobEvents, deliveries: DeliveryStore, how: str
) -> None:
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=URL), tenant=LOCAL)
    damage(control, job_id, how)
    jobs.cancel(job_id)
    run(jobs, JobWebhook(url=URL))
    found = made(events, deliveries)
    assert found[-1].event == "job.failed"
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0


@pytest.mark.parametrize("webhook", ["{", "[]", '{"url": 7}', "null", "[" * 5000])
def test_a_damaged_webhook_hides_no_event_from_the_tenants_endpoints(
    jobs: JobStore,
    control: Redis,
    events: JobEvents,
    deliveries: DeliveryStore,
    endpoints: EndpointStore,
    webhook: str,
) -> None:
    endpoint(endpoints)
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=URL), tenant=LOCAL)
    control.hset(keys.job(job_id), "webhook", webhook)
    jobs.cancel(job_id)
    assert [one.endpoint != DEFAULT for one in made(events, deliveries)] == [True]


def test_an_entry_that_is_no_event_is_dropped(
    control: Redis, jobs: JobStore, events: JobEvents, deliveries: DeliveryStore
) -> None:
    control.xadd(keys.WEBHOOK_EVENTS, {"event": "exploded", "job": "x", "tenant": "local", "at": "1"})
    control.xadd(keys.WEBHOOK_EVENTS, {"event": "job.failed", "job": "x", "tenant": "a:b", "at": "1"})
    assert made(events, deliveries) == []
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0


def test_an_event_of_a_later_version_is_left_to_it_and_holds_up_no_other(
    jobs: JobStore, control: Redis, events: JobEvents, deliveries: DeliveryStore, endpoints: EndpointStore
) -> None:
    # Given more entries of a later version than one read returns, one of a day ago, and one that is known
    endpoint(endpoints)
    later = {"event": "job.paused", "job": "x", "tenant": "local", "at": "1"}
    ago = int(1000 * (deliveries.now() - LEFT_S - 1))
    control.xadd(keys.WEBHOOK_EVENTS, later, id=f"{ago}-0")
    left = [control.xadd(keys.WEBHOOK_EVENTS, later) for _ in range(BATCH + 1)]
    jobs.cancel(jobs.create(spec(), tenant=LOCAL)[0])
    # Then that one is delivered, and the others wait, but for the oldest
    assert [one.event for one in made(events, deliveries)] == ["job.cancelled"]
    entries: Any = control.xrange(keys.WEBHOOK_EVENTS)
    assert [entry_id for entry_id, _ in entries] == left
    # And they are read again by a process that starts, perhaps of that version
    fresh = JobEvents(control, deliveries, endpoints, "")
    assert fresh.expand(0.001) == BATCH


def damaged_keys(tenant: str, endpoint_id: str) -> dict[str, str]:
    return {
        "endpoints": keys.webhooks(tenant),
        "due deliveries": keys.webhook_due(tenant),
        "a list of deliveries": keys.webhook_deliveries(tenant, endpoint_id),
    }


@pytest.mark.parametrize("what", damaged_keys("", ""))
def test_a_damaged_key_of_a_tenant_holds_up_no_other_and_loses_no_event(
    what: str, control: Redis, endpoints: EndpointStore, jobs: JobStore
) -> None:
    now = jobs.now()
    deliveries = DeliveryStore(control, 1000, lambda: now)
    events = JobEvents(control, deliveries, endpoints, "")
    bad, good = endpoint(endpoints, tenant="bad"), endpoint(endpoints, tenant="good")
    damaged = damaged_keys("bad", bad.id)[what]
    if control.exists(damaged):
        control.rename(damaged, "saved")
    control.set(damaged, "x")
    for tenant in ("bad", "good"):
        fields: Any = {"event": "job.failed", "job": tenant, "tenant": tenant, "at": "1"}
        control.xadd(keys.WEBHOOK_EVENTS, fields)
    assert [one.endpoint for one in made(events, deliveries)] == [good.id]
    assert control.xlen(keys.WEBHOOK_EVENTS) == 1
    # When the key is repaired, then the event is delivered after a while
    control.delete(damaged)
    if control.exists("saved"):
        control.rename("saved", damaged)
    assert made(events, deliveries) == []
    now += DAMAGED_PAUSE_S + 1
    # And the other one is due again, as nobody has settled it
    assert {one.endpoint for one in made(events, deliveries)} == {bad.id, good.id}
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0


def test_an_event_of_a_tenant_whose_keys_stay_damaged_is_dropped_after_a_day(
    control: Redis, endpoints: EndpointStore, jobs: JobStore
) -> None:
    now = jobs.now()
    deliveries = DeliveryStore(control, 1000, lambda: now)
    events = JobEvents(control, deliveries, endpoints, "")
    control.set(keys.webhooks("bad"), "x")
    control.xadd(keys.WEBHOOK_EVENTS, {"event": "job.failed", "job": "x", "tenant": "bad", "at": "1"})
    assert made(events, deliveries) == []
    assert control.xlen(keys.WEBHOOK_EVENTS) == 1
    now += LEFT_S + 1
    assert made(events, deliveries) == []
    assert control.xlen(keys.WEBHOOK_EVENTS) == 0


def test_an_endpoint_that_wants_events_of_a_later_version_gets_those_that_are_known(
    jobs: JobStore, control: Redis, events: JobEvents, deliveries: DeliveryStore, endpoints: EndpointStore
) -> None:
    one = endpoint(endpoints, "job.failed")
    stored = json.loads(str(control.hget(keys.webhooks(LOCAL), one.id))) | {
        "events": ["job.paused", "job.failed"]
    }
    control.hset(keys.webhooks(LOCAL), one.id, json.dumps(stored))
    run(jobs)
    run(jobs, JobWebhook(url=URL, events=["job.paused", "job.failed"]))
    found = [(made_of.endpoint, made_of.event) for made_of in made(events, deliveries)]
    assert sorted(found) == [(DEFAULT, "job.failed"), *[(one.id, "job.failed")] * 2]
    # And a change of the endpoint keeps them
    endpoints.update(LOCAL, one.id, lambda it: it.disabled("request", 1.0))
    assert endpoints.get(LOCAL, one.id).events == ["job.paused", "job.failed"]


def test_events_of_every_end_are_known() -> None:
    assert {f"job.{status}" for status in ("succeeded", "failed", "cancelled")} == set(ENDED)
