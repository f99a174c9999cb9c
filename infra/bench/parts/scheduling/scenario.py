"""What the scenarios of part ``fairness`` share: their Redis, their results, and how jobs are made."""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.bench.harness.ports import free_ports
from infra.bench.parts.scheduling.simulated_devices import SimulatedJob, lognormal_s
from infra.local.servers import redis_command, running_process, wait_for_redis
from shared.redis_clients import control_redis
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

DEVICES = 8
#: Jobs of very different lengths, and estimates that err by a quarter.
JOB_S, JOB_SIGMA, ESTIMATE_SIGMA = 5.0, 0.8, 0.25
SEED = 13
READY_S = 20.0


@dataclass
class Scenario:
    """A run of the scenarios: a control Redis with what is on it, and what was measured until now."""

    redis: "Redis"
    queue: FairQueue
    is_quick: bool
    figures: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def count(self, quick: int, full: int) -> int:
        """How many jobs: less of them in the quick form."""
        return quick if self.is_quick else full


@contextmanager
def running_scenario(*, is_quick: bool) -> Iterator[Scenario]:
    """A scenario with a control Redis of its own for the length of the block."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), redis_url=f"redis://127.0.0.1:{port}/0", redis_port=port)
        command = redis_command(port, Path(home), persistent=True)
        with running_process(command, cwd=Path(home), env={}, log=Path(home) / "redis.log"):
            wait_for_redis(settings.redis_url, READY_S)
            redis = control_redis(settings)
            yield Scenario(redis, FairQueue(redis, settings), is_quick)


def make_jobs(rng: random.Random, tenant: str, at_s: Sequence[float], **more: Any) -> list[SimulatedJob]:
    """Jobs that are submitted at these moments."""
    jobs = []
    for moment in at_s:
        device_s = lognormal_s(rng, JOB_S, JOB_SIGMA)
        estimated_s = lognormal_s(rng, device_s, ESTIMATE_SIGMA)
        jobs.append(SimulatedJob(tenant, moment, device_s, estimated_s, **more))
    return jobs


def by_time(*jobs: Sequence[SimulatedJob]) -> list[SimulatedJob]:
    """All of these jobs in the order of their submission."""
    return sorted((job for some in jobs for job in some), key=lambda job: job.at_s)


def backlogged_s(count: int) -> float:
    """While a tenant of so many jobs has some that wait, also if it were given all devices."""
    return 0.8 * count * JOB_S / DEVICES
