"""Real worker processes whose device is lost or full in the middle of a job, or that die while they store."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from infra.local.environment import inherit, variables_of
from shared import keys
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.keys import control_key
from shared.messaging.celery_app import make_celery, send_job
from shared.registry.workers import Heartbeat, live_workers
from shared.settings import ROOT, Settings
from shared.storage.object_store import Bucket
from tests.infra.local.waiting import eventually
from tests.proxy import Proxy, proxied
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from workers.runtime.device_loss import STATUS

READY_S, JOB_S = 120.0, 120.0
UNET, CONTROLNET = "workers.unet.app", "workers.controlnet.app"


class Worker:
    """A worker process and its supervisor."""

    def __init__(self, fleet: "Fleet", name: str, app: str, folder: Path, **changes: Any) -> None:
        self.name, self.folder = name, folder
        self.fault, self.raised = folder / "fault", folder / "raised"
        folder.mkdir()
        settings = fleet.settings.model_copy(update={"home": folder / "home", **changes})
        environment = {**variables_of(settings), "OMP_NUM_THREADS": "1", "FAULT_FILE": str(self.fault)}
        self._fleet = fleet
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.supervised_worker", str(folder / "stack"), name, app],
            cwd=ROOT,
            env=inherit(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        return int((self.folder / "stack" / "pids" / f"{self.name}.pid").read_text())

    def log(self, name: str) -> str:
        path = self.folder / "stack" / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self) -> Heartbeat | None:
        beats = live_workers(self._fleet.redis)
        return next((beat for beat in beats if beat.name == f"{self.name}@test"), None)

    def wait_until_ready(self, after: int = 0) -> int:
        """Return the pid once it takes work; not the process ``after``."""

        def ready() -> int:
            beat = self.report()
            return beat.pid if beat is not None and not beat.unavailable_reasons else 0

        assert eventually(lambda: ready() not in (0, after), READY_S), self.log(self.name)
        return ready()

    def stop(self) -> None:
        self._supervisor.terminate()
        self._supervisor.wait(timeout=60)


class Fleet:
    """Servers and the jobs that they hold; workers come and go."""

    def __init__(self, settings: Settings, redis: Redis, folder: Path, stack: ExitStack) -> None:
        self.settings, self.redis = settings, redis
        self.jobs, self.celery = JobStore(redis, settings), make_celery(settings)
        self.images = Bucket(settings, settings.image_bucket)
        self._folder, self._stack = folder, stack

    def start(self, name: str, app: str, **changes: Any) -> Worker:
        worker = Worker(self, name, app, self._folder / name, **changes)
        self._stack.callback(worker.stop)
        return worker

    def submit(self, wanted: JobSpec) -> str:
        job_id, _ = self.jobs.create(wanted)
        send_job(self.celery, job_id, wanted.model)
        self.jobs.sent(job_id)
        return job_id

    def wait(self, job_id: str) -> Job:
        eventually(lambda: self.jobs.get(job_id).status in ("succeeded", "failed", "cancelled"), JOB_S)
        return self.jobs.get(job_id)

    def pixels(self, job: Job) -> NDArray[np.int16]:
        assert job.status == "succeeded", job.error
        return np.asarray(Image.open(io.BytesIO(self.images.get(job.images[0].key))), dtype=np.int16)

    def unacknowledged(self) -> list[str]:
        return [json.loads(text)[0]["headers"]["id"] for text in self.redis.hvals("unacked")]


@pytest.fixture
def fleet(servers: Settings, control: Redis, residual: Redis, tmp_path: Path) -> Iterator[Fleet]:
    control.flushdb()
    residual.flushdb()
    settings = servers.model_copy(
        update={"lease_s": 3.0, "heartbeat_s": 0.5, "residual_timeout_s": 10.0, "residual_attempts": 20}
    )
    with ExitStack() as stack:
        yield Fleet(settings, control, tmp_path, stack)
    control.flushdb()


def wanted(fleet: Fleet, *, with_controlnet: bool = False, **changes: Any) -> JobSpec:
    made = spec(**{"num_inference_steps": 20, "latent_parallelism": "off", **changes})
    if not with_controlnet:
        return made
    png = (EMOJI / "control" / "2_penguin.png").read_bytes()
    digest = hashlib.sha256(png).hexdigest()
    fleet.images.put(control_key(digest), png, content_type="image/png")
    values = {"name": "edge", "image": digest, "preprocessor": "none"}
    return JobSpec.model_validate({**made.model_dump(), "controlnets": [values]})


def workers_of(job: Job, span: str = "encoder") -> set[str]:
    return {one.worker.split("@")[0] for one in job.timeline if one.name == span}


def test_a_unet_worker_that_loses_its_device_hands_its_job_over_and_comes_back(fleet: Fleet) -> None:
    # Given two workers, one of which will lose its device
    faulty, sound = fleet.start("unet1", "tests.fleet.faulty_unet"), fleet.start("unet2", UNET)
    before = faulty.wait_until_ready()
    sound.wait_until_ready()
    undisturbed = fleet.pixels(fleet.wait(fleet.submit(wanted(fleet))))
    faulty.fault.write_text("lost")
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
    assert "device lost: this process ends" in faulty.log("unet1")
    assert takes_jobs(fleet, faulty)
    eventually(lambda: not fleet.unacknowledged())
    assert fleet.redis.zrange(keys.UNSENT, 0, -1) == []


def takes_jobs(fleet: Fleet, worker: Worker) -> bool:
    """Whether it runs one of two jobs at a time, sooner or later."""

    def ran() -> bool:
        jobs = [fleet.submit(wanted(fleet)) for _ in range(2)]
        return worker.name in set().union(*(workers_of(fleet.wait(job_id)) for job_id in jobs))

    return eventually(ran, JOB_S)


def test_a_controlnet_worker_that_loses_its_device_costs_a_step_and_comes_back(fleet: Fleet) -> None:
    fleet.start("unet1", UNET).wait_until_ready()
    faulty = fleet.start("controlnet1", "tests.fleet.faulty_controlnet")
    fleet.start("controlnet2", CONTROLNET).wait_until_ready()
    before = faulty.wait_until_ready()
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.pixels(fleet.wait(fleet.submit(guided)))
    faulty.fault.write_text("lost")

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


@pytest.mark.parametrize(("kind", "number"), [("unet", 0), ("controlnet", 1)])
def test_a_device_that_is_full_once_costs_time_only(kind: str, number: int, fleet: Fleet) -> None:
    workers = [
        fleet.start(f"{one}1", f"tests.fleet.faulty_{one}" if one == kind else f"workers.{one}.app")
        for one in ("unet", "controlnet")
    ]
    pids = [worker.wait_until_ready() for worker in workers]
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.pixels(fleet.wait(fleet.submit(guided)))
    workers[number].fault.write_text("full")
    job = fleet.wait(fleet.submit(guided))
    assert np.array_equal(fleet.pixels(job), undisturbed)
    assert (job.attempts, [worker.pid for worker in workers]) == (1, pids)
    assert "device full" in workers[number].log(f"{kind}1")


@pytest.mark.parametrize("kind", ["unet", "controlnet"])
@pytest.mark.parametrize(("fault", "is_lost"), [("assert", True), ("allocate", False)])
def test_a_real_fault_of_a_gpu_costs_no_job(
    fault: str, is_lost: bool, kind: str, fleet: Fleet, cuda: Any
) -> None:
    apps = {one: f"workers.{one}.app" for one in ("unet", "controlnet")}
    apps[kind] = f"tests.fleet.faulty_{kind}"
    workers = {
        one: fleet.start(f"{one}1", app, device="cuda:0", workers_per_device=2) for one, app in apps.items()
    }
    pids = {one: worker.wait_until_ready() for one, worker in workers.items()}
    guided = wanted(fleet, with_controlnet=True)
    undisturbed = fleet.pixels(fleet.wait(fleet.submit(guided)))
    workers[kind].fault.write_text(fault)
    job = fleet.wait(fleet.submit(guided))
    assert workers[kind].raised.exists()
    assert np.abs(fleet.pixels(job) - undisturbed).max() <= 1
    assert (workers[kind].wait_until_ready(after=pids[kind] if is_lost else 0) != pids[kind]) == is_lost
    assert (f"status {STATUS}" in workers[kind].log("supervisor")) == is_lost


@contextmanager
def slow_s3(fleet: Fleet) -> Iterator[Proxy]:
    with proxied(fleet.settings.s3_port) as proxy:
        yield proxy


def wait_until_storing(fleet: Fleet, worker: Worker, job_id: str) -> None:
    """The device is free again, and the job is not stored yet."""
    name = f"{worker.name}@test"
    eventually(lambda: fleet.redis.zscore(keys.FREE_WORKERS, name) is not None, JOB_S)
    eventually(lambda: fleet.jobs.get(job_id).step == 20, JOB_S)
    assert fleet.jobs.get(job_id).status == "running"


def test_a_job_is_computed_while_the_one_before_is_stored(fleet: Fleet) -> None:
    # Given a worker whose S3 server takes images and does not answer
    with slow_s3(fleet) as proxy:
        worker = fleet.start("unet1", UNET, s3_endpoint_url=proxy.url)
        worker.wait_until_ready()
        undisturbed = fleet.pixels(fleet.wait(fleet.submit(wanted(fleet))))
        proxy.gate.clear()
        first = fleet.submit(wanted(fleet))
        wait_until_storing(fleet, worker, first)
        # When two more jobs come
        second, third = fleet.submit(wanted(fleet)), fleet.submit(wanted(fleet))
        eventually(lambda: fleet.jobs.get(second).step == 20, JOB_S)
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
        proxy.gate.set()
        for job_id in (first, second, third):
            assert np.array_equal(fleet.pixels(fleet.wait(job_id)), undisturbed)
        eventually(lambda: not fleet.unacknowledged())


def test_a_worker_never_takes_a_second_message_while_the_first_computes(fleet: Fleet) -> None:
    fleet.start("unet1", UNET).wait_until_ready()
    long_job, other = fleet.submit(wanted(fleet, num_images=4)), fleet.submit(wanted(fleet))
    eventually(lambda: fleet.jobs.get(long_job).step > 2, JOB_S)
    fleet.celery.control.broadcast("pool_grow", arguments={"n": 1}, reply=True, timeout=10, limit=1)
    eventually(lambda: fleet.jobs.get(long_job).step > 10, JOB_S)
    assert (fleet.jobs.get(other).status, fleet.unacknowledged()) == ("queued", [long_job])
    assert fleet.wait(other).status == "succeeded"


def test_a_worker_that_connects_again_still_takes_one_message_at_a_time(fleet: Fleet) -> None:
    # Given an idle worker whose connections break
    worker = fleet.start("unet1", UNET)
    worker.wait_until_ready()
    fleet.wait(fleet.submit(wanted(fleet)))
    fleet.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
    eventually(lambda: "Connection to broker lost" in worker.log("unet1"), JOB_S)
    # When two jobs come, then only one message is taken
    long_job = fleet.submit(wanted(fleet, num_images=4, num_inference_steps=150))
    eventually(lambda: fleet.jobs.get(long_job).step > 2, JOB_S)
    other = fleet.submit(wanted(fleet))
    before = fleet.jobs.get(long_job).step
    eventually(lambda: fleet.jobs.get(long_job).step > before + 5, JOB_S)
    assert (fleet.jobs.get(other).status, fleet.unacknowledged()) == ("queued", [long_job])
    fleet.jobs.cancel(long_job)
    assert fleet.wait(other).status == "succeeded"
    eventually(lambda: not fleet.unacknowledged(), JOB_S)


def test_a_kill_between_image_and_store_loses_no_job(fleet: Fleet) -> None:
    with slow_s3(fleet) as proxy:
        worker = fleet.start("unet1", UNET, s3_endpoint_url=proxy.url)
        worker.wait_until_ready()
        undisturbed = fleet.pixels(fleet.wait(fleet.submit(wanted(fleet))))
        proxy.gate.clear()
        job_id = fleet.submit(wanted(fleet))
        wait_until_storing(fleet, worker, job_id)
        fleet.start("unet2", UNET)
        os.kill(worker.pid, signal.SIGKILL)
        worker.stop()
        job = fleet.wait(job_id)
    assert np.array_equal(fleet.pixels(job), undisturbed)
    assert (job.attempts, workers_of(job)) == (2, {"unet2"})


def test_a_worker_that_is_stopped_stores_what_it_has_computed(fleet: Fleet) -> None:
    with slow_s3(fleet) as proxy:
        worker = fleet.start("unet1", UNET, s3_endpoint_url=proxy.url)
        pid = worker.wait_until_ready()
        proxy.gate.clear()
        job_id = fleet.submit(wanted(fleet))
        wait_until_storing(fleet, worker, job_id)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: "Warm shutdown" in worker.log("unet1") or "hitting Ctrl" in worker.log("unet1"))
        proxy.gate.set()
        job = fleet.wait(job_id)
    assert (job.status, job.attempts, workers_of(job)) == ("succeeded", 1, {"unet1"})
