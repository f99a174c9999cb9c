from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from shared import keys
from shared.messaging.celery_app import unet_queue, worker_queue
from shared.registry.availability import Availability
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from tests.shared.scheduling.held_jobs import HeldJobs

MODEL, COMMON = "emoji-sd", unet_queue("emoji-sd")
SOON = 60.0


@pytest.fixture
def availability(control: Redis) -> Availability:
    control.flushall()
    return Availability(control)


@pytest.fixture
def jobs(availability: Availability, control: Redis, servers: Settings) -> HeldJobs:
    """Of a fleet with more workers than any test has jobs: nothing is held."""
    found = HeldJobs(control, FairQueue(control, servers))
    found.serve(9, MODEL, "tiny")
    return found


def register(availability: Availability, *workers: str) -> None:
    for worker in workers:
        assert availability.register_free(worker, [MODEL], SOON)


def place(jobs: HeldJobs, *workers: str, model: str = MODEL) -> tuple[str, str | None]:
    """A new job, and which of the workers is reserved for it."""
    job_id = jobs.accept(model=model)
    return job_id, jobs.queue.place(job_id, model, workers)


def test_a_free_worker_is_reserved_for_one_job_only(availability: Availability, jobs: HeldJobs) -> None:
    register(availability, "unet1@a", "unet2@a")
    assert availability.free_workers() == ["unet1@a", "unet2@a"]
    reserved = [place(jobs, "unet2@a", "unet1@a")[1] for _ in range(3)]
    assert reserved == ["unet2@a", "unet1@a", None]
    assert availability.free_workers() == []


def test_concurrent_reservations_never_share_a_worker(availability: Availability, jobs: HeldJobs) -> None:
    workers = [f"unet{i}@a" for i in range(5)]
    register(availability, *workers)
    accepted = [jobs.accept(model=MODEL) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        reserved = list(pool.map(lambda job_id: jobs.queue.place(job_id, MODEL, workers), accepted))
    assert sorted(worker for worker in reserved if worker) == workers


def test_a_worker_whose_registration_expired_is_not_reserved(
    availability: Availability, jobs: HeldJobs
) -> None:
    availability.register_free("unet1@a", [MODEL], 0)
    assert place(jobs, "unet1@a", "unet2@a")[1] is None


def test_no_worker_is_reserved_while_older_jobs_wait(availability: Availability, jobs: HeldJobs) -> None:
    register(availability, "unet1@a")
    place(jobs)
    assert place(jobs, "unet1@a")[1] is None
    # And a worker that ends its job is not free: it takes the older one
    assert not availability.register_free("unet2@a", [MODEL, "tiny"], SOON)
    assert availability.free_workers() == ["unet1@a"]


def test_a_job_with_a_reservation_waits_in_the_queue_of_its_worker(
    availability: Availability, jobs: HeldJobs, control: Redis
) -> None:
    register(availability, "unet1@a")
    job_id, _ = place(jobs, "unet1@a")
    assert jobs.waiting(worker_queue(MODEL, "unet1@a")) == [job_id]
    assert jobs.waiting(COMMON) == []
    assert not list(control.scan_iter("_kombu*unet1*"))  # no binding stays when the worker is gone


def test_reserved_jobs_go_to_the_common_queue_when_their_worker_is_busy(
    availability: Availability, jobs: HeldJobs, control: Redis
) -> None:
    register(availability, "unet1@a")
    reserved, _ = place(jobs, "unet1@a")
    younger, _ = place(jobs)
    # When the worker begins another job, then its own go to the front of the common queue, in order
    assert availability.register_busy("unet1@a", [MODEL], SOON) == 1
    assert jobs.waiting(COMMON) == [reserved, younger]
    assert control.zcard(keys.RESERVED_QUEUES) == 0


def test_jobs_reserved_for_a_dead_worker_are_released_after_a_while(
    availability: Availability, jobs: HeldJobs
) -> None:
    register(availability, "unet1@a")
    job_id, _ = place(jobs, "unet1@a")
    assert availability.release_expired(after_s=SOON) == 0
    assert availability.release_expired(after_s=0) == 1
    assert jobs.waiting(COMMON) == [job_id]


def test_a_worker_that_ends_its_job_is_free_again(availability: Availability, jobs: HeldJobs) -> None:
    register(availability, "unet1@a")
    availability.register_busy("unet1@a", [MODEL], SOON)
    assert availability.free_workers() == []
    register(availability, "unet1@a")
    assert place(jobs, "unet1@a")[1] == "unet1@a"


def test_each_model_has_a_common_queue_of_its_own(availability: Availability, jobs: HeldJobs) -> None:
    assert availability.register_free("unet1@a", [MODEL, "tiny"], SOON)
    job_id, worker = place(jobs, "unet1@a", model="tiny")
    assert worker == "unet1@a"
    availability.register_busy("unet1@a", [MODEL, "tiny"], SOON)
    assert (jobs.waiting(unet_queue("tiny")), jobs.waiting(COMMON)) == ([job_id], [])


@pytest.mark.parametrize("ttl_s", [8.04, 1e-4])
def test_fractions_of_seconds_are_accepted_as_lifetimes(availability: Availability, ttl_s: float) -> None:
    assert availability.register_busy("unet1@a", [MODEL], ttl_s) == 0
    assert availability.register_free("unet1@a", [MODEL], ttl_s)
