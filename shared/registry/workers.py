"""The worker registry: which workers are alive. Each publishes a heartbeat, which expires unless renewed."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shared import keys
from shared.message_base import Message, read_all

if TYPE_CHECKING:
    from redis import Redis


WorkerKind = Literal["unet", "controlnet"]
#: What a worker's device does: a job of its own, the branch of another worker's job, steps of ControlNets for
#: other workers' jobs, or nothing.
Activity = Literal["generate", "follow", "serve", "idle"]
#: How the reason begins why a worker takes no work yet that runs its models once before; progress follows.
WARMING_UP = "warming up"
#: After this, names of workers that stopped without removing themselves are dropped from the index.
_INDEX_TTL_S = 3600
#: What fields of a heartbeat were called up to 0.1.0. Both names are written and read, because workers and
#: web processes of both versions run side by side during an upgrade.
_PREVIOUS_NAMES = {
    "jobs": "doing",
    "attached_jobs": "sessions",
    "load_errors": "failed",
    "unavailable_reasons": "problems",
    "utilization": "busy_share",
}


class Heartbeat(Message):
    """A worker's report of itself."""

    model_config = ConfigDict(extra="ignore")  # a worker of a newer version reports more

    name: str
    kind: WorkerKind
    host: str
    pid: int
    device: str
    platform: str = Field(
        "",
        description="digest of its kind of device or CPU, threads and library versions: workers of"
        " one platform compute the same bits; empty: its device is lost, or its version does not say",
    )
    gpu: str | None = Field(None, description="what the device is, as its maker calls it; null: no GPU")
    device_free_bytes: int | None = Field(
        None, description="free memory of the GPU, of all processes; null: it has none of its own, or is lost"
    )
    device_total_bytes: int | None = Field(None, description="memory of the GPU")
    serves: list[str] = Field(description="models or ControlNets that it takes work for")
    loaded: list[str] = Field(description="those of them whose weights are in memory")
    served_controlnets: list[str] = Field(
        default_factory=list,
        description="of a UNet worker: ControlNets that it may load, for its own jobs and, while it is idle, "
        "for others'",
    )
    loaded_controlnets: list[str] = Field(
        default_factory=list, description="those of them whose weights are in memory: it serves these now"
    )
    jobs: list[str] = Field(description="jobs that it works on right now")
    attached_jobs: dict[str, list[str]] = Field(
        default_factory=dict,
        description="jobs of other workers that it computes a part of, by ControlNet or (latent parallelism)"
        " model",
    )
    load_errors: dict[str, str] = Field(
        default_factory=dict,
        description="models or ControlNets that it could not load, and why; it tries again after a while",
    )
    controlnet_load_errors: dict[str, str] = Field(
        default_factory=dict, description="of a UNet worker: the same for its ControlNets"
    )
    engines: dict[str, str] = Field(
        default_factory=dict,
        description="what runs each loaded model or ControlNet: eager, graphs or compile; with the reason"
        " where it is not what the catalog says",
    )
    unavailable_reasons: list[str] = Field(
        default_factory=list,
        description="why it takes no work although it is alive; empty: it does",
    )
    warnings: list[str] = Field(
        default_factory=list,
        description="what makes it slower than it could be, in sentences; it takes work all the same",
    )
    received_residuals: dict[str, dict[str, int]] = Field(
        default_factory=dict,
        description="residuals that it received in the last minute, by the worker that sent them and by the"
        " transport backend that carried them: `inline`, `cuda_ipc`, `shared_memory` or `redis`",
    )
    activity: Activity | None = Field(
        None,
        description="what its device does now: `generate` (a job of its own), `follow` (a branch of another "
        "worker's job), `serve` (ControlNets of others' jobs) or `idle`; null: its version does not say",
    )
    activity_shares: dict[Activity, float] = Field(
        default_factory=dict, description="share of the last minute that its device spent on each activity"
    )
    controlnet_steps: dict[str, dict[str, int]] = Field(
        default_factory=dict,
        description="steps of the last minute, by ControlNet and by why it computed them: `served` for "
        "another worker's job, `requester` for its own, as nobody else had claimed them, `local` for its "
        "own, as nobody serves them or their residuals would travel for too long",
    )
    utilization: float = Field(description="share of the last minute in which its device was busy, 0 to 1")
    started_at: float = Field(description="seconds since the epoch")
    version: str

    def takes_work_for(self, kind: WorkerKind, name: str) -> bool:
        """Whether it takes work for a model or ControlNet right now."""
        is_able = not self.unavailable_reasons and name not in self.load_errors_of(kind)
        return is_able and name in self.served_of(kind)

    def served_of(self, kind: WorkerKind) -> list[str]:
        """The models, or the ControlNets, that it takes work for: a UNet worker serves both."""
        return self.serves if self.kind == kind else self.served_controlnets if kind == "controlnet" else []

    def loaded_of(self, kind: WorkerKind) -> list[str]:
        """The models, or the ControlNets, whose weights it has in memory."""
        return self.loaded if self.kind == kind else self.loaded_controlnets if kind == "controlnet" else []

    def load_errors_of(self, kind: WorkerKind) -> dict[str, str]:
        """The models, or the ControlNets, that it could not load, and why."""
        if self.kind == kind:
            return self.load_errors
        return self.controlnet_load_errors if kind == "controlnet" else {}

    @model_validator(mode="before")
    @classmethod
    def _read_previous_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        renamed = {new: values[old] for new, old in _PREVIOUS_NAMES.items() if old in values}
        return renamed | values


def publish_heartbeat(redis: "Redis", heartbeat: Heartbeat, ttl_s: float) -> None:
    """Register a worker as alive for ``ttl_s`` seconds."""
    now = int(redis.time()[0])  # the clocks of workers may differ by hours
    report = heartbeat.model_dump()
    report |= {old: report[new] for new, old in _PREVIOUS_NAMES.items()}
    pipe = redis.pipeline()
    pipe.set(keys.worker(heartbeat.name), json.dumps(report), px=int(ttl_s * 1000))
    pipe.zadd(keys.WORKERS, {heartbeat.name: now})
    pipe.zremrangebyscore(keys.WORKERS, 0, now - _INDEX_TTL_S)
    pipe.execute()


def remove_worker(redis: "Redis", name: str) -> None:
    """Remove a worker that stops."""
    pipe = redis.pipeline()
    pipe.delete(keys.worker(name))
    pipe.zrem(keys.WORKERS, name)
    pipe.execute()


def live_workers(redis: "Redis") -> list[Heartbeat]:
    """The unexpired heartbeats, by name of the worker."""
    return read_heartbeats(redis, sorted(map(str, redis.zrange(keys.WORKERS, 0, -1))))


def read_heartbeats(redis: "Redis", names: Sequence[str]) -> list[Heartbeat]:
    """The unexpired heartbeats of these workers."""
    reports = redis.mget([keys.worker(name) for name in names]) if names else []
    return read_all(Heartbeat, reports)
