"""A worker that was paused between taking a message and claiming its job: recovery holds the job again."""

import pytest
from redis import Redis

from shared import keys
from shared.jobs.record import JobScheduling
from shared.jobs.store import JobStore
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.shared.jobs.records import spec
from tests.shared.scheduling.held_jobs import MODEL, HeldJobs

ESTIMATE_S = 10.0


@pytest.fixture
def held(control: Redis, servers: Settings) -> HeldJobs:
    control.flushall()
    return HeldJobs(control, FairQueue(control, servers))


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    return JobStore(control, servers)


def submit(jobs: JobStore, held: HeldJobs) -> str:
    job_id, _ = jobs.create(spec(), tenant="t", scheduling=JobScheduling("normal", ESTIMATE_S))
    held.queue.place(job_id, MODEL)
    return job_id


def lose(held: HeldJobs) -> str:
    """A worker takes a job and is paused; recovery takes its message for lost."""
    job_id = held.take()
    assert job_id is not None
    held.queue.send(job_id, MODEL, "last")
    return job_id


def given_s(held: HeldJobs) -> float:
    return float(held.redis.hget(keys.share("t"), f"virtual_time:{MODEL}") or 0)


def test_a_late_claim_leaves_no_place_to_another_job_above_the_cap(jobs: JobStore, held: HeldJobs) -> None:
    held.set_share("t", max_running_jobs=1)
    first, second = submit(jobs, held), submit(jobs, held)
    assert lose(held) == first
    # When the other job has its place, the worker gets no attempt, and the job waits for its turn
    assert held.waiting() == [second]
    assert jobs.claim(first, "unet1@a") is None
    attempt = jobs.claim(second, "unet2@a")
    assert attempt is not None
    assert held.redis.smembers(keys.released("t")) == {second}
    jobs.script("finish", second, attempt.token, "succeeded")
    held.queue.release([MODEL])
    held.take()
    assert jobs.claim(first, "unet1@a") is not None


def test_a_job_that_is_claimed_late_is_released_and_charged(jobs: JobStore, held: HeldJobs) -> None:
    blocking = [submit(jobs, held) for _ in range(3)]  # the queue is full, so the job is held again
    first = lose(held)
    assert first == blocking[0]
    held.set_share("t", max_running_jobs=2)
    before_s = given_s(held)
    attempt = jobs.claim(first, "unet1@a")
    assert attempt is not None
    assert given_s(held) == before_s + ESTIMATE_S
    assert held.redis.zscore(keys.held(MODEL, "t"), first) is None
    assert first in held.redis.smembers(keys.released("t"))
    # What it has used counts in place of the estimate
    held.redis.hincrbyfloat(keys.job(first), "started_at", -100.0)
    jobs.script("finish", first, attempt.token, "succeeded")
    assert given_s(held) == pytest.approx(before_s + 100.0, abs=5)
    assert first not in held.redis.smembers(keys.released("t"))


def test_a_job_that_is_claimed_during_its_pause_is_released(jobs: JobStore, held: HeldJobs) -> None:
    job_id = submit(jobs, held)
    held.take()
    held.queue.send(job_id, MODEL, "later")
    assert jobs.claim(job_id, "unet1@a") is not None
    assert held.redis.zcard(keys.DELAYED) == 0
    assert held.redis.smembers(keys.released("t")) == {job_id}
