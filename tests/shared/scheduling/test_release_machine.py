"""Held and released jobs under random submissions, losses, cancels and preemptions: each has one place."""

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from shared import keys
from shared.errors import JobCancelled
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure, JobScheduling
from shared.jobs.spec import LoraRef
from shared.jobs.store import JobStore
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.storage.loras import version_of
from tests.shared.jobs.records import spec
from tests.shared.scheduling.held_jobs import set_share

MODELS, TENANTS, CAP = ("m", "n"), ("local", "a", "b"), 2
WHY = Failure(code="unavailable", detail="away")


class Jobs(RuleBasedStateMachine):
    """An API that may die before it places a job, workers that may lose messages and jobs, and recovery."""

    jobs: JobStore
    queue: FairQueue
    bucket: str  # of LoRAs
    known = Bundle("known")
    attempts = Bundle("attempts")
    late = Bundle("late")

    def __init__(self) -> None:
        super().__init__()
        self.redis: Redis = self.jobs.redis
        self.redis.flushdb()
        set_share(self.redis, self.queue, "a", weight=3)
        set_share(self.redis, self.queue, "b", max_running_jobs=CAP)
        for n in range(2):
            self.queue.serve(f"unet{n}@a", MODELS, 600)
        self.lost: set[str] = set()  # queued jobs that have no place until recovery gives them one
        self.models: dict[str, str] = {}
        self.firsts = 0  # messages that did not wait for room in the window
        self.released: dict[str, int] = {}  # jobs of each tenant, before the latest step

    @rule(
        target=known,
        model=st.sampled_from(MODELS),
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(["interactive", "normal", "batch"]),
        loras=st.sampled_from([(), ("x",), ("x",), ("y",), ("x", "y")]),
        is_placed=st.sampled_from([True, True, True, False]),
    )
    def submit(self, model: str, tenant: str, priority: Any, loras: Any, is_placed: bool) -> str:
        scheduling = JobScheduling(priority, 2.0)
        wanted = spec(model=model, loras=[LoraRef(name=name, etag="e", size_bytes=1) for name in loras])
        job_id, _ = self.jobs.create(wanted, tenant=tenant, scheduling=scheduling)
        self.models[job_id] = model
        if is_placed:
            self.queue.place(job_id, model)
        else:
            self.lost.add(job_id)
        return job_id

    @rule(target=attempts, model=st.sampled_from(MODELS))
    def take(self, model: str) -> Any:
        """A worker takes a message and claims its job."""
        job_id = self._take_message(model)
        attempt = job_id and self.jobs.claim(job_id, "w")
        self.queue.release([model])
        return attempt or multiple()

    @rule(target=late, model=st.sampled_from(MODELS))
    def lose(self, model: str) -> Any:
        """A worker takes a message, and dies, or is paused, before it claims the job."""
        job_id = self._take_message(model)
        if job_id and self.redis.hget(keys.job(job_id), "status") == "queued":
            self.lost.add(job_id)
        self.queue.release([model])
        return job_id or multiple()

    @rule(target=attempts, job_id=consumes(late))
    def claim_late(self, job_id: str) -> Any:
        """A worker that was paused goes on; recovery may have given the job another place meanwhile."""
        if any(job_id in self._messages(model) for model in MODELS):
            return multiple()  # it was released again: whoever claims it first has it
        attempt = self.jobs.claim(job_id, "w")
        if attempt is not None:
            self.lost.discard(job_id)
        self.queue.release(MODELS)
        return attempt or multiple()

    @rule(attempt=consumes(attempts))
    def succeed(self, attempt: Attempt) -> None:
        if self._is_running(attempt):
            self.jobs.script("finish", attempt.job.id, attempt.token, "succeeded")
        self.queue.release(MODELS)

    @rule(attempt=consumes(attempts), where=st.sampled_from(["first", "last", "later", "again", None]))
    def give_back(self, attempt: Attempt, where: Any) -> None:
        """``None``: the worker dies before it has given the job its place."""
        if not self._is_running(attempt):
            return
        if where in ("first", "again"):
            attempt.hand_over()
        else:
            attempt.requeue(WHY, is_infrastructure=True)
        job_id = attempt.job.id
        if self.redis.hget(keys.job(job_id), "status") != "queued":  # it was cancelled meanwhile
            return
        if where is None:
            self.lost.add(job_id)
            return
        self.queue.send(job_id, self.models[job_id], where)
        self.firsts += where == "first"

    @rule(attempt=consumes(attempts))
    def preempt(self, attempt: Attempt) -> Any:
        """The attempt and all that wait have gone on for long; an interactive job may take the device."""
        if not self._is_running(attempt):
            return
        self.redis.hset(keys.job(attempt.job.id), "first_step_at", 1)
        for waiting in self.redis.scan_iter("swift:urgent_jobs:*"):
            jobs: Any = self.redis.zrange(waiting, 0, -1)
            self.redis.zadd(waiting, dict.fromkeys(jobs, 1))
        try:
            attempt.advance()
        except JobCancelled:
            return
        if attempt.is_preempted:
            attempt.hand_over()
            self.queue.send(attempt.job.id, self.models[attempt.job.id], "again")
            self.firsts += 1

    @rule(model=st.sampled_from(MODELS), patched=st.sampled_from([("x",), ("y",), ("x", "y")]))
    def prefer(self, model: str, patched: tuple[str, ...]) -> None:
        """A worker is about to take the next job of a model, and has these LoRAs in its weights."""
        self.queue.prefer(model, [version_of(self.bucket, name, "e") for name in patched])

    @rule()
    def recover(self) -> None:
        queued: Any = self.redis.zrange(keys.by_status("queued"), 0, -1)
        waiting = {job_id for model in MODELS for job_id in self._messages(model)}
        found = self.queue.unplaced(queued) - waiting
        assert found == self.lost
        for job_id in sorted(found):
            self.queue.send(job_id, self.models[job_id], "last")
        self.lost.clear()

    @rule()
    def pass_time(self) -> None:
        """Delays are over."""
        for job_id in self.redis.zrange(keys.DELAYED, 0, -1):
            self.redis.zadd(keys.DELAYED, {job_id: 1})
        self.queue.release(MODELS)

    @rule(job_id=known)
    def cancel(self, job_id: str) -> None:
        self.jobs.script("cancel", job_id)
        self._forget_lost()

    @rule(job_id=consumes(known))
    def delete(self, job_id: str) -> None:
        self.jobs.script("delete", job_id)
        self._forget_lost()

    @rule(tenant=st.sampled_from(["a", "b"]), cap=st.sampled_from([None, 1, CAP]))
    def change_cap(self, tenant: str, cap: int | None) -> None:
        set_share(self.redis, self.queue, tenant, weight=3, max_running_jobs=cap)

    @invariant()
    def no_tenant_has_more_released_than_its_cap(self) -> None:
        for tenant in TENANTS:
            released = int(self.redis.scard(keys.released(tenant)))
            cap: Any = self.redis.hget(keys.tenant(tenant), "max_running_jobs")
            if cap is not None:
                assert released <= max(int(cap), self.released.get(tenant, 0)), "it has passed its cap"
            self.released[tenant] = released

    @invariant()
    def every_job_has_one_place(self) -> None:
        held = [
            job_id
            for model in MODELS
            for tenant in TENANTS
            for job_id in self.redis.zrange(keys.held(model, tenant), 0, -1)
        ]
        delayed = self.redis.zrange(keys.DELAYED, 0, -1)
        messages = [job_id for model in MODELS for job_id in self._messages(model)]
        queued: Any = self.redis.zrange(keys.by_status("queued"), 0, -1)
        live = [job_id for job_id in messages if job_id in queued]  # of ended jobs messages may stay
        assert len(messages) == len(set(messages)), "a job was released twice"
        assert sorted([*held, *delayed, *live, *self.lost]) == sorted(queued)
        unclaimed: Any = self.redis.zrange(keys.UNCLAIMED, 0, -1)
        unsent: Any = self.redis.zrange(keys.UNSENT, 0, -1)
        assert set(unclaimed) == {*live, *self.lost} - set(unsent), "not those that have or had a message"

    @invariant()
    def nothing_is_held_while_there_is_room(self) -> None:
        for model in MODELS:
            tenants = set(self.redis.zrange(keys.held_tenants(model), 0, -1))
            if self.redis.llen(unet_queue(model)) < 2:
                assert not tenants
            for tenant in TENANTS:
                has_jobs = bool(self.redis.exists(keys.held(model, tenant)))
                assert has_jobs == bool(self.redis.sismember(keys.held_models(tenant), model))
                cap = self.redis.hget(keys.tenant(tenant), "max_running_jobs")
                is_below = cap is None or self.redis.scard(keys.released(tenant)) < int(cap)
                assert (tenant in tenants) == (has_jobs and is_below)

    @invariant()
    def interactive_jobs_that_wait_are_found(self) -> None:
        for model in MODELS:
            known: set[str] = set()
            scores: Any = self.redis.zrange(keys.urgent_tenants(model), 0, -1, withscores=True)
            tenants = dict(scores)
            below_cap = set(self.redis.zrange(keys.held_tenants(model), 0, -1))
            for tenant in TENANTS:
                jobs: Any = set(self.redis.zrange(keys.urgent_jobs(model, tenant), 0, -1))
                held: Any = set(self.redis.zrange(keys.held(model, tenant), 0, -1))
                assert jobs >= {job_id for job_id in held if self._priority(job_id) == "interactive"}
                assert jobs - held <= self.redis.smembers(keys.released(tenant))
                assert (tenant in tenants) == (tenant in below_cap and bool(jobs))
                given = self.redis.hget(keys.share(tenant), f"virtual_time:{model}")
                assert tenants.get(tenant, float(given or 0)) == float(given or 0)
                known |= jobs - held
            assert set(self.redis.zrange(keys.urgent_released(model), 0, -1)) == known

    @invariant()
    def no_more_are_released_than_may_be(self) -> None:
        for model in MODELS:
            assert self.redis.llen(unet_queue(model)) <= 2 + self.firsts
        running: Any = self.redis.zrange(keys.by_status("running"), 0, -1)
        messages = {job_id for model in MODELS for job_id in self._messages(model)}
        queued: Any = set(self.redis.zrange(keys.by_status("queued"), 0, -1))
        for tenant in TENANTS:
            released = self.redis.smembers(keys.released(tenant))
            own = {job for job in (*running, *(messages & queued)) if self._tenant(job) == tenant}
            assert own <= released, "a job that was released is not counted"
            assert released - own <= self.lost, "one that is not is counted"

    def teardown(self) -> None:
        everything: Any = self.redis.zrange(keys.JOBS, 0, -1)
        for job_id in everything:
            self.jobs.script("cancel", job_id)
            self.jobs.script("delete", job_id)
        left = [
            key
            for pattern in ("held", "released", "delayed", "urgent", "unclaimed")
            for key in self.redis.scan_iter(f"swift:{pattern}*")
        ]
        assert left == []

    def _is_running(self, attempt: Attempt) -> bool:
        found: Any = self.redis.hmget(keys.job(attempt.job.id), "status", "attempt")
        return bool(found == ["running", attempt.token])

    def _take_message(self, model: str) -> str | None:
        text: Any = self.redis.rpop(unet_queue(model))
        return None if text is None else str(json.loads(text)["headers"]["id"])

    def _messages(self, model: str) -> list[str]:
        texts: Any = self.redis.lrange(unet_queue(model), 0, -1)
        return [json.loads(text)["headers"]["id"] for text in texts]

    def _tenant(self, job_id: str) -> str:
        return str(self.redis.hget(keys.job(job_id), "tenant"))

    def _priority(self, job_id: str) -> str:
        return str(self.redis.hget(keys.job(job_id), "priority"))

    def _forget_lost(self) -> None:
        queued: Any = self.redis.zrange(keys.by_status("queued"), 0, -1)
        self.lost &= set(queued)
        self.queue.release(MODELS)


def test_no_order_of_events_loses_a_job_or_releases_it_twice(control: Redis, servers: Settings) -> None:
    Jobs.jobs = JobStore(control, servers.model_copy(update={"lease_s": 60, "max_attempts": 100}))
    Jobs.queue, Jobs.bucket = FairQueue(control, servers), servers.lora_bucket
    run_state_machine_as_test(
        Jobs,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
