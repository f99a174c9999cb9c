"""What the job script keeps besides the records of jobs."""

import pytest
from redis import Redis

from shared import keys
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.shared.jobs.records import spec


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    control.flushdb()
    return JobStore(control, servers)


def counts(jobs: JobStore, model: str) -> tuple[int, int]:
    """How many jobs of a model are queued, and how many run."""
    queued, running = (jobs.redis.zcard(keys.by_model(status, model)) for status in ("queued", "running"))
    return int(queued), int(running)


def test_jobs_that_wait_or_run_are_listed_by_model(jobs: JobStore) -> None:
    first, _ = jobs.create(spec(model="a"))
    jobs.create(spec(model="a"))
    jobs.create(spec(model="b"))
    assert (counts(jobs, "a"), counts(jobs, "b")) == ((2, 0), (1, 0))
    attempt = jobs.claim(first, "w")
    assert attempt is not None
    assert counts(jobs, "a") == (1, 1)
    attempt.hand_over()
    assert counts(jobs, "a") == (2, 0)
    again = jobs.claim(first, "w")
    assert again is not None
    again.end("failed", None, [])
    assert (counts(jobs, "a"), counts(jobs, "b")) == ((1, 0), (1, 0))


def test_a_record_of_an_earlier_version_is_listed_by_the_model_of_its_spec(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec(model="a"))
    jobs.redis.hdel(keys.job(job_id), "model")
    jobs.redis.delete(keys.by_model("queued", "a"), keys.MODELS)
    jobs.heal([job_id])
    assert counts(jobs, "a") == (1, 0)


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_a_job_that_is_gone_is_listed_by_no_model(jobs: JobStore, how: str) -> None:
    job_id, _ = jobs.create(spec(model="a"))
    if how == "deleted":
        jobs.delete(job_id)
    else:
        jobs.redis.delete(keys.job(job_id))
        assert jobs.page()[0] == []  # which notices it
    assert counts(jobs, "a") == (0, 0)
