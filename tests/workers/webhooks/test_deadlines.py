import pytest
from redis import Redis

from shared import keys
from shared.jobs.record import JobScheduling
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.shared.jobs.records import DAMAGES, damage, spec
from workers.webhooks.deadlines import fail_late_jobs


def test_a_late_job_is_failed_without_any_worker(control: Redis, servers: Settings) -> None:
    control.flushall()
    jobs = JobStore(control, servers)
    late, _ = jobs.create(spec(), scheduling=JobScheduling(deadline_s=0.001), tenant=LOCAL)
    other, _ = jobs.create(spec(), scheduling=JobScheduling(deadline_s=600), tenant=LOCAL)
    eventually(lambda: jobs.past_deadline() == [late])
    fail_late_jobs(jobs)
    job = jobs.get(late)
    assert (job.status, job.error and job.error.code) == ("failed", "deadline_passed")
    assert jobs.get(other).status == "queued"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_late_job_keeps_no_other_from_being_failed(
    how: str, control: Redis, servers: Settings
) -> None:
    control.flushall()
    jobs = JobStore(control, servers)
    bad, late = (
        jobs.create(spec(), scheduling=JobScheduling(deadline_s=0.001), tenant=LOCAL)[0] for _ in range(2)
    )
    damage(control, bad, how)
    control.zadd(keys.DEADLINES, {bad: 1, late: 2})
    fail_late_jobs(jobs)
    assert jobs.get(late).status == "failed"


def test_without_redis_late_jobs_wait(servers: Settings, caplog: pytest.LogCaptureFixture) -> None:
    fail_late_jobs(JobStore(Redis(port=1, decode_responses=True), servers))
    assert "late jobs not ended" in caplog.text
