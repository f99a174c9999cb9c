"""Real worker processes whose device is lost or full in the middle of a job, or that die while they store.

A worker takes ten seconds to start, so those that a test leaves sound serve the next one; each test names the
workers that it needs, whatever ran before it.
"""

import hashlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shared import keys
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, control_key
from shared.redis_clients import control_redis, residual_servers
from shared.settings import Settings
from tests.fleet.faults.worker_processes import JOB_S, Fleet, Worker
from tests.infra.local.waiting import eventually
from tests.proxy import proxied
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from workers.runtime.device_loss import STATUS


@pytest.fixture(scope="module")
def shared_fleet(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    control, residual = control_redis(servers), residual_servers(servers)[0]
    control.flushdb()
    residual.flushdb()
    settings = servers.model_copy(
        update={"lease_s": 3.0, "heartbeat_s": 0.5, "residual_timeout_s": 10.0, "residual_attempts": 20}
    )
    with proxied(settings.s3_port) as s3:
        fleet = Fleet(settings, control, tmp_path_factory.mktemp("workers"), s3)
        try:
            yield fleet
        finally:
            fleet.stop_all()
    control.flushdb()


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    yield shared_fleet
    shared_fleet.end_jobs()


#: Of a job, if it says no other number.
STEPS = 12


def wanted(fleet: Fleet, *, with_controlnet: bool = False, **changes: Any) -> JobSpec:
    made = spec(**{"num_inference_steps": STEPS, "latent_parallelism": "off", **changes})
    if not with_controlnet:
        return made
    png = (EMOJI / "control" / "2_penguin.png").read_bytes()
    digest = hashlib.sha256(png).hexdigest()
    fleet.images.put(control_key(digest, tenant=LOCAL), png, content_type="image/png")
    values = {"name": "edge", "image": digest, "preprocessor": "none"}
    return JobSpec.model_validate({**made.model_dump(), "controlnets": [values]})


def workers_of(job: Job, span: str = "encoder") -> set[str]:
    return {one.worker.split("@")[0] for one in job.timeline if one.name == span}


def wait_until_storing(fleet: Fleet, worker: Worker, job_id: str) -> None:
    """The device is free again, and the job is not stored yet."""
    name = f"{worker.name}@test"
    eventually(lambda: fleet.redis.zscore(keys.FREE_WORKERS, name) is not None, JOB_S)
    eventually(lambda: fleet.jobs.get(job_id).step == STEPS, JOB_S)
    assert fleet.jobs.get(job_id).status == "running"


def test_a_job_is_computed_while_the_one_before_is_stored(fleet: Fleet) -> None:
    # Given a worker whose S3 server takes images and does not answer
    [worker] = fleet.use("unet1")
    undisturbed = fleet.undisturbed(wanted(fleet))
    fleet.s3.gate.clear()
    first = fleet.submit(wanted(fleet))
    wait_until_storing(fleet, worker, first)
    # When two more jobs come
    second, third = fleet.submit(wanted(fleet)), fleet.submit(wanted(fleet))
    eventually(lambda: fleet.jobs.get(second).step == STEPS, JOB_S)
    # Then the second is computed, and the third waits: not even its message is taken
    assert [fleet.jobs.get(job_id).status for job_id in (first, second, third)] == [
        "running",
        "running",
        "queued",
    ]
    assert sorted(fleet.unacknowledged()) == sorted([first, second])
    report = eventually(worker.report)
    assert report is not None
    assert {first, second} >= set(report.jobs)
    fleet.s3.gate.set()
    for job_id in (first, second, third):
        assert np.array_equal(fleet.pixels(fleet.wait(job_id)), undisturbed)
    eventually(lambda: not fleet.unacknowledged())


def test_a_worker_never_takes_a_second_message_while_the_first_computes(fleet: Fleet) -> None:
    fleet.use("unet1")
    long_job = fleet.submit(wanted(fleet, num_images=4, num_inference_steps=80))
    other = fleet.submit(wanted(fleet))
    eventually(lambda: fleet.jobs.get(long_job).step > 2, JOB_S)
    fleet.celery.control.broadcast("pool_grow", arguments={"n": 1}, reply=True, timeout=10, limit=1)
    eventually(lambda: fleet.jobs.get(long_job).step > 6, JOB_S)
    assert (fleet.jobs.get(other).status, fleet.unacknowledged()) == ("queued", [long_job])
    fleet.jobs.cancel(long_job)
    assert fleet.wait(other).status == "succeeded"


def test_a_worker_that_connects_again_still_takes_one_message_at_a_time(fleet: Fleet) -> None:
    # Given an idle worker whose connections break
    [worker] = fleet.use("unet1")
    fleet.wait(fleet.submit(wanted(fleet)))
    fleet.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
    eventually(lambda: "Connection to broker lost" in worker.log(), JOB_S)
    # When two jobs come, then only one message is taken
    long_job = fleet.submit(wanted(fleet, num_images=4, num_inference_steps=80))
    eventually(lambda: fleet.jobs.get(long_job).step > 2, JOB_S)
    other = fleet.submit(wanted(fleet))
    before = fleet.jobs.get(long_job).step
    eventually(lambda: fleet.jobs.get(long_job).step > before + 5, JOB_S)
    assert (fleet.jobs.get(other).status, fleet.unacknowledged()) == ("queued", [long_job])
    fleet.jobs.cancel(long_job)
    assert fleet.wait(other).status == "succeeded"
    eventually(lambda: not fleet.unacknowledged(), JOB_S)


def test_a_kill_between_image_and_store_loses_no_job(fleet: Fleet) -> None:
    [worker] = fleet.use("unet1")
    undisturbed = fleet.undisturbed(wanted(fleet))
    fleet.s3.gate.clear()
    job_id = fleet.submit(wanted(fleet))
    wait_until_storing(fleet, worker, job_id)
    pid = worker.pid
    os.kill(pid, signal.SIGKILL)
    fleet.s3.gate.set()
    job = fleet.wait(job_id)
    assert np.array_equal(fleet.pixels(job), undisturbed)
    assert job.attempts == 2
    worker.wait_until_ready(after=pid)


def test_a_unet_worker_that_loses_its_device_hands_its_job_over_and_comes_back(fleet: Fleet) -> None:
    # Given two workers, one of which will lose its device
    faulty, _ = fleet.use("unet1", "unet2")
    before = faulty.pid
    undisturbed = fleet.undisturbed(wanted(fleet))
    faulty.fail_once("lost")
    # When both have a job
    jobs = [fleet.wait(job_id) for job_id in [fleet.submit(wanted(fleet)) for _ in range(2)]]
    # Then both are generated by the other one, with the same pixels, and no attempt is counted
    assert faulty.raised.exists()
    assert all(np.array_equal(fleet.pixels(job), undisturbed) for job in jobs)
    assert sorted(job.attempts for job in jobs) == [1, 2]
    [moved] = [job for job in jobs if job.attempts == 2]
    assert (moved.infrastructure_losses, workers_of(moved)) == (1, {"unet2"})
    # And the process ends by itself, and the next one takes jobs
    assert faulty.wait_until_ready(after=before) != before
    assert f"ended unexpectedly with status {STATUS}" in faulty.log("supervisor")
    assert "device lost: this process ends" in faulty.log()
    assert takes_jobs(fleet, faulty)
    eventually(lambda: not fleet.unacknowledged())
    assert fleet.redis.zrange(keys.UNSENT, 0, -1) == []


def takes_jobs(fleet: Fleet, worker: Worker) -> bool:
    """Whether it runs one of two jobs at a time, sooner or later."""

    def ran() -> bool:
        jobs = [fleet.submit(wanted(fleet)) for _ in range(2)]
        return worker.name in set().union(*(workers_of(fleet.wait(job_id)) for job_id in jobs))

    return eventually(ran, JOB_S)


def test_a_device_that_is_full_once_costs_time_only(fleet: Fleet) -> None:
    workers = fleet.use("unet1", "controlnet1")
    pids = [worker.pid for worker in workers]
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.undisturbed(guided)
    said = [len(worker.log()) for worker in workers]
    for worker in workers:
        worker.fail_once("full")
    job = fleet.wait(fleet.submit(guided))
    assert np.array_equal(fleet.pixels(job), undisturbed)
    assert (job.attempts, [worker.pid for worker in workers]) == (1, pids)
    for worker, before in zip(workers, said, strict=True):
        assert "device full" in worker.log()[before:]


def test_a_controlnet_worker_that_loses_its_device_costs_a_step_and_comes_back(fleet: Fleet) -> None:
    _, faulty, _ = fleet.use("unet1", "controlnet1", "controlnet2")
    before = faulty.pid
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.undisturbed(guided)
    faulty.fail_once("lost")

    def disturbed() -> bool:
        job = fleet.wait(fleet.submit(guided))
        assert (job.attempts, np.array_equal(fleet.pixels(job), undisturbed)) == (1, True)
        return faulty.raised.exists()

    eventually(disturbed, JOB_S)
    faulty.wait_until_ready(after=before)
    assert f"ended unexpectedly with status {STATUS}" in faulty.log("supervisor")

    def serves() -> bool:
        return faulty.name in workers_of(fleet.wait(fleet.submit(guided)), "controlnet edge")

    eventually(serves, JOB_S)


def test_a_worker_that_is_stopped_stores_what_it_has_computed(fleet: Fleet) -> None:
    [worker] = fleet.use("unet1")
    said = len(worker.log())
    fleet.s3.gate.clear()
    job_id = fleet.submit(wanted(fleet))
    wait_until_storing(fleet, worker, job_id)
    os.kill(worker.pid, signal.SIGTERM)
    eventually(lambda: any(words in worker.log()[said:] for words in ("Warm shutdown", "hitting Ctrl")))
    fleet.s3.gate.set()
    job = fleet.wait(job_id)
    assert (job.status, job.attempts, workers_of(job)) == ("succeeded", 1, {"unet1"})


@pytest.mark.parametrize("number", [0, 1], ids=["unet", "controlnet"])
@pytest.mark.parametrize(("fault", "is_lost"), [("assert", True), ("allocate", False)])
def test_a_real_fault_of_a_gpu_costs_no_job(
    fault: str, is_lost: bool, number: int, fleet: Fleet, cuda: Any
) -> None:
    workers = fleet.use("unet1", "controlnet1", device="cuda:0", workers_per_device=2)
    faulty = workers[number]
    before, said = faulty.pid, len(faulty.log("supervisor"))
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.undisturbed(guided)
    faulty.fail_once(fault)
    job = fleet.wait(fleet.submit(guided))
    assert faulty.raised.exists()
    assert np.abs(fleet.pixels(job) - undisturbed).max() <= 1
    assert (faulty.wait_until_ready(after=before if is_lost else 0) != before) == is_lost
    assert (f"status {STATUS}" in faulty.log("supervisor")[said:]) == is_lost
