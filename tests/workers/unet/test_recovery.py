import json
import time
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared import keys
from shared.jobs import JobStore
from shared.queues import make_celery, unet_queue
from shared.settings import Settings
from tests.workers.unet.specs import spec
from workers.unet import recovery
from workers.unet.recovery import HELD_S, UNACKED, UNACKED_INDEX, recover


@pytest.fixture
def jobs(control: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    control.flushall()
    monkeypatch.setattr(recovery, "SETTLED_S", 0.0)
    return JobStore(control, servers)


@pytest.fixture
def celery(servers: Settings) -> Celery:
    return make_celery(servers)


def look(celery: Celery, jobs: JobStore) -> None:
    jobs.redis.delete(keys.RECOVERY)  # as if some seconds had passed
    recover(celery, jobs, ["emoji-sd"])


def in_queue(control: Redis) -> list[str]:
    messages: Any = control.lrange(unet_queue("emoji-sd"), 0, -1)
    return [json.loads(text)["headers"]["id"] for text in messages]


def accept(jobs: JobStore) -> str:
    job_id, _ = jobs.create(spec())
    jobs.sent(job_id)
    return job_id


def test_a_message_that_went_down_with_its_worker_is_sent_again(
    jobs: JobStore, celery: Celery, control: Redis
) -> None:
    # Given two accepted jobs, of which one message was popped by a worker that died
    kept, lost = accept(jobs), accept(jobs)
    recover(celery, jobs, ["emoji-sd"])
    assert sorted(in_queue(control)) == sorted([kept, lost])
    control.ltrim(unet_queue("emoji-sd"), 0, 0)
    [still] = in_queue(control)
    # When a worker looks, then the other is sent again, once
    look(celery, jobs)
    look(celery, jobs)
    assert sorted(in_queue(control)) == sorted([kept, lost])
    assert still in (kept, lost)


def test_a_message_that_a_worker_holds_is_not_lost(jobs: JobStore, celery: Celery, control: Redis) -> None:
    job_id = accept(jobs)
    recover(celery, jobs, ["emoji-sd"])
    message = control.lpop(unet_queue("emoji-sd"))
    assert isinstance(message, str)
    control.hset(UNACKED, "tag", json.dumps([json.loads(message), "exchange", "key"]))
    control.zadd(UNACKED_INDEX, {"tag": time.time()})
    look(celery, jobs)
    assert in_queue(control) == []
    # But not for ever: a worker that holds it without starting it has died
    control.zadd(UNACKED_INDEX, {"tag": time.time() - HELD_S - 1})
    look(celery, jobs)
    assert in_queue(control) == [job_id]
    assert jobs.get(job_id).status == "queued"


def test_a_job_whose_worker_died_is_queued_again(jobs: JobStore, celery: Celery, control: Redis) -> None:
    job_id = accept(jobs)
    assert jobs.claim(job_id, "unet1@test") is not None
    look(celery, jobs)
    assert in_queue(control) == []
    control.delete(keys.lease(job_id))
    look(celery, jobs)
    assert in_queue(control) == [job_id]
    assert jobs.get(job_id).status == "queued"


def test_a_job_that_expired_in_the_queue_is_forgotten(jobs: JobStore, celery: Celery, control: Redis) -> None:
    job_id, _ = jobs.create(spec())
    control.zadd(keys.UNSENT, {job_id: 0})
    control.delete(keys.job(job_id))
    look(celery, jobs)
    assert in_queue(control) == []
    assert control.zscore(keys.UNSENT, job_id) is None
