"""Records that another version, a hand or a lost log has left: one of them harms no other job."""

import json
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from shared import keys
from shared.errors import AttemptLost, JobUnreadable
from shared.jobs.record import RECORD_VERSION
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.shared.jobs.records import DAMAGES, UNREADABLE, damage, spec


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers.model_copy(update={"lease_s": 0.05}))


def test_fields_of_a_newer_version_are_ignored_wherever_they_are(jobs: JobStore, control: Redis) -> None:
    # Given a job that ended, and a newer version that added a field everywhere
    job_id, _ = jobs.create(
        spec(loras=[{"name": "a", "etag": "e", "size_bytes": 1, "scale": 1.0}]), tenant=LOCAL
    )
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.end("failed", None, [])
    key = keys.job(job_id)
    told: dict[str, Any] = json.loads(str(control.hget(key, "spec")))
    told |= {"newer": 1, "loras": [told["loras"][0] | {"newer": 1}]}
    span = {"name": "queued", "start_s": 1, "end_s": 2, "worker": "w", "newer": 1}
    failure = {"code": "x", "detail": "y", "newer": {"a": 1}}
    control.hset(
        key,
        mapping={
            "spec": json.dumps(told),
            "timeline": json.dumps([span]),
            "error": json.dumps(failure),
            "newer": "1",
            "version": RECORD_VERSION + 1,
        },
    )
    # Then everything else of it is read
    job = jobs.get(job_id)
    assert job.spec.loras[0].name == "a"
    assert job.timeline[0].worker == "w"
    assert job.error is not None
    assert job.error.detail == "y"
    assert [one.id for one in jobs.page()[0]] == [job_id]


def test_a_worker_leaves_jobs_of_a_newer_version_to_newer_workers(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    control.hset(keys.job(job_id), "version", RECORD_VERSION + 1)
    assert jobs.claim(job_id, "w") is None
    assert jobs.get(job_id).status == "queued"


@pytest.mark.parametrize("how", DAMAGES)
def test_one_damaged_record_hides_no_other_job(how: str, jobs: JobStore, control: Redis) -> None:
    # Given three jobs, two running without a lease, of which one is damaged
    lost, bad, whole = (jobs.create(spec(), tenant=LOCAL)[0] for _ in range(3))
    for job_id in (lost, bad):
        assert jobs.claim(job_id, "w") is not None
        control.delete(keys.lease(job_id))
    damage(control, bad, how)
    # Then the pages hold the others, and recovery brings back the one whose worker died
    assert {whole, lost} <= {job.id for job in jobs.page(limit=1000)[0]}
    assert eventually(lambda: lost in jobs.orphans())
    assert jobs.get(lost).status == "queued"


@pytest.mark.parametrize("how", UNREADABLE)
@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_damaged_job_is_reported_and_can_be_cancelled_and_deleted(
    how: str, state: str, jobs: JobStore, control: Redis
) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    if state == "running":
        assert jobs.claim(job_id, "w") is not None
    damage(control, job_id, how)
    with pytest.raises(JobUnreadable):
        jobs.get(job_id)
    assert jobs.cancel(job_id) in ("cancelled", "cancelling", "unreadable")
    jobs.delete(job_id)
    assert not list(control.scan_iter(f"swift:job:{job_id}"))
    for index in (keys.JOBS, keys.UNSENT, keys.by_status("queued"), keys.by_status("running")):
        assert control.zscore(index, job_id) is None


@pytest.mark.parametrize("how", [how for how in UNREADABLE if how != "attempts is many"])
def test_no_worker_starts_a_damaged_job(how: str, jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    damage(control, job_id, how)
    assert jobs.claim(job_id, "w") is None
    if control.type(keys.job(job_id)) == "hash":
        assert control.hget(keys.job(job_id), "status") in (None, "failed", "paused")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_worker_may_end_a_job_whose_record_was_damaged_meanwhile(
    how: str, jobs: JobStore, control: Redis
) -> None:
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    damage(control, job_id, how)
    with suppress(AttemptLost):
        attempt.advance(1, 4)
        attempt.end("failed", None, [])


def test_a_redis_that_refuses_everything_for_now_damages_no_record(
    jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a health check, which a Redis with a full disk refuses as it refuses writes
    def refuse(_key: str) -> None:
        raise ResponseError("MISCONF Errors writing to the AOF file: No space left on device")

    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    monkeypatch.setattr(jobs.redis, "hgetall", refuse)
    with pytest.raises(ResponseError, match="MISCONF"):
        jobs.get(job_id)
