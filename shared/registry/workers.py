"""Who is alive: every worker reports itself, and what is silent too long is gone."""

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from shared import keys
from shared.messaging.base_model import Message, read_all

if TYPE_CHECKING:
    from redis import Redis


#: A list of workers is believed for so long.
ROSTER_S = 1.0


class Heartbeat(Message):
    """What a worker says of itself; times are seconds since the epoch."""

    model_config = ConfigDict(extra="ignore")  # a newer worker says more

    name: str
    kind: Literal["unet", "controlnet"]
    host: str
    pid: int
    device: str
    serves: list[str]  # models or ControlNets it takes work for
    loaded: list[str]  # those whose weights are in memory
    doing: list[str]  # jobs it works on right now
    #: By ControlNet: jobs whose steps it computes; of a UNet worker, by model: jobs of others that it
    #: assists.
    sessions: dict[str, list[str]] = Field(default_factory=dict)
    #: Those that could not be loaded, and why; tried again after a while.
    failed: dict[str, str] = Field(default_factory=dict)
    #: Why it takes no work right now, though it lives; empty: it does.
    problems: list[str] = Field(default_factory=list)
    busy_share: float  # of its device, over the last minute
    started_at: float
    version: str


def publish_heartbeat(redis: "Redis", heartbeat: Heartbeat, ttl_s: float) -> None:
    """Report a worker; the report lasts ``ttl_s`` seconds."""
    now = int(redis.time()[0])  # workers' clocks may be hours apart
    pipe = redis.pipeline()
    pipe.set(keys.worker(heartbeat.name), heartbeat.model_dump_json(), px=int(ttl_s * 1000))
    pipe.zadd(keys.WORKERS, {heartbeat.name: now})
    pipe.zremrangebyscore(keys.WORKERS, 0, now - 3600)
    pipe.execute()


def remove_worker(redis: "Redis", name: str) -> None:
    """Take a worker that stops off the list."""
    pipe = redis.pipeline()
    pipe.delete(keys.worker(name))
    pipe.zrem(keys.WORKERS, name)
    pipe.execute()


def live_workers(redis: "Redis") -> list[Heartbeat]:
    """The workers that reported lately, by name."""
    names: list[str] = sorted(map(str, redis.zrange(keys.WORKERS, 0, -1)))
    reports = redis.mget([keys.worker(name) for name in names]) if names else []
    return read_all(Heartbeat, reports)


class Serving:
    """Which models and ControlNets living workers serve, of those that are well."""

    def __init__(self, workers: Iterable[Heartbeat]) -> None:
        self.workers = list(workers)

    def by(self, kind: Literal["unet", "controlnet"], name: str) -> list[str]:
        """The workers that take work for a model or ControlNet right now."""
        able = (worker for worker in self._of(kind, name) if not worker.problems)
        return [worker.name for worker in able if name not in worker.failed]

    def failure(self, kind: Literal["unet", "controlnet"], name: str) -> str | None:
        """Why no worker can load it; ``None`` if one can, or has not tried, or none serves it."""
        reasons = [worker.failed.get(name) for worker in self._of(kind, name)]
        return None if not reasons or None in reasons else reasons[0]

    def failures(self, kind: Literal["unet", "controlnet"], name: str) -> int:
        """How many workers could not load it."""
        return sum(name in worker.failed for worker in self._of(kind, name))

    def unserved(self, kind: Literal["unet", "controlnet"], names: Iterable[str]) -> list[str]:
        """Those of ``names`` that no worker takes work for."""
        return [name for name in names if not self.by(kind, name)]

    def problems(self) -> dict[str, list[str]]:
        """What is wrong with living workers, by worker: what keeps them from work, and what did not load."""
        found = {worker.name: [*worker.problems, *worker.failed.values()] for worker in self.workers}
        return {name: problems for name, problems in found.items() if problems}

    def _of(self, kind: str, name: str) -> list[Heartbeat]:
        return [worker for worker in self.workers if worker.kind == kind and name in worker.serves]


class Roster:
    """The living workers, read at most every `ROSTER_S`: every submission asks for them."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._workers: list[Heartbeat] = []
        self._until = -1.0

    def workers(self) -> list[Heartbeat]:
        """As they reported lately."""
        with self._lock:
            if time.monotonic() > self._until:
                self._workers, self._until = live_workers(self._redis), time.monotonic() + ROSTER_S
            return self._workers

    def forget(self) -> None:
        """Read them anew the next time."""
        self._until = -1.0
