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
from tests.shared.scheduling.waiting_jobs import WaitingJobs, message_ids

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
        self.tenants: dict[str, str] = {}
        self.priorities: dict[str, str] = {}
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
        self.models[job_id], self.tenants[job_id], self.priorities[job_id] = model, tenant, priority
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
        found = self.queue.heal_held(queued) - waiting
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
    def every_job_is_where_it_belongs(self) -> None:
        state = WaitingJobs(self.redis, MODELS, TENANTS)
        self._check_caps(state)
        self._check_places(state)
        self._check_held(state)
        self._check_interactive(state)
        self._check_released(state)

    def _check_caps(self, state: WaitingJobs) -> None:
        for tenant in TENANTS:
            released, cap = len(state.released(tenant)), state.cap(tenant)
            if cap is not None:
                assert released <= max(cap, self.released.get(tenant, 0)), "it has passed its cap"
            self.released[tenant] = released

    def _check_places(self, state: WaitingJobs) -> None:
        held = [job_id for model in MODELS for tenant in TENANTS for job_id in state.held(model, tenant)]
        messages = [job_id for model in MODELS for job_id in state.messages(model)]
        live = [job_id for job_id in messages if job_id in state.queued]  # of ended jobs messages may stay
        assert len(messages) == len(set(messages)), "a job was released twice"
        assert sorted([*held, *state.delayed, *live, *self.lost]) == sorted(state.queued)
        had_messages = {*live, *self.lost} - set(state.unsent)
        assert set(state.unclaimed) == had_messages, "not those that have or had a message"

    def _check_held(self, state: WaitingJobs) -> None:
        """Nothing is held while there is room."""
        for model in MODELS:
            tenants = state.held_tenants(model)
            if len(state.messages(model)) < 2:
                assert not tenants
            for tenant in TENANTS:
                has_jobs, cap = bool(state.held(model, tenant)), state.cap(tenant)
                assert has_jobs == (model in state.held_models(tenant))
                is_below = cap is None or len(state.released(tenant)) < cap
                assert (tenant in tenants) == (has_jobs and is_below)

    def _check_interactive(self, state: WaitingJobs) -> None:
        """Interactive jobs that wait are found."""
        for model in MODELS:
            known: set[str] = set()
            tenants, below_cap = state.urgent_tenants(model), state.held_tenants(model)
            for tenant in TENANTS:
                jobs, held = state.urgent_jobs(model, tenant), set(state.held(model, tenant))
                assert jobs >= {job_id for job_id in held if self.priorities[job_id] == "interactive"}
                assert jobs - held <= state.released(tenant)
                assert (tenant in tenants) == (tenant in below_cap and bool(jobs))
                given = state.virtual_time(model, tenant)
                assert tenants.get(tenant, given) == given
                known |= jobs - held
            assert state.urgent_released(model) == known

    def _check_released(self, state: WaitingJobs) -> None:
        """No more are released than may be."""
        for model in MODELS:
            assert len(state.messages(model)) <= 2 + self.firsts
        messages = {job_id for model in MODELS for job_id in state.messages(model)}
        for tenant in TENANTS:
            released = state.released(tenant)
            own = {
                job_id
                for job_id in (*state.running, *(messages & set(state.queued)))
                if self.tenants[job_id] == tenant
            }
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
        return message_ids(texts)

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
