import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared import keys
from shared.messaging.celery_app import make_celery, own_queue, send_job, unet_queue
from shared.registry.availability import Availability
from shared.settings import Settings

MODEL, COMMON = "emoji-sd", unet_queue("emoji-sd")
SOON = 60.0
JOB, OLDER, YOUNGER = "1" * 16, "2" * 16, "3" * 16


@pytest.fixture
def seats(control: Redis) -> Availability:
    control.flushall()
    return Availability(control)


@pytest.fixture
def celery(servers: Settings) -> Celery:
    return make_celery(servers)


def in_queue(control: Redis, queue: str) -> list[str]:
    """Job ids, the next one first."""
    messages: Any = control.lrange(queue, 0, -1)
    return [json.loads(text)["headers"]["id"] for text in reversed(messages)]


def free(seats: Availability, *workers: str) -> None:
    for worker in workers:
        assert seats.offer(worker, [MODEL], SOON)


def test_a_free_worker_is_promised_once(seats: Availability) -> None:
    free(seats, "unet1@a", "unet2@a")
    assert seats.free() == ["unet1@a", "unet2@a"]
    assert seats.promise(MODEL, ["unet2@a", "unet1@a"]) == "unet2@a"
    assert seats.promise(MODEL, ["unet2@a", "unet1@a"]) == "unet1@a"
    assert seats.promise(MODEL, ["unet2@a", "unet1@a"]) is None
    assert seats.free() == []


def test_each_worker_goes_to_one_of_many_who_ask_at_once(seats: Availability, servers: Settings) -> None:
    workers = [f"unet{i}@a" for i in range(5)]
    free(seats, *workers)
    with ThreadPoolExecutor(8) as pool:
        promised = list(pool.map(lambda _: seats.promise(MODEL, workers), range(40)))
    assert sorted(worker for worker in promised if worker) == workers


def test_a_worker_that_is_not_heard_of_is_not_promised(seats: Availability) -> None:
    seats.offer("unet1@a", [MODEL], 0)
    assert seats.promise(MODEL, ["unet1@a", "unet2@a"]) is None


def test_nobody_is_promised_to_a_new_job_while_older_ones_wait(
    seats: Availability, celery: Celery, control: Redis
) -> None:
    free(seats, "unet1@a")
    send_job(celery, OLDER, MODEL)
    assert seats.promise(MODEL, ["unet1@a"]) is None
    # And a worker that ends its job takes the older one itself
    assert not seats.offer("unet2@a", [MODEL, "tiny"], SOON)
    assert seats.free() == ["unet1@a"]


def test_a_promised_job_lies_in_the_workers_own_queue(
    seats: Availability, celery: Celery, control: Redis
) -> None:
    free(seats, "unet1@a")
    send_job(celery, JOB, MODEL, seats.promise(MODEL, ["unet1@a"]))
    seats.settle(MODEL, "unet1@a")
    assert in_queue(control, own_queue(MODEL, "unet1@a")) == [JOB]
    assert in_queue(control, COMMON) == []
    assert not list(control.scan_iter("_kombu*unet1*"))  # nothing stays when the worker's name is gone


def test_what_a_worker_was_promised_is_for_all_as_soon_as_it_is_busy(
    seats: Availability, celery: Celery, control: Redis
) -> None:
    free(seats, "unet1@a")
    assert seats.promise(MODEL, ["unet1@a"])
    for job in (JOB, OLDER):
        send_job(celery, job, MODEL, "unet1@a")
    send_job(celery, YOUNGER, MODEL)
    # When the worker begins another job, then its own come to the front of everybody's queue, in order
    assert seats.take("unet1@a", [MODEL], SOON) == 2
    assert in_queue(control, COMMON) == [JOB, OLDER, YOUNGER]
    assert control.zcard(keys.PROMISED) == 0


def test_a_job_that_arrives_after_its_worker_got_busy_is_for_all(
    seats: Availability, celery: Celery, control: Redis
) -> None:
    free(seats, "unet1@a")
    worker = seats.promise(MODEL, ["unet1@a"])
    assert worker
    # Given that the worker begins another job before the message is in its queue
    seats.take(worker, [MODEL], SOON)
    send_job(celery, JOB, MODEL, worker)
    seats.settle(MODEL, worker)
    assert in_queue(control, COMMON) == [JOB]
    assert in_queue(control, own_queue(MODEL, worker)) == []


def test_what_a_dead_worker_was_promised_is_for_all_after_a_while(
    seats: Availability, celery: Celery, control: Redis
) -> None:
    free(seats, "unet1@a")
    send_job(celery, JOB, MODEL, seats.promise(MODEL, ["unet1@a"]))
    assert seats.reclaim(after_s=SOON) == 0
    assert seats.reclaim(after_s=0) == 1
    assert in_queue(control, COMMON) == [JOB]


def test_a_worker_that_ends_its_job_is_free_again(seats: Availability) -> None:
    free(seats, "unet1@a")
    seats.take("unet1@a", [MODEL], SOON)
    assert seats.free() == []
    free(seats, "unet1@a")
    assert seats.promise(MODEL, ["unet1@a"]) == "unet1@a"


def test_models_have_queues_of_their_own(seats: Availability, celery: Celery, control: Redis) -> None:
    assert seats.offer("unet1@a", [MODEL, "tiny"], SOON)
    assert seats.promise("tiny", ["unet1@a"])
    send_job(celery, JOB, "tiny", "unet1@a")
    seats.take("unet1@a", [MODEL, "tiny"], SOON)
    assert (in_queue(control, unet_queue("tiny")), in_queue(control, COMMON)) == ([JOB], [])


@pytest.mark.parametrize("ttl_s", [8.04, 1e-4])
def test_any_number_of_seconds_is_a_time_to_redis(seats: Availability, ttl_s: float) -> None:
    assert seats.take("unet1@a", [MODEL], ttl_s) == 0
    assert seats.offer("unet1@a", [MODEL], ttl_s)
