"""Reports to the registry whether this UNet worker is free, and which LoRAs it holds."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared.registry.availability import Availability
from shared.registry.controlnet_servers import ServerRegistration
from shared.registry.loaded_models import LoadedModels
from shared.registry.lora_inventory import (
    LoraInventory,
    publish_disk_cache,
    publish_inventory,
    remove_inventory,
    renew_disk_cache,
)
from shared.scheduling.releaser import Releaser
from workers.families.base import BaseModel
from workers.lora.cache.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.runtime.model_cache import ModelCache

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Others leave jobs to a worker for so long at most after it has last said that it has their model loaded.
MAX_LOADED_TTL_S = 10.0


class AvailabilityReporter:
    """Registers whether the worker is busy and what it has loaded, at both ends of a job and with heartbeats.

    Failures are logged and the next heartbeat tries again: without Redis a job runs all the same, and
    recovery finds jobs that are reserved for a worker that does not take them.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        serves: Sequence[str],
        ttl_s: float,
        models: ModelCache[BaseModel],
        cache: LoraCache,
        memory: LoraMemory,
        serving: ServerRegistration | None = None,
    ) -> None:
        """Each report lasts ``ttl_s`` seconds. ``serving``: of the ControlNets that it serves while free."""
        self._redis, self._availability, self._releaser = redis, Availability(redis), Releaser(redis)
        self._loaded_models = LoadedModels(redis)
        self._serves, self._ttl_s = list(serves), ttl_s
        self._name, self._host = "", socket.gethostname()
        self._models, self._cache, self._memory = models, cache, memory
        self._serving = serving
        self._is_ready: Callable[[], bool] = lambda: True
        self._jobs: list[str] = []
        self._published_disk: set[str] = set()
        self._has_stopped = False
        self.jobs_wait = False  # when this worker was last registered as free: it takes one of them next
        # Reports are serialized: the heartbeat must not register a worker as free that has just taken a job.
        self._lock = threading.RLock()

    def start(self, name: str, is_ready: Callable[[], bool] = lambda: True) -> None:
        """Set the worker's name; the first `report` registers it.

        While ``is_ready`` returns False, the worker is registered as busy, so that no job is reserved for it.
        """
        self._name, self._is_ready = name, is_ready

    @contextmanager
    def busy_with(self, job_id: str) -> Iterator[None]:
        """Within the block the worker is busy: jobs that were reserved for it go to all workers."""
        self._update(lambda: self._jobs.append(job_id))
        try:
            yield
        finally:
            self._update(lambda: self._jobs.remove(job_id))

    def prefer_patched_loras(self) -> None:
        """Say before the next job is taken which LoRAs are patched; one call a model that has some."""
        disk = self._cache.versions()
        for name, model in self._models.loaded().items():
            if versions := _patched(model, disk):
                with suppress(RedisError):  # then the order stays
                    self._releaser.prefer(name, versions)

    def jobs(self) -> list[str]:
        """The jobs that the worker is busy with."""
        return list(self._jobs)

    def report(self) -> None:
        """Renew everything that was reported, and release expired reservations of all workers."""
        with self._lock:
            self._publish_loras()
            self._releaser.serve(self._name, self._serves, self._ttl_s if self._takes_jobs() else 0)
            self._register()
            self._register_loaded()
        self._availability.release_expired()

    def stop(self) -> None:
        """The worker stops: it takes no more jobs, and those reserved for it go to all workers."""
        with self._lock:
            self._has_stopped = True
            try:
                self._register()
                remove_inventory(self._redis, self._name)
                self._register_loaded()
                self._releaser.serve(self._name, self._serves, 0)
            except RedisError:
                log.warning("worker not removed from the registry: its registration expires")

    def _update(self, change: Callable[[], None]) -> None:
        with self._lock:
            change()
            try:
                if not self._jobs:
                    self._publish_loras()
                self._releaser.release(self._serves)  # before it says whether jobs wait
                self._register()
                self._register_loaded()
            except (RedisError, OSError):
                log.warning("availability not reported: the next heartbeat tries again")

    def _register(self) -> None:
        is_free = False
        if self._jobs or self._has_stopped or not self._is_ready():
            self._availability.register_busy(self._name, self._serves, self._ttl_s)
        else:
            is_free = self._availability.register_free(self._name, self._taken_at_once(), self._ttl_s)
            self.jobs_wait = not is_free
        if self._serving is not None:
            report = self._serving.renew if is_free else self._serving.remove
            report(self._name)

    def _taken_at_once(self) -> list[str]:
        """The models whose jobs it leaves to nobody: those loaded, or all while none is.

        If it takes a job of another model all the same, it is busy from then on, as with any job.
        """
        loaded = set(self._models.names())
        return [model for model in self._serves if model in loaded] or self._serves

    def _register_loaded(self) -> None:
        """Others leave jobs of these models to this worker for a while: only if it takes jobs."""
        loaded = self._models.names() if self._takes_jobs() else []
        self._loaded_models.register(self._name, self._serves, loaded, min(self._ttl_s, MAX_LOADED_TTL_S))

    def _takes_jobs(self) -> bool:
        return not self._has_stopped and self._is_ready()

    def _publish_loras(self) -> None:
        disk = self._cache.versions()
        loaded = self._models.loaded()
        errors = self._models.failed()
        inventory = LoraInventory(
            worker=self._name,
            host=self._host,
            serves=[name for name in self._serves if name not in errors],
            loaded=sorted(loaded),
            patched=[
                f"{name}@{version}" for name, model in loaded.items() for version in _patched(model, disk)
            ],
            memory=self._memory.keys(),
            controlnets=[] if self._serving is None else self._serving.controlnets(),
        )
        publish_inventory(self._redis, inventory, self._ttl_s)
        is_unchanged = set(disk) == self._published_disk
        if not is_unchanged or not renew_disk_cache(self._redis, self._host, self._ttl_s):
            publish_disk_cache(self._redis, self._host, list(disk), self._ttl_s)
            self._published_disk = set(disk)


def _patched(model: BaseModel, disk: Mapping[str, str]) -> list[str]:
    """Versions of the LoRAs in its weights; ``disk`` has the sha256 of each version."""
    hashes = {sha256 for sha256, _ in model.patcher.patched}
    return [version for version, sha256 in disk.items() if sha256 in hashes]
