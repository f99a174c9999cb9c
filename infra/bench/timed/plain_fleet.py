"""Plain Celery workers on timed devices (`plain_app`), with their own Redis."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from infra.bench.harness.ports import free_ports
from infra.bench.harness.report import CheckFailed
from infra.bench.simulate.traffic import SimulatedJob
from infra.local.environment import inherit, variables_of
from infra.local.servers import redis_command, running_process, wait_for_redis
from shared.settings import ROOT, Settings

GENERATE, QUEUE = "plain.generate", "plain"
#: Redis list: the number of each job and when it ended, as JSON.
RESULTS = "plain:results"
READY_S, JOB_S = 60.0, 600.0


class PlainTimedFleet:
    """Running workers; jobs go straight into their queue."""

    def __init__(self, url: str) -> None:
        self._celery = Celery("plain", broker=url)
        self._redis = redis.Redis.from_url(url, socket_timeout=2 * JOB_S)

    def replay(self, jobs: Sequence[SimulatedJob]) -> list[float]:
        """Send each job at its time, and wait for all; latencies in seconds, in the order of the jobs."""
        began, sent = time.time(), []
        for number, job in enumerate(jobs):
            time.sleep(max(0.0, began + job.at_s - jobs[0].at_s - time.time()))
            sent.append(time.time())
            wanted = [number, job.model, list(job.controlnets), len(job.loras), job.steps]
            self._celery.send_task(GENERATE, args=wanted, queue=QUEUE)
        latencies_s = [0.0] * len(jobs)
        for _ in jobs:
            answer: Any = self._redis.blpop([RESULTS], timeout=JOB_S)
            if not answer:
                raise CheckFailed("the plain fleet did not end all jobs")
            number, ended_at = json.loads(answer[1])
            latencies_s[number] = ended_at - sent[number]
        return latencies_s


@contextmanager
def running_plain_fleet(
    home: Path, catalog: Path, *, workers: int, memory_bytes: int
) -> Iterator[PlainTimedFleet]:
    """``workers`` processes, each a device with ``memory_bytes`` for models."""
    home.mkdir(parents=True, exist_ok=True)
    [port] = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    settings = Settings(home=home, redis_url=url, catalog=catalog, model_memory_bytes=memory_bytes)
    env = inherit({"OMP_NUM_THREADS": "1", **variables_of(settings)})
    words = [sys.executable, "-m", "celery", "-A", "infra.bench.timed.plain_app", "worker"]
    options = ["--pool=solo", "--without-mingle", "--without-gossip"]
    with ExitStack() as running:
        command = redis_command(port, home, persistent=True)
        running.enter_context(running_process(command, cwd=ROOT, env=env, log=home / "redis.log"))
        wait_for_redis(url, READY_S)
        redis.Redis.from_url(url).flushall()  # of a run that was ended
        for i in range(workers):
            named = [*words, "-n", f"plain{i}@%h", *options]
            running.enter_context(running_process(named, cwd=ROOT, env=env, log=home / f"plain{i}.log"))
        yield PlainTimedFleet(url)
