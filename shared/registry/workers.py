"""Who is alive: every worker reports itself, and what is silent too long is gone."""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from shared import keys
from shared.messaging.base_model import Message, read_all

if TYPE_CHECKING:
    from redis import Redis


WorkerKind = Literal["unet", "controlnet"]


class Heartbeat(Message):
    """What a worker says of itself; times are seconds since the epoch."""

    model_config = ConfigDict(extra="ignore")  # a newer worker says more

    name: str
    kind: WorkerKind
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
