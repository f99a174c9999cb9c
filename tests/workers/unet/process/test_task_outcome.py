import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry
from redis import Redis

from shared import keys
from shared.errors import DeviceFull, DeviceLost, InvalidLora, JobPreempted, WorkerStopping
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.workers.unet.specs import spec
from workers.unet.process.task_outcome import retried_later

MODEL = "emoji-sd"


@pytest.fixture
def jobs(servers: Settings, control: Redis) -> JobStore:
    control.flushall()
    return JobStore(control, servers)


@pytest.fixture
def queue(servers: Settings, control: Redis) -> FairQueue:
    found = FairQueue(control, servers)
    for n in range(9):
        found.serve(f"busy{n}@test", [MODEL], 60.0)
    return found


def begin(jobs: JobStore, queue: FairQueue) -> tuple[str, list[str]]:
    """A job that was taken, and two that wait."""
    first, *others = (jobs.create(spec(), tenant=LOCAL)[0] for _ in range(3))
    for job_id in (first, *others):
        queue.place(job_id, MODEL)
    jobs.redis.rpop(unet_queue(MODEL))
    return first, others


def in_queue(jobs: JobStore) -> list[str]:
    """The next one first."""
    messages: Any = jobs.redis.lrange(unet_queue(MODEL), 0, -1)
    return [json.loads(text)["headers"]["id"] for text in reversed(messages)]


def fail(queue: FairQueue, job_id: str, error: Exception) -> None:
    """As a task that has come by the worker's own queue."""
    delivery_info = {"routing_key": f"{unet_queue(MODEL)}@unet1@test"}
    with retried_later(SimpleNamespace(request=SimpleNamespace(delivery_info=delivery_info)), queue, job_id):
        raise error


def test_a_job_that_is_handed_over_comes_before_all_that_wait(jobs: JobStore, queue: FairQueue) -> None:
    job_id, others = begin(jobs, queue)
    with pytest.raises(Retry):
        fail(queue, job_id, WorkerStopping("stops"))
    assert in_queue(jobs) == [job_id, *others]
    assert jobs.redis.zscore(keys.UNSENT, job_id) is None


def test_a_job_that_lost_its_device_comes_behind_all_that_wait(jobs: JobStore, queue: FairQueue) -> None:
    job_id, others = begin(jobs, queue)
    with pytest.raises(Retry):
        fail(queue, job_id, DeviceLost("lost"))
    assert in_queue(jobs) == [*others, job_id]


def test_a_job_that_was_preempted_is_held_at_its_place(jobs: JobStore, queue: FairQueue) -> None:
    job_id, others = begin(jobs, queue)
    with pytest.raises(Retry):
        fail(queue, job_id, JobPreempted("an interactive job"))
    assert in_queue(jobs) == [*others, job_id]  # what was released comes first


def test_each_pause_is_longer_than_the_one_before(jobs: JobStore, queue: FairQueue) -> None:
    job_id, others = begin(jobs, queue)
    pauses = []
    for _ in range(5):
        with pytest.raises(Retry):
            fail(queue, job_id, DeviceFull("full"))
        assert in_queue(jobs) == others
        due = jobs.redis.zscore(keys.DELAYED, job_id)
        assert isinstance(due, float)
        pauses.append(round(due - jobs.now()))
        # When the time has passed, then it is released
        jobs.redis.zadd(keys.DELAYED, {job_id: 1})
        queue.release([MODEL])
        assert in_queue(jobs) == [*others, job_id]
        jobs.redis.lpop(unet_queue(MODEL))
    assert pauses == [1, 4, 16, 60, 60]


def test_an_error_that_no_other_attempt_would_heal_places_no_job(jobs: JobStore, queue: FairQueue) -> None:
    job_id, others = begin(jobs, queue)
    with pytest.raises(InvalidLora):
        fail(queue, job_id, InvalidLora("no"))
    assert in_queue(jobs) == others
