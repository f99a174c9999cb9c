"""Knows whether another worker could serve a ControlNet now: what nobody could take need not be sent."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, live_workers

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: So often heartbeats are read while jobs ask: a worker that becomes idle is noticed after as long at most.
READ_EVERY_S = 1.0
#: What was read longer ago says nothing: without it everything is sent.
KNOWN_S = 3 * READ_EVERY_S
#: So often heartbeats of UNet workers with a job are read, too: which names are those of UNet workers.
READ_ALL_EVERY_S = 30.0


class OtherWorkers:
    """What the registry says of the others, for a worker with a job; safe to use from several threads."""

    def __init__(self, redis: "Redis", now: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._now = redis, now
        self._lock = threading.Lock()
        self._is_reading = False
        self._read_at = self._all_read_at = float("-inf")
        self._served: frozenset[tuple[str, str]] = frozenset()  # ControlNets with their workers' platforms
        self._unet_workers: frozenset[str] = frozenset()

    def may_serve(self, controlnet: str, platform: str = "") -> bool:
        """Whether one could take a step of this ControlNet now, or nobody knows.

        ``platform``: digest of the only one that may; empty: any.
        Never waits: what was read more than a second ago is read again in a thread.
        """
        with self._lock:
            age_s = self._now() - self._read_at
            if age_s >= READ_EVERY_S and not self._is_reading:
                self._is_reading = True
                threading.Thread(target=self._read_beside, name="other workers", daemon=True).start()
            return age_s > KNOWN_S or (controlnet, platform) in self._served

    def read(self) -> None:
        """Read the registry; raises `redis.RedisError`.

        Heartbeats of UNet workers that are not free are mostly not read: at saturation that are nearly all.
        """
        at, free = self._now(), set(Availability(self._redis).free_workers())
        reads_all = at - self._all_read_at >= READ_ALL_EVERY_S
        skipped = frozenset() if reads_all else self._unet_workers - free
        workers = live_workers(self._redis, skipped=skipped)
        with self._lock:
            self._read_at = at
            if reads_all:
                self._all_read_at = at
            self._unet_workers = skipped | {worker.name for worker in workers if worker.kind == "unet"}
            self._served = frozenset(
                (name, platform)
                for worker in workers
                for name in _served_by(worker, free)
                for platform in ("", worker.platform)
            )

    def _read_beside(self) -> None:
        try:
            self.read()
        except RedisError:
            log.warning("not known who may serve; steps are sent")
        finally:
            with self._lock:
                self._is_reading = False


def _served_by(worker: Heartbeat, free: Collection[str]) -> list[str]:
    """A UNet worker serves what it has loaded, while it is free; a ControlNet worker loads what it lacks."""
    if worker.kind == "unet":
        names = worker.loaded_controlnets if worker.name in free else []
    else:
        names = worker.serves
    return [name for name in names if worker.takes_work_for("controlnet", name)]
