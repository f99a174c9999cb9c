"""An interactive job takes a device from a batch job, which goes on later."""

from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs.attempt import Attempt
from shared.jobs.record import JobScheduling
from shared.jobs.store import JobStore
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
        """The next job, whose first step was long ago."""
        job_id = self.held.take()
        assert job_id is not None
        attempt = self.jobs.claim(job_id, "unet1@a")
        assert attempt is not None
        self.redis.hset(keys.job(job_id), "first_step_at", self.jobs.now() - LONG_S)
        return attempt

    def give_back(self, attempt: Attempt) -> None:
        """As a worker whose job is preempted."""
        attempt.hand_over()
        self.queue.send(attempt.job.id, MODEL, "again")

    def set_cap(self, tenant: str, cap: int) -> None:
        self.held.set_share(tenant, max_running_jobs=cap)

    def age(self, job_id: str, seconds: float) -> None:
        """A job was accepted so much sooner than it was."""
        self.redis.hincrbyfloat(keys.job(job_id), "order", -seconds)

    def wait_long(self) -> None:
        """Those that wait have waited for long."""
        for waiting in self.redis.scan_iter(keys.urgent_jobs(MODEL, "*")):
            jobs: Any = self.redis.zrange(waiting, 0, -1)
            for job_id in jobs:
                self.redis.zincrby(waiting, -LONG_S, job_id)


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
    fleet.give_back(attempt)
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
    fleet.redis.hdel(keys.job(job_id), "first_step_at")
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
    # One that has been given less does, also behind it
    fleet.submit("interactive", "new")
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
    assert not list(fleet.redis.scan_iter("swift:urgent*"))


def test_a_job_is_preempted_a_few_times_and_fails_at_none_of_them(fleet: Fleet) -> None:
    batch = fleet.submit("batch")
    for _ in range(3):
        attempt = fleet.begin()
        assert attempt.job.id == batch
        urgent = fleet.submit("interactive")
        fleet.wait_long()
        assert advance(attempt)
        fleet.give_back(attempt)
        assert fleet.held.take() == urgent
        fleet.jobs.cancel(urgent)
    attempt = fleet.begin()
    fleet.submit("interactive")
    fleet.wait_long()
    assert not advance(attempt)
    assert attempt.job.attempts - attempt.job.hand_overs == 1


def test_a_job_that_has_become_old_is_not_preempted(fleet: Fleet, servers: Settings) -> None:
    batch = fleet.submit("batch")
    attempt = fleet.begin()
    fleet.age(batch, 2 * servers.priority_ageing_s - 10)
    fleet.submit("interactive")
    fleet.wait_long()
    assert advance(attempt)
    fleet.age(batch, 20)
    assert not advance(attempt, step=2)


def test_a_job_is_not_preempted_before_a_step_of_this_attempt_was_done(fleet: Fleet) -> None:
    fleet.submit("batch")
    job_id = fleet.held.take()
    assert job_id is not None
    attempt = fleet.jobs.claim(job_id, "unet1@a")
    assert attempt is not None
    fleet.redis.hincrbyfloat(keys.job(job_id), "started_at", -LONG_S)  # the model was loaded since
    fleet.submit("interactive")
    fleet.wait_long()
    attempt.advance()
    assert not attempt.is_preempted
    assert not advance(attempt)  # it has just done its first one
    fleet.redis.hincrbyfloat(keys.job(job_id), "first_step_at", -LONG_S)
    assert advance(attempt, step=2)
    # Nor is the next attempt
    fleet.give_back(attempt)
    assert fleet.redis.hget(keys.job(job_id), "first_step_at") is None


