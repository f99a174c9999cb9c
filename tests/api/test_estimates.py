"""Estimates, and deadlines that cannot be met."""

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared import keys
from shared.messaging.celery_app import unet_queue
from shared.registry.availability import Availability
from shared.registry.workers import publish_heartbeat
from shared.scheduling.fair_queue import FairQueue
from shared.scheduling.measured_times import JobTimes, MeasuredTimes
from shared.tenants.tenant import Tenant
from tests.api.services import heartbeat
from tests.api.tenants import client_of, with_keys

MODEL, SOON = "emoji-sd", 60.0
STEP_S, REST_S = 0.1, 0.5


@pytest.fixture
def worker(services: Services) -> str:
    """A free worker that has run jobs of the embedded model."""
    name = "unet1@a"
    publish_heartbeat(services.control, heartbeat(name, "unet", MODEL, [MODEL]), SOON)
    assert Availability(services.control).register_free(name, [MODEL], SOON)
    FairQueue(services.control, services.settings).serve(name, [MODEL], SOON)
    return name


def submit(client: FlaskClient, query: str = "", **more: Any) -> Any:
    return client.post(f"/v1/jobs{query}", json={"prompt": "a cat", "num_inference_steps": 10, **more})


def measure(client: FlaskClient, services: Services) -> None:
    """Workers have measured jobs of the same shape."""
    job = services.jobs.get(submit(client).json["id"])
    spec = job.spec.model_copy(update={"width": 64, "height": 64})  # its own size, as a receipt says it
    for _ in range(20):
        MeasuredTimes(services.control, services.families.facts).record(spec, JobTimes(STEP_S, REST_S))
    services.jobs.delete(job.id)
    services.control.delete(unet_queue(MODEL))  # as a worker does with the message of a job that is gone


def test_a_submission_is_answered_with_its_estimate(
    client: FlaskClient, services: Services, worker: str
) -> None:
    measure(client, services)
    first, second = (submit(client).json["estimate"] for _ in range(2))
    alone_s = 10 * STEP_S + REST_S
    assert first == {
        "device_seconds": pytest.approx(alone_s),
        "queue_position": 1,
        "eta_s": pytest.approx(alone_s),
        "eta_p90_s": pytest.approx(alone_s),
    }
    assert second["queue_position"] == 2
    assert alone_s < second["eta_s"] <= second["eta_p90_s"]


def test_measured_times_are_read_once_in_a_while(services: Services, worker: str) -> None:
    client = create_app(replace(services, estimates_cache_s=600)).test_client()
    before = submit(client, "?dry_run=1").json
    measure(client, services)
    assert submit(client, "?dry_run=1").json == before
    longer = submit(client, "?dry_run=1", num_images=2).json  # of another shape
    assert longer["device_seconds"] == pytest.approx(20 * STEP_S + REST_S)


def test_a_dry_run_estimates_and_accepts_nothing(
    client: FlaskClient, services: Services, worker: str
) -> None:
    answer = submit(client, "?dry_run=1")
    assert answer.status_code == 200
    assert answer.json["queue_position"] == 1
    assert answer.json["eta_s"] > 0
    assert services.control.zcard(keys.JOBS) == 0
    # What would be refused is refused
    assert submit(client, "?dry_run=1", model="no").status_code == 422


def test_while_no_worker_serves_the_model_nobody_knows_when_a_job_is_done(client: FlaskClient) -> None:
    estimate = submit(client).json["estimate"]
    assert estimate["device_seconds"] > 0
    assert (estimate["eta_s"], estimate["eta_p90_s"]) == (None, None)


def test_a_job_that_cannot_meet_its_deadline_is_refused_with_the_estimate(
    client: FlaskClient, services: Services, worker: str
) -> None:
    measure(client, services)
    refused = submit(client, deadline_s=1)
    assert (refused.status_code, refused.json["code"]) == (409, "deadline_unreachable")
    assert "1.5 s" in refused.json["detail"]
    assert refused.json["estimate"] == submit(client, "?dry_run=1").json
    assert services.control.zcard(keys.by_status("queued")) == 0
    accepted = submit(client, deadline_s=100)
    assert accepted.status_code == 202
    assert services.jobs.get(accepted.json["id"]).deadline_s == 100


@pytest.mark.parametrize("deadline_s", [0, -1, 1e9, "soon", True])
def test_a_deadline_is_a_number_of_seconds_from_now(deadline_s: Any, client: FlaskClient) -> None:
    assert submit(client, deadline_s=deadline_s).status_code == 422


@pytest.mark.parametrize("priority", ["urgent", 1, ""])
def test_an_unknown_priority_is_refused(priority: Any, client: FlaskClient) -> None:
    assert submit(client, priority=priority).status_code == 422


def test_a_priority_that_the_tenant_may_not_use_is_refused_naming_those_it_may(services: Services) -> None:
    given = with_keys(services)
    app = create_app(given)
    given.tenants.create(Tenant(id="acme", created_at=0.0, priorities=("batch", "normal")))
    client = client_of(app, given, "acme")
    for query in ("", "?dry_run=1"):
        refused = submit(client, query, priority="interactive")
        assert (refused.status_code, refused.json["field"]) == (422, "priority")
        assert "batch, normal" in refused.json["detail"]
    assert services.control.zcard(keys.JOBS) == 0
    assert submit(client, priority="batch").status_code == 202


def test_a_repeated_submission_is_answered_with_the_estimate_of_the_first(
    client: FlaskClient, services: Services, worker: str
) -> None:
    request = {"json": {"prompt": "a cat"}, "headers": {"Idempotency-Key": "order 7"}}
    first = client.post("/v1/jobs", **request).json["estimate"]
    submit(client)
    assert client.post("/v1/jobs", **request).json["estimate"] == first


def test_how_long_a_job_took_corrects_later_estimates(
    client: FlaskClient, services: Services, worker: str
) -> None:
    measure(client, services)
    services.control.lpush(keys.measured(MODEL, f"{keys.ETA_RATIO}idle"), *[1.2] * 8, *[2.0] * 2)
    estimate = submit(client, "?dry_run=1").json
    assert (estimate["eta_s"], estimate["eta_p90_s"]) == (pytest.approx(1.8), pytest.approx(3.0))


def test_a_job_says_how_it_was_scheduled(client: FlaskClient, services: Services, worker: str) -> None:
    accepted = submit(client, priority="batch", deadline_s=1000).json
    expected = {"priority": "batch", "deadline_s": 1000, "estimate": accepted["estimate"]}
    job = client.get(accepted["links"]["self"]).json
    assert {name: job[name] for name in expected} == expected
    [listed] = client.get(f"/v1/jobs?fields={','.join(expected)}").json["jobs"]
    assert listed == {"id": accepted["id"], "status": "queued", **expected}
    # One of an earlier version says nothing of it
    services.control.hdel(keys.job(accepted["id"]), *expected)
    job = client.get(accepted["links"]["self"]).json
    assert (job["priority"], job["deadline_s"], job["estimate"]) == ("normal", None, None)


@pytest.mark.parametrize("name", ["estimate", "deadline_s", "eta_s"])
def test_a_record_with_an_edited_estimate_is_unreadable_and_can_be_deleted(
    name: str, client: FlaskClient, services: Services
) -> None:
    accepted = submit(client).json
    services.control.hset(keys.job(accepted["id"]), name, "[nan]")
    assert client.get(accepted["links"]["self"]).json["code"] == "job_unreadable"
    assert client.delete(accepted["links"]["self"]).status_code == 204
