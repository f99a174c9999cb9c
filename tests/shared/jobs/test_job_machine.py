"""The state machine of jobs under random verbs, deaths, restarts of Redis and deletions."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from shared import keys
from shared.errors import AttemptLost, JobCancelled, NotFound
from shared.jobs.attempt import Attempt
from shared.jobs.record import ENDED, Failure
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.api.services import receipt_of
from tests.shared.jobs.records import spec

WHY = Failure(code="unavailable", detail="away")
TENANTS = ("local", "acme", "globex")
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


class Jobs(RuleBasedStateMachine):
    """A client, workers that may die or lose their lease, recovery, and a server that restarts."""

    jobs: JobStore
    known = Bundle("known")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.jobs.redis.flushdb()
        self.has_restarted, self.may_take_back = False, True
        self.status: dict[str, str] = {}  # how jobs ended, or "" for those that live
        self.tenant: dict[str, str] = {}
        self.holder: dict[str, str] = {}  # the attempt that may write

    @initialize(target=known)
    def begin(self) -> str:
        return self.create()

    @precondition(lambda self: list(self.status.values()).count("") < 2)  # so that much happens to each
    @rule(target=known)
    def create(self) -> str:
        tenant = TENANTS[len(self.status) % len(TENANTS)]
        job_id, is_new = self.jobs.create(spec(), tenant=tenant)
        assert is_new
        self.status[job_id], self.tenant[job_id] = "", tenant
        return job_id

    @rule(target=attempts)
    def claim(self) -> Any:
        """A worker takes the first job that it gets."""
        for job_id in self.status:
            attempt = self.jobs.claim(job_id, "w")
            if attempt is not None:
                assert job_id not in self.holder, "two attempts hold one job"
                self.holder[job_id] = attempt.token
                return attempt
        return multiple()

    @rule(attempt=attempts)
    def advance(self, attempt: Attempt) -> None:
        self._write(attempt, lambda: attempt.advance(1, 4))

    @rule(attempt=consumes(attempts))
    def succeed(self, attempt: Attempt) -> None:
        self._write(attempt, lambda: attempt.succeed([], receipt_of(attempt.job.spec), []), "succeeded")

    @rule(attempt=consumes(attempts), is_infrastructure=st.booleans())
    def requeue(self, attempt: Attempt, is_infrastructure: bool) -> None:
        self._write(attempt, lambda: attempt.requeue(WHY, is_infrastructure=is_infrastructure))
        if self.holder.get(attempt.job.id) == attempt.token:
            del self.holder[attempt.job.id]

    @rule(attempt=consumes(attempts))
    def hand_over(self, attempt: Attempt) -> None:
        self._write(attempt, attempt.hand_over)
        if self.holder.get(attempt.job.id) == attempt.token:
            del self.holder[attempt.job.id]

    @rule(attempt=attempts)
    def lose_lease(self, attempt: Attempt) -> None:
        self.jobs.redis.delete(keys.lease(attempt.job.id))

    @rule(attempt=attempts)
    def take_back(self, attempt: Attempt) -> None:
        """Long after the worker was heard of last."""
        self.lose_lease(attempt)
        self.recover()
        self.pass_time()
        self.recover()

    @rule()
    def restart(self) -> None:
        """After an outage that was longer than a lease."""
        for job_id in self.status:
            self.jobs.redis.delete(keys.lease(job_id))
        self.jobs.redis.hset(keys.SERVER, "run_id", "0" * 40)
        self.has_restarted = True

    @rule()
    def pass_time(self) -> None:
        self.jobs.redis.hset(keys.SERVER, "since", 0)
        self.may_take_back = True

    @rule()
    def recover(self) -> None:
        if self.has_restarted:
            self.has_restarted, self.may_take_back = False, False
        orphans = self.jobs.orphans()
        assert self.may_take_back or not orphans, "a lease could not be renewed yet"
        for job_id in orphans:
            assert self.jobs.get(job_id).status == "queued"
        for job_id in list(self.holder):
            if self.jobs.redis.hget(keys.job(job_id), "attempt") != self.holder[job_id]:
                assert not self.jobs.redis.exists(keys.lease(job_id))
                del self.holder[job_id]

    @rule(job_id=known)
    def cancel(self, job_id: str) -> None:
        if self.status[job_id] == "deleted":
            with pytest.raises(NotFound):
                self.jobs.cancel(job_id)
        else:
            self.jobs.cancel(job_id)

    @rule(job_id=known)
    def delete(self, job_id: str) -> None:
        if self.status[job_id] == "deleted":
            with pytest.raises(NotFound):
                self.jobs.delete(job_id)
        else:
            self.jobs.delete(job_id)
        self.status[job_id] = "deleted"
        self.holder.pop(job_id, None)

    @rule(job_id=known)
    def heal(self, job_id: str) -> None:
        self.jobs.heal([job_id])

    @invariant()
    def every_job_is_whole(self) -> None:
        listed = {status: set(self.jobs.redis.zrange(keys.by_status(status), 0, -1)) for status in STATUSES}
        for status in ("queued", "running"):  # `spec` names one model
            assert set(self.jobs.redis.zrange(keys.by_model(status, "m"), 0, -1)) == listed[status]
        for job_id, ended in self.status.items():
            if ended == "deleted":
                assert not list(self.jobs.redis.scan_iter(keys.job(job_id)))
                assert all(job_id not in ids for ids in listed.values())
                continue
            job = self.jobs.get(job_id)
            assert [status for status in STATUSES if job_id in listed[status]] == [job.status]
            assert not ended or job.status == ended, "a job ended twice"
            if job.status in ENDED:
                self.status[job_id] = job.status
                self.holder.pop(job_id, None)
            kinds = [fields["type"] for _, fields in self.jobs.redis.xrange(keys.events(job_id))]
            assert kinds.count("done") == (job.status in ENDED)

    @invariant()
    def the_lists_of_tenants_are_those_of_all(self) -> None:
        for status in ("", *(f":{status}" for status in STATUSES)):
            ids = self.jobs.redis.zrange(keys.JOBS + status, 0, -1)
            for tenant in TENANTS:
                own = self.jobs.redis.zrange(keys.jobs_of(tenant) + status, 0, -1)
                assert own == [job_id for job_id in ids if self.tenant[job_id] == tenant]

    def _write(self, attempt: Attempt, write: Callable[[], None], ends: str = "") -> None:
        """Only the attempt that holds a job may write, and each write of another is refused."""
        job_id = attempt.job.id
        holds = self.holder.get(job_id) == attempt.token

        try:
            write()
        except AttemptLost:
            assert not holds
        except JobCancelled:
            assert holds
        else:
            assert holds
            if ends:
                assert self.jobs.get(job_id).status == ends


def test_no_order_of_events_loses_a_job_or_ends_it_twice(control: Redis, servers: Settings) -> None:
    Jobs.jobs = JobStore(control, servers.model_copy(update={"lease_s": 60, "max_attempts": 3}))
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Jobs,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
