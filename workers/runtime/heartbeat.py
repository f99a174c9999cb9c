"""A worker's heartbeat: publishes its report and its metrics to Redis, and runs small tasks."""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared import metrics
from shared.periodic_thread import PeriodicThread
from shared.redis_clients import renewal_client
from shared.registry import workers
from shared.registry.workers import Heartbeat, WorkerKind
from shared.settings import Settings
from workers.devices.base import Device
from workers.devices.platform import describe_platform
from workers.runtime.activity.device_activity import DeviceActivity

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A report outlives this many missed heartbeats.
GRACE_BEATS = 4


class HeartbeatThread:
    """Every ``interval_s`` seconds: publishes the report and the metrics, then runs the tasks."""

    def __init__(
        self,
        redis: "Redis",
        name: str,
        interval_s: float,
        report: Callable[[], Heartbeat],
        tasks: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._name = name
        self._ttl_s = interval_s * GRACE_BEATS
        self._redis = renewal_client(redis, self._ttl_s)
        self._report = report
        self._tasks = tasks
        self._thread = PeriodicThread("heartbeat", interval_s, self._beat, call_at_start=True)

    def start(self) -> None:
        """Start reporting, at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reporting, and take the worker off the list of live workers."""
        self._thread.stop(timeout_s=5)
        try:
            workers.remove_worker(self._redis, self._name)
        except RedisError:
            log.warning("could not sign off; the report expires by itself")

    def _beat(self) -> None:
        parts: list[Callable[[], object]] = [
            lambda: workers.publish_heartbeat(self._redis, self._report(), self._ttl_s),
            lambda: metrics.publish(self._redis, self._name, self._ttl_s),
            *self._tasks,
        ]
        for part in parts:
            if self._thread.is_stopping:
                return  # while Redis is away each of them takes its time
            try:
                part()
            except Exception:  # the others run all the same
                log.exception("a part of the heartbeat failed; the next beat tries again")


@dataclass(frozen=True, kw_only=True)
class ControlNetReport:
    """The ControlNets of a UNet worker, as its heartbeat shows them."""

    served: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    load_errors: dict[str, str] = field(default_factory=dict)


def describe_worker(
    settings: Settings,
    device: Device | None,
    *,
    name: str,
    kind: WorkerKind,
    serves: list[str],
    loaded: list[str],
    jobs: list[str],
    attached_jobs: dict[str, list[str]],
    load_errors: dict[str, str],
    engines: dict[str, str],
    unavailable_reasons: list[str],
    warnings: list[str],
    received_residuals: dict[str, dict[str, int]],
    activity: DeviceActivity,
    started_at: float,
    controlnets: ControlNetReport | None = None,
) -> Heartbeat:
    """The report of a worker that runs in this process; ``device`` is asked, ``None`` once it is lost.

    ``controlnets``: those of a UNet worker.
    """
    held = controlnets or ControlNetReport()
    memory = device.memory() if device is not None else None
    return Heartbeat(
        name=name,
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=settings.device_name or settings.device,
        platform=describe_platform(device).digest if device is not None else "",
        gpu=device.describe().get("gpu") if device is not None else None,
        device_free_bytes=memory.free_bytes if memory is not None else None,
        device_total_bytes=memory.total_bytes if memory is not None else None,
        serves=serves,
        loaded=loaded,
        jobs=jobs,
        attached_jobs=attached_jobs,
        load_errors=load_errors,
        engines=engines,
        unavailable_reasons=unavailable_reasons,
        warnings=warnings,
        received_residuals=received_residuals,
        activity=activity.current(),
        activity_shares=activity.shares(),
        utilization=activity.utilization(),
        served_controlnets=held.served,
        loaded_controlnets=held.loaded,
        controlnet_load_errors=held.load_errors,
        controlnet_steps=activity.controlnet_steps(),
        started_at=started_at,
        version=version("swiftdiffusion"),
    )
