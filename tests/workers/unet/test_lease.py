from collections.abc import Callable

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from shared import keys
from shared.errors import AttemptLost, DeadlineExceeded, JobCancelled
from shared.jobs.attempt import Attempt
from shared.jobs.job_script import silence_s
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.redis_clients import control_redis
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from tests.workers.unet.specs import spec
from workers.unet.lease import MAX_INTERVAL_S, Lease, RateLimit
from workers.unet.maintenance.recovery import LOOK_EVERY_S


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    return JobStore(control, servers)


@pytest.fixture
def attempt(jobs: JobStore) -> Attempt:
    claimed = jobs.claim(jobs.create(spec(), tenant=LOCAL)[0], "unet1@test")
    assert claimed is not None
    return claimed


def test_a_preview_that_fails_does_not_end_the_lease(
    attempt: Attempt, jobs: JobStore, servers: Settings
) -> None:
    jobs.redis.set(f"swift:job:{attempt.job.id}:watched", 1)

    def broken() -> str:
        raise MemoryError("no room for a preview")

    with Lease(attempt, servers) as lease:
        lease.report_progress(1, 6, broken)
        eventually(lambda: jobs.get(attempt.job.id).step == 1)
        lease.report_progress(2, 6, lambda: "cGljdHVyZQ==")
        eventually(lambda: jobs.get(attempt.job.id).step == 2)
        lease.check()


class UnansweredOnce(Attempt):
    """The first progress that it reports does not arrive."""

    def __init__(self, jobs: JobStore, attempt: Attempt) -> None:
        super().__init__(jobs.script, attempt.job, attempt.token, renewals=jobs.script)
        self.reported: list[int] = []
        self.when_lost: Callable[[], None] = lambda: None

    def advance(self, step: int | None = None, total: int | None = None) -> None:
        if step is not None:
            self.reported.append(step)
            if len(self.reported) == 1:
                self.when_lost()
                raise ConnectionError("no answer")
        super().advance(step, total)


def test_progress_that_did_not_arrive_is_reported_with_the_next_renewal(
    attempt: Attempt, jobs: JobStore, servers: Settings
) -> None:
    unanswered = UnansweredOnce(jobs, attempt)
    with Lease(unanswered, servers.model_copy(update={"lease_s": 0.3})) as lease:
        lease.report_progress(1, 6, lambda: "")
        eventually(lambda: jobs.get(attempt.job.id).step == 1)
    assert unanswered.reported == [1, 1]


def test_progress_that_did_not_arrive_gives_way_to_newer(
    attempt: Attempt, jobs: JobStore, servers: Settings
) -> None:
    unanswered = UnansweredOnce(jobs, attempt)
    with Lease(unanswered, servers.model_copy(update={"lease_s": 0.3})) as lease:
        unanswered.when_lost = lambda: lease.report_progress(2, 6, lambda: "")
        lease.report_progress(1, 6, lambda: "")
        eventually(lambda: jobs.get(attempt.job.id).step == 2)
    assert unanswered.reported == [1, 2]


def is_cancelled(lease: Lease) -> bool:
    try:
        lease.check()
    except JobCancelled:
        return True
    return False


def test_a_cancel_is_noticed_between_two_steps(attempt: Attempt, jobs: JobStore, servers: Settings) -> None:
    with Lease(attempt, servers.model_copy(update={"lease_s": 0.3})) as lease:
        lease.check()
        jobs.cancel(attempt.job.id)
        eventually(lambda: is_cancelled(lease))
        with pytest.raises(JobCancelled):
            lease.check()


def test_a_connection_that_is_dead_without_being_closed_delays_neither_renewal_nor_cancel(
    jobs: JobStore, servers: Settings
) -> None:
    short = servers.model_copy(update={"lease_s": 1.0})
    job_id = jobs.create(spec(), tenant=LOCAL)[0]
    with proxied(servers.redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        behind = JobStore(control_redis(short.model_copy(update={"redis_url": url})), short)
        far = behind.claim(job_id, "unet2@test")
        assert far is not None
        with Lease(far, short) as lease:
            far.advance()
            # Given a lease that is renewed over a connection which passes nothing any more
            proxy.silence()
            jobs.redis.delete(keys.lease(job_id))
            # Then it is renewed over another one, long before the client's usual timeout
            eventually(lambda: jobs.is_held(job_id, far.token))
            # And so is a cancel noticed
            proxy.silence()
            jobs.cancel(job_id)
            eventually(lambda: is_cancelled(lease))


def test_a_job_whose_step_hangs_is_failed_at_its_deadline_and_its_lease_ends(
    attempt: Attempt, jobs: JobStore, servers: Settings
) -> None:
    # Given a loop that does not come back after its deadline
    settings = servers.model_copy(update={"job_timeout_s": 0.1, "stuck_grace_s": 0.2, "lease_s": 0.3})
    with Lease(attempt, settings) as lease:
        eventually(lambda: jobs.get(attempt.job.id).status == "failed")
        # Then others see why, nobody holds the job, and what the loop still does is void
        error = jobs.get(attempt.job.id).error
        assert error is not None
        assert (error.code, "step hung" in error.detail) == ("deadline_exceeded", True)
        assert not jobs.is_held(attempt.job.id, attempt.token)
        with pytest.raises(AttemptLost):
            lease.check()


def test_a_job_past_its_deadline_is_left_to_its_loop_for_a_moment(
    attempt: Attempt, jobs: JobStore, servers: Settings
) -> None:
    settings = servers.model_copy(update={"job_timeout_s": 0.001, "stuck_grace_s": 600, "lease_s": 0.1})
    with Lease(attempt, settings) as lease:
        eventually(lambda: raises_deadline(lease))
        assert jobs.get(attempt.job.id).status == "running"


def raises_deadline(lease: Lease) -> bool:
    try:
        lease.check()
    except DeadlineExceeded:
        return True
    return False


def test_a_rate_limit_allows_one_in_each_interval() -> None:
    limit = RateLimit(0.25)
    assert [now_s for now_s in (5.0, 5.125, 5.25, 5.375, 6.0, 6.125) if limit.allows(now_s)] == [
        5.0,
        5.25,
        6.0,
    ]


def test_no_lease_expires_in_an_outage_of_redis_that_is_not_noticed() -> None:
    """A silence that counts as an outage is shorter than what is left of a lease that is renewed in time."""
    for lease_s in (3.0, Settings().lease_s, 60.0):
        renewed_every_s = min(lease_s / 4, MAX_INTERVAL_S)
        looked_every_s = min(lease_s / 8, LOOK_EVERY_S)
        assert silence_s(lease_s) < lease_s - renewed_every_s
        # And whoever looks for expired leases is heard of often enough
        assert looked_every_s <= silence_s(lease_s) / 4