def test_another_device_is_taken_in_place_of_one_that_its_job_keeps(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.submit("batch")
    attempts = [fleet.begin(), fleet.begin()]
    fleet.submit("interactive")
    fleet.wait_long()
    assert [advance(attempt) for attempt in attempts] == [True, False]
    attempts[0].keep_device()  # its state cannot be stored
    assert [advance(attempt, step=2) for attempt in attempts] == [False, True]


def test_a_job_of_a_tenant_at_its_cap_takes_no_device_and_is_passed_over(fleet: Fleet) -> None:
    fleet.set_cap("capped", 1)
    fleet.submit("normal", "capped")
    assert fleet.held.take() is not None
    fleet.submit("batch", "other")
    attempt = fleet.begin()
    capped = fleet.submit("interactive", "capped")
    fleet.redis.hset(keys.share("other"), f"virtual_time:{MODEL}", 1000)
    fleet.wait_long()
    assert not advance(attempt)
    # When one of another tenant waits behind it, then that one does
    third = fleet.submit("interactive", "third")
    fleet.wait_long()
    assert advance(attempt, step=2)
    fleet.give_back(attempt)
    assert fleet.held.take() == third
    assert fleet.redis.zscore(keys.urgent_jobs(MODEL, "capped"), capped) is not None  # it may yet


def test_a_tenant_that_reaches_its_cap_meanwhile_gets_no_device(fleet: Fleet) -> None:
    fleet.submit("batch", "other")
    attempt = fleet.begin()
    waiting = fleet.submit("batch", "other")
    fleet.redis.hset(keys.share("other"), f"virtual_time:{MODEL}", 1000)
    urgent = fleet.submit("interactive", "capped")
    fleet.wait_long()
    assert advance(attempt)
    attempt.hand_over()
    fleet.set_cap("capped", 0)
    fleet.queue.send(attempt.job.id, MODEL, "again")
    assert fleet.redis.scard(keys.released("capped")) == 0
    assert fleet.held.take_all() == [waiting, attempt.job.id]
    # And it has kept its right
    assert fleet.redis.zscore(keys.urgent_jobs(MODEL, "capped"), urgent) is not None


@pytest.mark.parametrize(("cap", "takes_it"), [(1, True), (0, False)])
def test_within_a_tenant_the_batch_job_makes_room_below_the_cap(
    cap: int, takes_it: bool, fleet: Fleet
) -> None:
    fleet.set_cap("one", 1)
    fleet.submit("batch", "one")
    attempt = fleet.begin()
    urgent = fleet.submit("interactive", "one")
    fleet.set_cap("one", cap)
    fleet.wait_long()
    assert advance(attempt) == takes_it
    if takes_it:
        fleet.give_back(attempt)
        assert fleet.held.take() == urgent
        assert fleet.redis.smembers(keys.released("one")) == {urgent}


@pytest.mark.parametrize("happens", ["claimed", "cancelled", "deleted"])
def test_a_device_is_not_given_away_for_a_job_that_waits_no_more(happens: str, fleet: Fleet) -> None:
    fleet.submit("batch")
    attempt = fleet.begin()
    urgent = fleet.submit("interactive")
    fleet.wait_long()
    assert advance(attempt)
    if happens == "claimed":
        assert fleet.jobs.claim(urgent, "unet2@a") is not None
    elif happens == "cancelled":
        fleet.jobs.cancel(urgent)
    else:
        fleet.jobs.delete(urgent)
    assert not advance(attempt, step=2)
    assert fleet.redis.hget(keys.job(attempt.job.id), "preempted_by") is None


def test_an_interactive_job_keeps_its_right_if_the_worker_of_the_batch_job_dies(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.submit("batch")
    dying, other = fleet.begin(), fleet.begin()
    fleet.submit("interactive")
    fleet.wait_long()
    assert advance(dying)
    assert not advance(other)
    fleet.jobs.observe()
    fleet.redis.delete(keys.lease(dying.job.id))
    fleet.redis.hset(keys.SERVER, "since", 0)
    assert fleet.jobs.orphans() == [dying.job.id]
    assert advance(other, step=2)


class Crowd:
    """A batch job of the tenant ``modest``, and interactive jobs of others that may not take its device."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        fleet.submit("batch", "modest")
        self.attempt = fleet.begin()
        fleet.redis.hset(keys.share("modest"), f"virtual_time:{MODEL}", 10)

    def grow(self, tenants: int, jobs: int, *, are_at_cap: bool) -> None:
        for n in range(tenants):
            tenant = f"greedy{n}"
            if are_at_cap:
                self._fleet.set_cap(tenant, 0)
            else:
                self._fleet.redis.hset(keys.share(tenant), f"virtual_time:{MODEL}", 1000)
            for _ in range(jobs):
                self._fleet.submit("interactive", tenant)
        self._fleet.wait_long()

    def count_commands(self) -> int:
        """Of a renewal of the batch job's lease, which goes on, without progress.

        The least of some: other processes of the tests may send commands meanwhile.
        """
        assert not advance(self.attempt)
        return min(self._count_commands() for _ in range(10))

    def _count_commands(self) -> int:
        self._fleet.redis.config_resetstat()
        assert not advance(self.attempt)
        stats: Any = self._fleet.redis.info("commandstats")
        return sum(int(one["calls"]) for one in stats.values())


@pytest.mark.parametrize("are_at_cap", [True, False])
@pytest.mark.parametrize(("tenants", "jobs"), [(1, 70), (70, 1)])
def test_who_may_take_no_device_is_in_nobodys_way(
    tenants: int, jobs: int, are_at_cap: bool, fleet: Fleet
) -> None:
    crowd = Crowd(fleet)
    crowd.grow(tenants, jobs, are_at_cap=are_at_cap)
    assert not advance(crowd.attempt)
    new = fleet.submit("interactive", "new")
    fleet.wait_long()
    assert advance(crowd.attempt)
    fleet.give_back(crowd.attempt)
    assert fleet.held.take() == new


@pytest.mark.parametrize("are_at_cap", [True, False])
@pytest.mark.parametrize(("tenants", "jobs"), [(1, 70), (70, 1)])
def test_a_renewal_costs_the_same_however_many_wait(
    tenants: int, jobs: int, are_at_cap: bool, fleet: Fleet
) -> None:
    crowd = Crowd(fleet)
    crowd.grow(2, 2, are_at_cap=are_at_cap)
    few = crowd.count_commands()
    crowd.grow(tenants, jobs, are_at_cap=are_at_cap)
    assert crowd.count_commands() == few


@pytest.mark.parametrize(("tenants", "jobs"), [(1, 20), (20, 1)])
def test_of_many_that_were_given_less_each_takes_a_device(tenants: int, jobs: int, fleet: Fleet) -> None:
    for _ in range(20):
        fleet.submit("batch", "modest")
    running = [fleet.begin() for _ in range(20)]
    for n in range(tenants):
        for _ in range(jobs):
            fleet.submit("interactive", f"new{n}")
    fleet.wait_long()
    step = 0
    while running:
        step += 1
        fleet.redis.hset(keys.share("modest"), f"virtual_time:{MODEL}", 1000)
        preempted = [attempt for attempt in running if advance(attempt, step, 40)]
        assert preempted, "some wait, and nobody gives a device away"
        running = [attempt for attempt in running if attempt not in preempted]
        for attempt in preempted:
            fleet.give_back(attempt)
            job_id = fleet.held.take()
            assert job_id is not None
            assert fleet.jobs.claim(job_id, "unet2@a") is not None
            assert fleet.redis.hget(keys.job(job_id), "priority") == "interactive"


def test_what_a_tenant_used_less_than_estimated_does_not_keep_its_own_jobs_waiting(fleet: Fleet) -> None:
    ended, batch = fleet.submit("normal"), fleet.submit("batch")
    first, attempt = fleet.begin(), fleet.begin()
    assert (first.job.id, attempt.job.id) == (ended, batch)
    fleet.submit("interactive")
    fleet.jobs.script("finish", ended, first.token, "succeeded")
    fleet.wait_long()
    assert advance(attempt)
