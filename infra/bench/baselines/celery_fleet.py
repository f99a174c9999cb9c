"""Plain Celery workers (`celery_baseline`) with their own Redis, and a stream of jobs replayed on them."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import redis
from celery import Celery

from infra.bench.harness.ports import free_ports
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import CheckFailed
from infra.bench.workloads.trace_jobs import TraceJob
from infra.local.environment import inherit, variables_of
from infra.local.servers import redis_command, running_process, wait_for_redis
from shared.settings import ROOT, Settings

GENERATE = "baseline.generate"
QUEUE = "baseline"
#: Redis list: the result of each job, as JSON.
RESULTS = "baseline:results"
READY_S, JOB_S = 60.0, 300.0


class Ended(NamedTuple):
    """A finished job: seconds from its arrival to its stored image, and the image's key."""

    after_s: float
    key: str


class BaselineFleet:
    """Running workers; jobs go straight into their queue."""

    def __init__(self, settings: Settings, generation: Mapping[str, float], pids: Sequence[int]) -> None:
        self.pids = list(pids)
        self._celery = Celery("baseline", broker=settings.redis_url)
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=2 * JOB_S)
        self._generation = dict(generation)

    def cpu_s(self) -> float:
        """CPU seconds of all workers so far."""
        return sum(cpu_s(pid) for pid in self.pids)

    def replay(self, stream: Sequence[TraceJob], **more: float) -> dict[int, Ended]:
        """Send each job at its time, and wait for all; by seed. ``more``: the same for all jobs, too."""
        began, arrived = time.time(), {}
        for job in stream:
            time.sleep(max(0.0, began + job.at_s - time.time()))
            arrived[job.seed] = time.time()
            message = {
                "prompt": job.prompt,
                "seed": job.seed,
                "controlnets": job.controlnets,
                "loras": job.loras,
            }
            self._celery.send_task(GENERATE, args=[message | self._generation | more], queue=QUEUE)
        ended: dict[int, Ended] = {}
        while len(ended) < len(stream):
            answer: Any = self._redis.blpop([RESULTS], timeout=JOB_S)
            if not answer:
                raise CheckFailed(f"the baseline fleet ended {len(ended)} of {len(stream)} jobs")
            outcome = json.loads(answer[1])
            seed = outcome["seed"]
            ended[seed] = Ended(outcome["ended_at"] - arrived[seed], outcome["key"])
        return ended


@contextmanager
def running_baseline_fleet(
    settings: Settings, environment: Mapping[str, str], *, workers: int, generation: Mapping[str, float]
) -> Iterator[BaselineFleet]:
    """``workers`` processes of one thread each; ``generation`` is the same for all jobs."""
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    [port] = free_ports(1)
    settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
    env = inherit({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment, **_describe(settings)})
    with ExitStack() as running:
        running.enter_context(
            running_process(
                redis_command(port, home, persistent=True), cwd=ROOT, env=env, log=home / "redis.log"
            )
        )
        wait_for_redis(settings.redis_url, READY_S)
        pids = []
        for i in range(workers):
            options = [
                "worker",
                "-n",
                f"baseline{i}@%h",
                "--pool=solo",
                "--without-mingle",
                "--without-gossip",
            ]
            command = [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "infra.bench.baselines.celery_baseline",
                *options,
            ]
            worker = running_process(command, cwd=ROOT, env=env, log=home / f"baseline{i}.log")
            pids.append(running.enter_context(worker).pid)
        yield BaselineFleet(settings, generation, pids)


def _describe(settings: Settings) -> dict[str, str]:
    named = {"home", "redis_url", "s3_endpoint_url", "lora_bucket", "image_bucket", "catalog", "device"}
    return variables_of(Settings.model_validate({name: getattr(settings, name) for name in named}))
