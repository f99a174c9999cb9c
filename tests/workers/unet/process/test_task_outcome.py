from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry
from redis import Redis

from shared import keys
from shared.errors import DeviceFull, DeviceLost, InvalidLora, WorkerStopping
from shared.jobs.store import JobStore
from shared.messaging.celery_app import FIRST
from shared.settings import Settings
from tests.workers.unet.specs import spec
from workers.unet.process.task_outcome import retried_later


class Task:
    """A bound Celery task that was retried so many times."""

    def __init__(self, retries: int) -> None:
        delivery_info = {"routing_key": "unet.emoji-sd@unet1@test"}
        self.request = SimpleNamespace(retries=retries, delivery_info=delivery_info)
        self.sent: list[tuple[str, float, bool]] = []
        self.sent_retries: list[int] = []

    def retry(
        self, *, exc: Exception, countdown: float, queue: str, headers: dict[str, bool], throw: bool
    ) -> Retry:
        assert not throw
        self.sent.append((queue, countdown, headers[FIRST]))
        self.sent_retries.append(self.request.retries + 1)  # as Celery does
        return Retry(exc=exc)


@pytest.fixture
def jobs(servers: Settings, control: Redis) -> JobStore:
    return JobStore(control, servers)


def fail(task: Any, jobs: JobStore, job_id: str, error: Exception) -> None:
    with retried_later(task, jobs, job_id):
        raise error


@pytest.mark.parametrize(
    ("error", "retries", "pause_s", "is_first", "counted"),
    [
        (DeviceLost("lost"), 2, 0, False, 2),
        (WorkerStopping("stops"), 2, 0, True, 2),
        (DeviceFull("full"), 0, 1, False, 1),
        (DeviceFull("full"), 2, 16, False, 3),
    ],
)
def test_a_message_that_is_sent_again_is_sent_once(
    error: Exception, retries: int, pause_s: float, is_first: bool, counted: int, jobs: JobStore
) -> None:
    job_id, _ = jobs.create(spec())
    task = Task(retries)
    with pytest.raises(Retry):
        fail(task, jobs, job_id, error)
    # To all workers of the model, and recovery sends no other
    assert task.sent == [("unet.emoji-sd", pause_s, is_first)]
    assert task.sent_retries == [counted]
    assert jobs.redis.zscore(keys.UNSENT, job_id) is None


def test_an_error_that_no_other_attempt_would_heal_sends_no_message(jobs: JobStore) -> None:
    job_id, _ = jobs.create(spec())
    task = Task(0)
    with pytest.raises(InvalidLora):
        fail(task, jobs, job_id, InvalidLora("no"))
    assert task.sent == []
