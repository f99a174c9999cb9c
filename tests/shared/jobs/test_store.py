import json
import threading

import pytest
from redis import Redis

from shared import keys
from shared.errors import AttemptLost, Conflict, JobCancelled, NotFound
from shared.jobs.events import stream_events
from shared.jobs.options import LoraLoading
from shared.jobs.record import Failure, JobScheduling
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import Settings
from tests.infra.local.waiting import eventually

SPEC = JobSpec(
    model="m",
    prompt="a cat",
    negative_prompt="",
    width=None,
    height=None,
    num_inference_steps=4,
    guidance_scale=3.0,
    scheduler="ddim",
    seed=2**63 - 1,
    num_images=1,
    controlnets=[],
    loras=[],
    lora_loading=LoraLoading(),
)


WHY = Failure(code="residual_timeout", detail="no residuals")


@pytest.fixture
def jobs(control: Redis, servers: Settings) -> JobStore:
    return JobStore(control, servers.model_copy(update={"max_attempts": 2, "lease_s": 0.05}))


def test_a_new_job_is_queued_and_keeps_its_spec(jobs: JobStore) -> None:
    job_id, is_new = jobs.create(SPEC, tenant=LOCAL)
    job = jobs.get(job_id)
    assert is_new
    assert (job.status, job.spec, job.attempts) == ("queued", SPEC, 0)


def test_an_idempotency_key_returns_the_first_job_and_refuses_another_request(jobs: JobStore) -> None:
    first = jobs.create(SPEC, idempotency_key="k", digest="d", tenant=LOCAL)
    assert jobs.create(SPEC, idempotency_key="k", digest="d", tenant=LOCAL) == (first[0], False)
    with pytest.raises(Conflict):
        jobs.create(SPEC, idempotency_key="k", digest="e", tenant=LOCAL)


