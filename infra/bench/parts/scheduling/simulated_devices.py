"""Devices that take jobs from the real queues and scripts of a Redis, and compute them in simulated time.

A job costs a few Redis calls, whatever it would take on a device: hours of a fleet pass in seconds.
"""

import heapq
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue

if TYPE_CHECKING:
    from redis import Redis

MODEL = "simulated"
#: Longer than any simulation takes.
LONG_S = 86_400.0
#: What the script of a job does when the job ends; its own times are of the real clock.
_END = "held.settle(ARGV[1], ARGV[2]) held.drop(ARGV[1])"


@dataclass
class SimulatedJob:
    """A job of a tenant; times are seconds of the simulation."""

    tenant: str
    at_s: float
    device_s: float  # what it takes
    estimated_s: float  # what the scheduler believes
    priority: str = "normal"
    id: str = field(init=False, default="")
    started_s: float = field(init=False, default=-1.0)
    ended_s: float = field(init=False, default=-1.0)
    eta_s: float | None = field(init=False, default=None)
    eta_p90_s: float | None = field(init=False, default=None)


@dataclass
class SimulatedDevices:
    """So many workers, each with one device."""

    redis: "Redis"
    queue: FairQueue
    count: int
    now_s: float = 0.0
    ended: list[SimulatedJob] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with an empty Redis."""
        self.redis.flushdb()
        self._script = self.redis.register_script(
            read_lua("shared", "call") + read_lua("shared.scheduling", "held") + _END
        )
        self._ids = itertools.count(1)
        self._jobs: dict[str, SimulatedJob] = {}
        self._running: list[tuple[float, int, SimulatedJob]] = []
        self.free = self.count
        for n in range(self.count):
            self.queue.serve(f"unet{n}@simulated", [MODEL], LONG_S)

    def submit(self, job: SimulatedJob) -> None:
        """Accept a job now."""
        number = next(self._ids)
        job.id = f"{number:016x}"
        self._jobs[job.id] = job
        fields: dict[Any, Any] = {
            "status": "queued",
            "tenant": job.tenant,
            "priority": job.priority,
            "cost_s": job.estimated_s,
        }
        self.redis.hset(keys.job(job.id), mapping=fields)
        self.queue.place(job.id, MODEL)
        self._take()

    def run(self, arrivals: Iterable[SimulatedJob], until_s: float) -> None:
        """Pass time until ``until_s``, or until nothing is left to do; arrivals are in their order."""
        waiting: Iterator[SimulatedJob] = iter(arrivals)
        following = next(waiting, None)
        while following is not None or self._running:
            ends_s = self._running[0][0] if self._running else float("inf")
            comes_s = following.at_s if following is not None else float("inf")
            if min(ends_s, comes_s) > until_s:
                break
            self.now_s = min(ends_s, comes_s)
            if comes_s <= ends_s:
                assert following is not None
                self.before_submit(following)
                self.submit(following)
                following = next(waiting, None)
            else:
                self._end(heapq.heappop(self._running)[2])

    def before_submit(self, job: SimulatedJob) -> None:
        """What is done for a job before it is accepted: estimates, in a subclass."""

    def used_s(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Device-seconds of each tenant between two moments."""
        used: dict[str, float] = {}
        for job in [*self.ended, *(job for _, _, job in self._running)]:
            stop_s = job.ended_s if job.ended_s >= 0 else end_s
            part = min(stop_s, end_s) - max(job.started_s, begin_s)
            used[job.tenant] = used.get(job.tenant, 0.0) + max(part, 0.0)
        return used

    def _take(self) -> None:
        while self.free:
            text: Any = self.redis.rpop(unet_queue(MODEL))
            if text is None:
                return
            job = self._jobs[json.loads(text)["headers"]["id"]]
            self.queue.release([MODEL])
            self.free -= 1
            job.started_s = self.now_s
            heapq.heappush(self._running, (self.now_s + job.device_s, int(job.id, 16), job))

    def _end(self, job: SimulatedJob) -> None:
        job.ended_s = self.now_s
        self.free += 1
        self.ended.append(job)
        self._script(keys=[], args=[job.id, job.device_s])
        self.redis.delete(keys.job(job.id))
        self.queue.release([MODEL])
        self._take()


def lognormal_s(rng: random.Random, mean_s: float, sigma: float) -> float:
    """A time with this mean."""
    return mean_s * rng.lognormvariate(-sigma * sigma / 2, sigma)
