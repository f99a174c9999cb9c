"""Outages of the control Redis cost a job no attempt that counts against its limit."""

import time

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from shared import keys
from shared.jobs import attempt as attempt_module
from shared.jobs.record import Failure
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.shared.jobs.records import spec

AWAY = Failure(code="unavailable", detail="S3 does not answer")
LEASE_S = 60.0


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    changes = {"max_attempts": 2, "lease_s": LEASE_S, "max_infrastructure_losses": 4}
    return JobStore(control, servers.model_copy(update=changes))


def restart(control: Redis) -> None:
    """As if another server had loaded the data after all leases expired."""
    control.hset(keys.SERVER, "run_id", "0" * 40)
    for key in control.scan_iter(keys.lease("*")):
        control.delete(key)


def stand_still(control: Redis, seconds: float) -> None:
    """As if no client had reached the server for so long."""
    control.hincrbyfloat(keys.SERVER, "seen", -seconds)
    for key in control.scan_iter(keys.lease("*")):
        control.delete(key)


def pass_a_lease(control: Redis) -> None:
    control.hincrbyfloat(keys.SERVER, "since", -LEASE_S - 1)
    for key in control.scan_iter("swift:job:????????????????"):
        control.hincrbyfloat(key, "renewed_at", -LEASE_S - 1)


@pytest.mark.parametrize("outage", [restart, lambda control: stand_still(control, 30)])
def test_a_running_worker_keeps_its_attempt_through_outages(
    outage: object, jobs: JobStore, control: Redis
) -> None:
    # Given a running job, and a fleet that recovers jobs
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    assert jobs.orphans() == []
    for _ in range(3):
        # When the server is away for longer than a lease, then nobody takes the job before it can be renewed
        outage(control)  # type: ignore[operator]
        assert jobs.orphans() == []
        assert jobs.orphans() == []
        attempt.advance(1, 4)
        pass_a_lease(control)
        assert jobs.orphans() == []
    attempt.end("failed", None, [])
    assert jobs.get(job_id).attempts == 1


def test_a_worker_that_died_in_an_outage_costs_no_counted_attempt(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    for losses in range(1, 4):
        assert jobs.claim(job_id, "w") is not None
        jobs.observe()
        restart(control)
        assert jobs.orphans() == []
        pass_a_lease(control)
        assert jobs.orphans() == [job_id]
        assert (jobs.get(job_id).attempts, jobs.get(job_id).infrastructure_losses) == (losses, losses)
    assert jobs.claim(job_id, "w") is not None


def test_a_worker_that_dies_while_redis_answers_costs_an_attempt(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    jobs.observe()
    assert jobs.claim(job_id, "w") is not None
    control.delete(keys.lease(job_id))
    assert jobs.orphans() == [job_id]
    assert jobs.get(job_id).infrastructure_losses == 0


def test_a_worker_stopped_by_sigterm_costs_no_counted_attempt(jobs: JobStore, control: Redis) -> None:
    stopped, _ = jobs.create(spec(), tenant=LOCAL)
    assert jobs.claim(stopped, "w") is not None
    jobs.note_stopping("w")
    control.delete(keys.lease(stopped))
    assert jobs.orphans() == [stopped]
    assert jobs.get(stopped).infrastructure_losses == 1
    # But a later worker of the same name is another one
    crashed, _ = jobs.create(spec(), tenant=LOCAL)
    assert jobs.claim(crashed, "w") is not None
    control.delete(keys.lease(crashed))
    assert crashed in jobs.orphans()
    assert jobs.get(crashed).infrastructure_losses == 0


def test_attempts_lost_to_outages_have_a_limit_of_their_own(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    for _ in range(4):
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.requeue(AWAY, is_infrastructure=True)
    assert jobs.claim(job_id, "w") is None
    job = jobs.get(job_id)
    assert (job.status, job.error) == ("failed", AWAY)


def test_faults_count_however_many_attempts_outages_have_cost(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    for is_infrastructure in (True, False, True, False):
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.requeue(AWAY, is_infrastructure=is_infrastructure)
    assert jobs.claim(job_id, "w") is None
    assert jobs.get(job_id).infrastructure_losses == 2


@pytest.mark.parametrize("lost", ["the request", "the answer"])
def test_an_ended_job_is_recorded_as_soon_as_redis_answers_again(
    lost: str, jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    script, tries = attempt._script, 0
    monkeypatch.setattr(attempt_module, "PAUSE_S", 0)

    def away(*args: object, **options: object) -> object:
        nonlocal tries
        tries += 1
        if tries == 3:
            return script(*args, **options)  # type: ignore[arg-type]
        if lost == "the answer":
            script(*args, **options)  # type: ignore[arg-type]
        raise ConnectionError("away")

    attempt._script = away  # type: ignore[assignment]
    attempt.end("failed", AWAY, [])
    assert jobs.get(job_id).error == AWAY


def test_all_times_of_a_job_are_those_of_redis(
    jobs: JobStore, control: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes an hour apart, neither's clock counts."""
    before = jobs.now()
    clock = time.time
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: clock() + 3600 * hours)
        job_id, _ = jobs.create(spec(), tenant=LOCAL)
        assert job_id not in jobs.orphans()
        assert job_id in jobs.orphans(unsent_after_s=0)
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        assert jobs.orphans(unsent_after_s=0) == []
        attempt.end("failed", None, [])
        job = jobs.get(job_id)
        times = [job.created_at, job.started_at, job.finished_at, control.zscore(keys.JOBS, job_id)]
        assert all(before <= float(at or 0) <= before + 60 for at in times), times  # type: ignore[arg-type]
