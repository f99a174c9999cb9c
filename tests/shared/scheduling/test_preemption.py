"""An interactive job takes a device from a batch job, which goes on later."""

from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs.attempt import Attempt
from shared.jobs.record import JobScheduling
from shared.jobs.store import JobStore
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.tenants.tenant import Priority
from tests.shared.jobs.records import spec
from tests.shared.scheduling.held_jobs import MODEL, HeldJobs

LONG_S = 100.0


class Fleet:
    """One worker, and jobs of several tenants."""

    def __init__(self, control: Redis, settings: Settings) -> None:
        self.redis, self.jobs = control, JobStore(control, settings)
        self.queue = FairQueue(control, settings)
        self.held = HeldJobs(control, self.queue)

    def submit(self, priority: Priority, tenant: str = "local") -> str:
        job_id, _ = self.jobs.create(spec(), tenant=tenant, scheduling=JobScheduling(priority, 10.0))
        self.queue.place(job_id, MODEL)
        return job_id

    def begin(self) -> Attempt:
        """The next job, which has run for long."""
        job_id = self.held.take()
        assert job_id is not None
        attempt = self.jobs.claim(job_id, "unet1@a")
        assert attempt is not None
        self.redis.hincrbyfloat(keys.job(job_id), "started_at", -LONG_S)
        return attempt

    def wait_long(self) -> None:
        """Those that wait have waited for long."""
        for job_id in self.redis.zrange(keys.urgent(MODEL), 0, -1):
            self.redis.zincrby(keys.urgent(MODEL), -LONG_S, job_id)


@pytest.fixture
def fleet(control: Redis, servers: Settings) -> Fleet:
    control.flushall()
    return Fleet(control, servers)


def advance(attempt: Attempt, step: int = 1, total: int = 4) -> bool:
    """A renewal of the lease; returns whether the job is to give its device away."""
    attempt.advance(step, total)
    return attempt.is_preempted


def test_an_interactive_job_is_taken_next_and_the_batch_job_goes_on_after_it(fleet: Fleet) -> None:
    batch = fleet.submit("batch")
    attempt = fleet.begin()
    waiting = [fleet.submit("batch") for _ in range(3)]
    urgent = fleet.submit("interactive")
    assert not advance(attempt)  # a free worker may still take it
    fleet.wait_long()
    assert advance(attempt)
    attempt.hand_over()
    fleet.queue.send(batch, MODEL, "again")
    # Then what had waited in the queue comes after the interactive job, and what is held after the batch job
    assert fleet.held.take_all() == [urgent, waiting[0], batch, *waiting[1:]]
    job = fleet.jobs.get(batch)
    assert (job.attempts, job.hand_overs, job.infrastructure_losses) == (1, 1, 0)


def test_only_one_job_gives_its_device_away_for_an_interactive_job(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.submit("batch")
    attempts = [fleet.begin(), fleet.begin()]
    fleet.submit("interactive")
    fleet.wait_long()
    assert [advance(attempt) for attempt in attempts] == [True, False]
    assert [advance(attempt, step=2) for attempt in attempts] == [True, False]


@pytest.mark.parametrize("priority", ["interactive", "normal"])
def test_only_batch_jobs_give_their_device_away(priority: Any, fleet: Fleet) -> None:
    fleet.submit(priority)
    attempt = fleet.begin()
    fleet.submit("interactive")
    fleet.wait_long()
    assert not advance(attempt)


@pytest.mark.parametrize("priority", ["normal", "batch"])
def test_only_for_interactive_jobs_is_a_device_given_away(priority: Any, fleet: Fleet) -> None:
    fleet.submit("batch")
    attempt = fleet.begin()
    fleet.submit(priority)
    fleet.wait_long()
    assert not advance(attempt)


def test_a_batch_job_that_has_nearly_ended_or_just_begun_keeps_its_device(fleet: Fleet) -> None:
    job_id = fleet.submit("batch")
    attempt = fleet.begin()
    fleet.submit("interactive")
    fleet.wait_long()
    assert not advance(attempt, step=39, total=40)
    fleet.redis.hset(keys.job(job_id), "step", 1)
    fleet.redis.hincrbyfloat(keys.job(job_id), "started_at", LONG_S)
    assert not advance(attempt, step=2, total=40)


def test_a_tenant_that_has_been_given_more_takes_no_device_of_another(fleet: Fleet) -> None:
    for _ in range(5):
        fleet.submit("normal", "greedy")
        fleet.held.take()
    fleet.submit("batch", "modest")
    attempt = fleet.begin()
    fleet.redis.hset(keys.share("greedy"), f"virtual_time:{MODEL}", 1000)
    fleet.submit("interactive", "greedy")
    fleet.wait_long()
    assert not advance(attempt)
    # One that has been given less does
    fleet.submit("interactive", "new")
    fleet.redis.zrem(keys.urgent(MODEL), *fleet.redis.zrange(keys.urgent(MODEL), 0, 0))
    fleet.wait_long()
    assert advance(attempt)


def test_an_interactive_job_that_has_begun_or_ended_takes_no_device(fleet: Fleet) -> None:
    fleet.submit("batch")
    attempt = fleet.begin()
    begun, cancelled = fleet.submit("interactive"), fleet.submit("interactive")
    fleet.wait_long()
    assert fleet.jobs.claim(begun, "unet2@a") is not None
    fleet.jobs.cancel(cancelled)
    assert not advance(attempt)
    assert not fleet.redis.exists(keys.urgent(MODEL))


def test_a_job_that_is_preempted_again_and_again_fails_at_no_attempt(fleet: Fleet) -> None:
    batch = fleet.submit("batch")
    for _ in range(10):
        attempt = fleet.begin()
        assert attempt.job.id == batch
        urgent = fleet.submit("interactive")
        fleet.wait_long()
        assert advance(attempt)
        attempt.hand_over()
        fleet.queue.send(batch, MODEL, "again")
        assert fleet.held.take() == urgent
        fleet.jobs.cancel(urgent)
    assert fleet.redis.llen(unet_queue(MODEL)) == 1
    assert fleet.jobs.get(batch).status == "queued"
