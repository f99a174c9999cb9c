import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared import keys
from shared.messaging.celery_app import make_celery, send_job, unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.settings import Settings

MODEL, COMMON = "emoji-sd", unet_queue("emoji-sd")
SOON = 60.0
JOB, OLDER, YOUNGER = "1" * 16, "2" * 16, "3" * 16


@pytest.fixture
def availability(control: Redis) -> Availability:
    control.flushall()
    return Availability(control)


@pytest.fixture
def celery(servers: Settings) -> Celery:
    return make_celery(servers)


def in_queue(control: Redis, queue: str) -> list[str]:
    """Job ids, the next one first."""
    messages: Any = control.lrange(queue, 0, -1)
    return [json.loads(text)["headers"]["id"] for text in reversed(messages)]


def register(availability: Availability, *workers: str) -> None:
    for worker in workers:
        assert availability.register_free(worker, [MODEL], SOON)


def test_a_free_worker_is_reserved_for_one_job_only(availability: Availability) -> None:
    register(availability, "unet1@a", "unet2@a")
    assert availability.free_workers() == ["unet1@a", "unet2@a"]
    assert availability.reserve(MODEL, ["unet2@a", "unet1@a"]) == "unet2@a"
    assert availability.reserve(MODEL, ["unet2@a", "unet1@a"]) == "unet1@a"
    assert availability.reserve(MODEL, ["unet2@a", "unet1@a"]) is None
    assert availability.free_workers() == []


def test_concurrent_reservations_never_share_a_worker(availability: Availability, servers: Settings) -> None:
    workers = [f"unet{i}@a" for i in range(5)]
    register(availability, *workers)
    with ThreadPoolExecutor(8) as pool:
        reserved = list(pool.map(lambda _: availability.reserve(MODEL, workers), range(40)))
    assert sorted(worker for worker in reserved if worker) == workers


def test_a_worker_whose_registration_expired_is_not_reserved(availability: Availability) -> None:
    availability.register_free("unet1@a", [MODEL], 0)
    assert availability.reserve(MODEL, ["unet1@a", "unet2@a"]) is None


def test_no_worker_is_reserved_while_older_jobs_wait(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    register(availability, "unet1@a")
    send_job(celery, OLDER, MODEL)
    assert availability.reserve(MODEL, ["unet1@a"]) is None
    # And a worker that ends its job is not free: it takes the older one
    assert not availability.register_free("unet2@a", [MODEL, "tiny"], SOON)
    assert availability.free_workers() == ["unet1@a"]


def test_a_job_with_a_reservation_waits_in_the_queue_of_its_worker(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    register(availability, "unet1@a")
    send_job(celery, JOB, MODEL, availability.reserve(MODEL, ["unet1@a"]))
    availability.confirm(MODEL, "unet1@a")
    assert in_queue(control, worker_queue(MODEL, "unet1@a")) == [JOB]
    assert in_queue(control, COMMON) == []
    assert not list(control.scan_iter("_kombu*unet1*"))  # no binding stays when the worker is gone


def test_reserved_jobs_go_to_the_common_queue_when_their_worker_is_busy(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    register(availability, "unet1@a")
    assert availability.reserve(MODEL, ["unet1@a"])
    for job in (JOB, OLDER):
        send_job(celery, job, MODEL, "unet1@a")
    send_job(celery, YOUNGER, MODEL)
    # When the worker begins another job, then its own go to the front of the common queue, in order
    assert availability.register_busy("unet1@a", [MODEL], SOON) == 2
    assert in_queue(control, COMMON) == [JOB, OLDER, YOUNGER]
    assert control.zcard(keys.RESERVED_QUEUES) == 0


def test_a_job_sent_after_its_worker_got_busy_goes_to_the_common_queue(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    register(availability, "unet1@a")
    worker = availability.reserve(MODEL, ["unet1@a"])
    assert worker
    # Given that the worker begins another job before the message is in its queue
    availability.register_busy(worker, [MODEL], SOON)
    send_job(celery, JOB, MODEL, worker)
    availability.confirm(MODEL, worker)
    assert in_queue(control, COMMON) == [JOB]
    assert in_queue(control, worker_queue(MODEL, worker)) == []


def test_jobs_reserved_for_a_dead_worker_are_released_after_a_while(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    register(availability, "unet1@a")
    send_job(celery, JOB, MODEL, availability.reserve(MODEL, ["unet1@a"]))
    assert availability.release_expired(after_s=SOON) == 0
    assert availability.release_expired(after_s=0) == 1
    assert in_queue(control, COMMON) == [JOB]


def test_a_worker_that_ends_its_job_is_free_again(availability: Availability) -> None:
    register(availability, "unet1@a")
    availability.register_busy("unet1@a", [MODEL], SOON)
    assert availability.free_workers() == []
    register(availability, "unet1@a")
    assert availability.reserve(MODEL, ["unet1@a"]) == "unet1@a"


def test_each_model_has_a_common_queue_of_its_own(
    availability: Availability, celery: Celery, control: Redis
) -> None:
    assert availability.register_free("unet1@a", [MODEL, "tiny"], SOON)
    assert availability.reserve("tiny", ["unet1@a"])
    send_job(celery, JOB, "tiny", "unet1@a")
    availability.register_busy("unet1@a", [MODEL, "tiny"], SOON)
    assert (in_queue(control, unet_queue("tiny")), in_queue(control, COMMON)) == ([JOB], [])


@pytest.mark.parametrize("ttl_s", [8.04, 1e-4])
def test_fractions_of_seconds_are_accepted_as_lifetimes(availability: Availability, ttl_s: float) -> None:
    assert availability.register_busy("unet1@a", [MODEL], ttl_s) == 0
    assert availability.register_free("unet1@a", [MODEL], ttl_s)
