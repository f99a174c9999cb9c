"""This worker's place among the free ones, and what it tells of the LoRAs it holds."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared.registry.availability import Availability
from shared.registry.lora_inventory import (
    LoraInventory,
    publish_disk_cache,
    publish_inventory,
    remove_inventory,
    renew_disk_cache,
)
from workers.families.base_model import BaseModel
from workers.lora.cache.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.runtime.model_cache import ModelCache

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)


class AvailabilityReporter:
    """Says when the worker begins and ends a job, and again with every heartbeat.

    Placement is a favour: without Redis a job is drawn all the same, and found again by recovery.
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
    ) -> None:
        self._redis, self._availability = redis, Availability(redis)
        self._serves, self._ttl_s = list(serves), ttl_s
        self._name, self._host = "", socket.gethostname()
        self._models, self._cache, self._memory = models, cache, memory
        self._is_able: Callable[[], bool] = lambda: True
        self._jobs = 0
        self._disk: set[str] = set()  # as it was told last
        self._has_left = False
        self._turn = threading.RLock()  # the heartbeat must not offer what a job has just taken

    def sit(self, name: str, is_able: Callable[[], bool] = lambda: True) -> None:
        """Begin, under the worker's name; the first `refresh` tells of it.

        ``is_able`` says whether the worker takes jobs; while it does not, none is promised to it.
        """
        self._name, self._is_able = name, is_able

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within the block the worker has work: what was promised to it meanwhile is for all."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def refresh(self) -> None:
        """A chore of the heartbeat: tell everything again, and look after promises of dead workers."""
        with self._turn:
            self._publish()
            self._tell()
        self._availability.release_expired()

    def leave(self) -> None:
        """The worker stops: it takes no more jobs, and those it was promised are for all."""
        with self._turn:
            self._has_left = True
            try:
                self._tell()
                remove_inventory(self._redis, self._name)
            except RedisError:
                log.warning("could not leave its seat; it expires by itself")

    def _count(self, jobs: int) -> None:
        with self._turn:
            self._jobs += jobs
            try:
                if not self._jobs:
                    self._publish()
                self._tell()
            except (RedisError, OSError):
                log.warning("placement does not hear of this worker until its next heartbeat")

    def _tell(self) -> None:
        if self._jobs or self._has_left or not self._is_able():
            self._availability.register_busy(self._name, self._serves, self._ttl_s)
        else:
            self._availability.register_free(self._name, self._serves, self._ttl_s)

    def _publish(self) -> None:
        disk = self._cache.versions()
        held = self._models.loaded()
        failed = self._models.failed()
        patched = {name: {sha for sha, _ in model.patcher.patched} for name, model in held.items()}
        holdings = LoraInventory(
            worker=self._name,
            host=self._host,
            serves=[name for name in self._serves if name not in failed],
            loaded=sorted(held),
            patched=[
                f"{name}@{version}"
                for name, hashes in patched.items()
                for version, sha256 in disk.items()
                if sha256 in hashes
            ],
            memory=self._memory.keys(),
        )
        publish_inventory(self._redis, holdings, self._ttl_s)
        if set(disk) != self._disk or not renew_disk_cache(self._redis, self._host, self._ttl_s):
            publish_disk_cache(self._redis, self._host, list(disk), self._ttl_s)
            self._disk = set(disk)
