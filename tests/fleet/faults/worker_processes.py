"""Worker processes under the local stack's supervisor, which serve one test after another."""

import io
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from infra.local.environment import inherit, variables_of
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.messaging.celery_app import make_celery
from shared.registry.workers import Heartbeat, live_workers
from shared.scheduling.fair_queue import FairQueue
from shared.settings import ROOT, Settings
from shared.storage.object_store import Bucket
from tests.infra.local.waiting import eventually
from tests.proxy import Proxy

READY_S, JOB_S = 120.0, 120.0
ENDED = ("succeeded", "failed", "cancelled")
#: The app of each worker; the first of a kind is the same one on a device that can be told to fail.
APPS = {
    "unet1": "tests.fleet.faults.faulty_unet",
    "unet2": "workers.unet.app",
    "controlnet1": "tests.fleet.faults.faulty_controlnet",
    "controlnet2": "workers.controlnet.app",
}


class Worker:
    """A worker process and its supervisor."""

    def __init__(self, redis: Redis, name: str, folder: Path, settings: Settings) -> None:
        self.name, self.folder = name, folder
        self.raised, self._fault = folder / "raised", folder / "fault"
        folder.mkdir()
        settings = settings.model_copy(update={"home": folder / "home"})
        environment = {**variables_of(settings), "OMP_NUM_THREADS": "1", "FAULT_FILE": str(self._fault)}
        self._redis = redis
        self._supervisor = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.fleet.faults.supervised_worker",
                str(folder / "stack"),
                name,
                APPS[name],
            ],
            cwd=ROOT,
            env=inherit(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        """Of the process that runs now; 0 before the first one."""
        with suppress(FileNotFoundError):
            return int((self.folder / "stack" / "pids" / f"{self.name}.pid").read_text())
        return 0

    def fail_once(self, fault: str) -> None:
        """Have the device fail in the next forward pass; ``raised`` is there from then on."""
        self.raised.unlink(missing_ok=True)
        self._fault.write_text(fault)

    def log(self, name: str = "") -> str:
        """The log of the worker so far, or of its ``supervisor``."""
        path = self.folder / "stack" / "logs" / f"{name or self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self) -> Heartbeat | None:
        """What the process that runs now says of itself."""
        beats = live_workers(self._redis)
        return next(
            (beat for beat in beats if (beat.name, beat.pid) == (f"{self.name}@test", self.pid)), None
        )

    def wait_until_ready(self, after: int = 0) -> int:
        """Return the pid once it takes work; not the process ``after``."""

        def ready() -> int:
            beat = self.report()
            return beat.pid if beat is not None and not beat.unavailable_reasons else 0

        assert eventually(lambda: ready() not in (0, after), READY_S), self.log()
        return ready()

    def stop(self) -> None:
        """Stop it, if it still runs, and its supervisor, which would start it again."""
        self._supervisor.terminate()
        self._supervisor.wait(timeout=60)


class Fleet:
    """Servers and the jobs that they hold; workers come and go."""

    def __init__(self, settings: Settings, redis: Redis, folder: Path, s3: Proxy) -> None:
        """``s3`` is the S3 server as the worker ``unet1`` sees it."""
        self.settings, self.redis, self.s3 = settings, redis, s3
        self.jobs, self.celery = JobStore(redis, settings), make_celery(settings)
        self._queue = FairQueue(redis, settings)
        self.images = Bucket(settings, settings.image_bucket)
        self._folder = folder
        self._running: dict[str, tuple[dict[str, Any], Worker]] = {}
        self._started = 0
        self._submitted: list[str] = []
        self._undisturbed: dict[str, NDArray[np.int16]] = {}

    def use(self, *names: str, **changes: Any) -> list[Worker]:
        """Have these workers ready for jobs, and no others run: those of the test before run on.

        ``changes`` are settings; a worker of others is started again.
        """
        for name, (settings, worker) in list(self._running.items()):
            if name not in names or settings != changes:
                self.stop(worker)
        for name in names:
            if name not in self._running:
                self.start(name, **changes)
        workers = [self._running[name][1] for name in names]
        for worker in workers:
            worker.wait_until_ready()
        return workers

    def start(self, name: str, **changes: Any) -> Worker:
        """Start a worker, without waiting for it."""
        own = {"s3_endpoint_url": self.s3.url} if name == "unet1" else {}
        settings = self.settings.model_copy(update={**own, **changes})
        self._started += 1
        worker = Worker(self.redis, name, self._folder / f"{self._started}-{name}", settings)
        self._running[name] = changes, worker
        return worker

    def stop(self, worker: Worker) -> None:
        """Stop a worker for good."""
        del self._running[worker.name]
        worker.stop()

    def end_jobs(self) -> None:
        """Leave no job to the next test, and no message: a killed worker's is dropped only after a minute."""
        self.s3.gate.set()
        for job_id in self._submitted:
            self.jobs.cancel(job_id)
        for job_id in self._submitted:
            self.wait(job_id)
        self._submitted.clear()
        self.redis.delete("unacked", "unacked_index")

    def stop_all(self) -> None:
        """Stop every worker."""
        for _, worker in list(self._running.values()):
            self.stop(worker)

    def submit(self, wanted: JobSpec) -> str:
        """Accept a job as the web does; returns its id."""
        job_id, _ = self.jobs.create(wanted, tenant=LOCAL)
        self._submitted.append(job_id)
        self._queue.place(job_id, wanted.model)
        return job_id

    def wait(self, job_id: str) -> Job:
        """The job once it has ended."""
        eventually(lambda: self.jobs.get(job_id).status in ENDED, JOB_S)
        return self.jobs.get(job_id)

    def pixels(self, job: Job) -> NDArray[np.int16]:
        """The image of a job that succeeded."""
        assert job.status == "succeeded", job.error
        return np.asarray(Image.open(io.BytesIO(self.images.get(job.images[0].key))), dtype=np.int16)

    def undisturbed(self, wanted: JobSpec) -> NDArray[np.int16]:
        """The image of a job that nothing disturbs, generated once."""
        key = wanted.model_dump_json()
        if key not in self._undisturbed:
            self._undisturbed[key] = self.pixels(self.wait(self.submit(wanted)))
        return self._undisturbed[key]

    def unacknowledged(self) -> list[str]:
        """Ids of messages that workers hold."""
        return [json.loads(text)[0]["headers"]["id"] for text in self.redis.hvals("unacked")]
