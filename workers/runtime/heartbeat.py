"""A worker's own thread: it reports the worker and its numbers, and runs small chores in between."""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from redis.exceptions import RedisError

from shared import metrics
from shared.periodic_thread import PeriodicThread
from shared.registry import workers
from shared.registry.workers import Heartbeat
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A report outlives this many missed beats.
GRACE_BEATS = 4


@dataclass(kw_only=True)
class HeartbeatThread:
    """Says every ``heartbeat_s`` what the worker serves, has loaded and is doing."""

    redis: "Redis"
    settings: Settings
    name: str
    kind: Literal["unet", "controlnet"]
    serves: list[str]
    loaded: Callable[[], list[str]]
    jobs: Callable[[], list[str]]
    utilization: Callable[[], float]
    attached_jobs: Callable[[], dict[str, list[str]]] = dict
    load_errors: Callable[[], dict[str, str]] = dict
    unavailable_reasons: Callable[[], list[str]] = list
    chores: Sequence[Callable[[], None]] = ()

    def __post_init__(self) -> None:
        self._started_at = time.time()
        self._thread = PeriodicThread("heartbeat", self.settings.heartbeat_s, self._beat, call_at_start=True)

    def start(self) -> None:
        """Start reporting, at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reporting, and take the worker off the list of live workers."""
        self._thread.stop(timeout_s=5)
        try:
            workers.remove_worker(self.redis, self.name)
        except RedisError:
            log.warning("could not sign off; the report expires by itself")

    def _beat(self) -> None:
        ttl_s = self.settings.heartbeat_s * GRACE_BEATS
        parts: list[Callable[[], object]] = [
            lambda: workers.publish_heartbeat(self.redis, self._report(), ttl_s),
            lambda: metrics.publish(self.redis, self.name, ttl_s),
            *self.chores,
        ]
        for part in parts:
            if self._thread.is_stopping:
                return  # while Redis is away each of them takes its time
            try:
                part()
            except Exception:  # the others run all the same
                log.exception("a part of the heartbeat failed; the next beat tries again")

    def _report(self) -> Heartbeat:
        return Heartbeat(
            name=self.name,
            kind=self.kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self.settings.device,
            serves=self.serves,
            loaded=self.loaded(),
            jobs=self.jobs(),
            attached_jobs=self.attached_jobs(),
            load_errors=self.load_errors(),
            unavailable_reasons=self.unavailable_reasons(),
            utilization=self.utilization(),
            started_at=self._started_at,
            version=version("swiftdiffusion"),
        )