def test_only_one_of_many_workers_claims_a_job(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    claims: list[object] = []
    threads = [
        threading.Thread(target=lambda i=i: claims.append(jobs.claim(job_id, f"w{i}"))) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1
    assert jobs.get(job_id).status == "running"


def test_progress_and_every_change_of_state_are_events(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.advance(1, 4)
    attempt.end("failed", Failure(code="x", detail="y"), [])
    events = [event for event in stream_events(control, job_id) if event]
    assert [event.kind for event in events] == ["status", "status", "progress", "status", "done"]
    again = [event for event in stream_events(control, job_id, after=events[2].id) if event]
    assert again == events[3:]


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_at_its_next_step(jobs: JobStore) -> None:
    queued, _ = jobs.create(SPEC, tenant=LOCAL)
    assert jobs.cancel(queued) == "cancelled"
    assert jobs.claim(queued, "w") is None
    running, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(running, "w")
    assert attempt is not None
    assert jobs.cancel(running) == "cancelling"
    with pytest.raises(JobCancelled):
        attempt.advance(1, 4)
    attempt.end("cancelled", None, [])
    assert jobs.cancel(running) == "cancelled"


def test_a_worker_that_lost_its_lease_can_write_nothing_more(jobs: JobStore, control: Redis) -> None:
    # Given an attempt whose lease has run out, and which recovery gave to another worker
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    old = jobs.claim(job_id, "old")
    assert old is not None
    control.delete(keys.lease(job_id))
    assert eventually(lambda: job_id in jobs.orphans())
    new = jobs.claim(job_id, "new")
    assert new is not None
    # Then every write of the old attempt is refused, and the new one goes on
    for write in (
        lambda: old.advance(1, 4),
        lambda: old.end("failed", None, []),
        lambda: old.requeue(WHY),
        lambda: old.preview("", 1),
    ):
        with pytest.raises(AttemptLost):
            write()
    new.advance(1, 4)
    assert jobs.get(job_id).worker == "new"


def test_a_job_whose_workers_keep_dying_is_failed(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    for _ in range(2):
        assert jobs.claim(job_id, "w") is not None
        control.delete(keys.lease(job_id))
        assert eventually(lambda: job_id in jobs.orphans())
    assert jobs.claim(job_id, "w") is None
    job = jobs.get(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"


def test_a_job_that_was_given_back_too_often_fails_with_the_last_reason(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    for _ in range(2):
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.advance(2, 4)
        attempt.requeue(WHY)
        assert jobs.get(job_id).status == "queued"
    assert jobs.claim(job_id, "w") is None
    assert jobs.get(job_id).error == WHY


@pytest.mark.parametrize("how", ["dies", "gives it back"])
def test_a_cancelled_job_is_over_when_its_worker(how: str, jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    jobs.cancel(job_id)
    if how == "dies":
        control.delete(keys.lease(job_id))
        assert eventually(lambda: job_id not in jobs.orphans() and jobs.get(job_id).status == "cancelled")
    else:
        attempt.requeue(WHY)
    assert jobs.get(job_id).status == "cancelled"


@pytest.mark.parametrize("job_id", ["x:events", "0123456789abcdef:lease", "", "../0123456789abcd"])
def test_what_is_no_id_is_no_job(job_id: str, jobs: JobStore) -> None:
    with pytest.raises(NotFound):
        jobs.get(job_id)
    with pytest.raises(NotFound):
        jobs.cancel(job_id)


def test_a_job_whose_message_was_never_sent_is_found(jobs: JobStore) -> None:
    lost, _ = jobs.create(SPEC, tenant=LOCAL)
    sent, _ = jobs.create(SPEC, tenant=LOCAL)
    jobs.redis.zrem(keys.UNSENT, sent)
    assert lost in jobs.orphans(unsent_after_s=0)
    assert sent not in jobs.orphans(unsent_after_s=0)


def test_a_living_worker_keeps_its_job(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt._lease_ms = 60_000
    attempt.advance()
    assert job_id not in jobs.orphans()


def test_pages_are_newest_first_and_follow_each_other(jobs: JobStore) -> None:
    made = [jobs.create(SPEC, tenant=LOCAL)[0] for _ in range(5)]
    jobs.cancel(made[2])
    first, cursor = jobs.page(limit=3)
    rest, end = jobs.page(limit=3, cursor=cursor)
    assert [job.id for job in first + rest][:5] == made[::-1]
    assert end is None or len(rest) == 3
    assert [job.id for job in jobs.page(status="cancelled")[0]][:1] == [made[2]]


def test_a_job_that_is_not_there_is_not_found(jobs: JobStore) -> None:
    with pytest.raises(NotFound):
        jobs.get("nothing")
    with pytest.raises(NotFound):
        jobs.cancel("nothing")
    assert jobs.claim("nothing", "w") is None


def test_a_job_that_is_handed_over_loses_no_attempt(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    # Given more workers that are told to stop than a job has attempts
    for ordinal in range(1, 6):
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        assert attempt.job.attempts == ordinal
        attempt.hand_over()
        with pytest.raises(AttemptLost):
            attempt.advance(1, 4)
    # Then the job waits, needs a message, and can be claimed again
    job = jobs.get(job_id)
    assert (job.status, job.hand_overs, job.infrastructure_losses) == ("queued", 5, 0)
    assert jobs.redis.zscore(keys.UNSENT, job_id) is not None
    assert jobs.claim(job_id, "w") is not None


def test_a_job_remembers_when_its_latest_attempts_began_and_ended(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    for ordinal in range(25):
        attempt = jobs.claim(job_id, f"w{ordinal}")
        assert attempt is not None
        attempt.hand_over()
    spans = jobs.get(job_id).earlier_attempts
    assert [span.worker for span in spans] == [f"w{ordinal}" for ordinal in range(5, 25)]
    times = [time for span in spans for time in (span.start_s, span.end_s)]
    assert times == sorted(times)
    # And what is malformed is begun anew
    last = jobs.claim(job_id, "last")
    assert last is not None
    control.hset(keys.job(job_id), "earlier_attempts", "{")
    last.hand_over()
    assert [span.worker for span in jobs.get(job_id).earlier_attempts] == ["last"]


NOTED = {"name": "attempt", "start_s": 1.0, "end_s": 2.0, "worker": "noted"}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "1e300", "many"])
@pytest.mark.parametrize("field", ["started_at", "renewed_at"])
@pytest.mark.parametrize("verb", ["hand_over", "reap"])
def test_an_attempt_whose_times_are_damaged_ends_as_any_other(
    jobs: JobStore, control: Redis, field: str, value: str, verb: str
) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    control.hset(keys.job(job_id), field, value)
    if verb == "hand_over":
        attempt.hand_over()
    else:
        control.delete(keys.lease(job_id))
        # After a pause of two seconds and more nobody is reaped for the length of a lease
        assert eventually(lambda: jobs.script("reap", job_id) == "reaped")
    job = jobs.get(job_id)
    assert job.status == "queued"
    # Then its time is shown if it is known when it began, with an end that is a time
    assert len(job.earlier_attempts) == (0 if field == "started_at" else 1)
    assert all(0 < span.end_s - job.created_at < 3600 for span in job.earlier_attempts)
    assert jobs.claim(job_id, "w") is not None


@pytest.mark.parametrize(
    ("stored", "workers"),
    [
        ("[1]", ["last"]),
        ('{"a": 1}', ["last"]),
        ('[null, "x", [], {}]', ["last"]),
        (json.dumps([NOTED, 1, {**NOTED, "end_s": "late"}, {**NOTED, "worker": 3}]), ["noted", "last"]),
        (json.dumps([{**NOTED, "start_s": float("nan")}, {**NOTED, "end_s": float("inf")}]), ["last"]),
        (json.dumps([{**NOTED, "counts": "many"}]), ["noted", "last"]),
        (json.dumps([NOTED] * 50), [*["noted"] * 19, "last"]),
    ],
)
def test_malformed_elements_of_earlier_attempts_cost_no_job(
    jobs: JobStore, control: Redis, stored: str, workers: list[str]
) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "last")
    assert attempt is not None
    control.hset(keys.job(job_id), "earlier_attempts", stored)
    attempt.hand_over()
    assert [span.worker for span in jobs.get(job_id).earlier_attempts] == workers
    assert jobs.claim(job_id, "w") is not None


def test_a_job_that_was_cancelled_is_not_handed_over(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    jobs.cancel(job_id)
    attempt.hand_over()
    assert jobs.get(job_id).status == "cancelled"


def test_progress_never_goes_back(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    first = jobs.claim(job_id, "w")
    assert first is not None
    first.advance(3, 4)
    first.hand_over()
    assert (jobs.get(job_id).step, jobs.get(job_id).total) == (3, 4)
    # When an attempt begins anew
    second = jobs.claim(job_id, "w")
    assert second is not None
    for step in (1, 2, 3, 4):
        second.advance(step, 4)
    second.end("failed", None, [])
    events = [event for event in stream_events(control, job_id) if event and event.kind == "progress"]
    assert [json.loads(event.data)["step"] for event in events] == [3, 4]


def test_a_worker_that_was_only_silent_costs_no_attempt_that_counts(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    silent = jobs.claim(job_id, "w")
    assert silent is not None
    control.delete(keys.lease(job_id))
    assert eventually(lambda: job_id in jobs.orphans())
    # When it is heard of again, and finds out that it has lost its job
    for _ in range(2):
        with pytest.raises(AttemptLost):
            silent.advance(1, 4)
    assert jobs.get(job_id).infrastructure_losses == 1


def test_workers_that_were_silent_at_once_cost_no_attempt_that_counts(jobs: JobStore, control: Redis) -> None:
    job_id, _ = jobs.create(SPEC, tenant=LOCAL)
    # Given two that lose the job before the first one is heard of
    silent = []
    for _ in range(2):
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        silent.append(attempt)
        control.delete(keys.lease(job_id))
        assert eventually(lambda: job_id in jobs.orphans())
    # When each says something, whatever it is
    for say in (lambda: silent[0].advance(1, 4), silent[1].hand_over):
        with pytest.raises(AttemptLost):
            say()
    job = jobs.get(job_id)
    assert (job.attempts, job.infrastructure_losses, job.hand_overs) == (2, 2, 0)


def test_a_late_job_is_claimed_by_nobody(jobs: JobStore) -> None:
    job_id, _ = jobs.create(SPEC, scheduling=JobScheduling(deadline_s=0.001), tenant=LOCAL)
    eventually(lambda: job_id in jobs.past_deadline())
    assert jobs.claim(job_id, "unet1@a") is None
    job = jobs.get(job_id)
    assert (job.status, job.attempts, job.error and job.error.code) == ("failed", 0, "deadline_passed")
