"""Which UNet workers are free, and for which of them a job is reserved; see `lua/availability.lua`.

They are reserved when a job is placed: `shared.scheduling.fair_queue`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import worker_queue

if TYPE_CHECKING:
    from redis import Redis

#: Lifetime of a reservation: after it, any worker of the model may take the job.
RESERVATION_S = 1.0


class Availability:
    """Registers free and busy workers, and releases what is reserved. Every method is atomic in Redis."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._script = redis.register_script(
            read_lua("shared", "call") + read_lua("shared.registry", "availability")
        )

    # --- called by the web --------------------------------------------------------------------------

    def free_workers(self) -> list[str]:
        """Names of the workers registered as free, for any model; some registrations may have expired."""
        names: list[str] = self._redis.zrange(keys.FREE_WORKERS, 0, -1)  # type: ignore[assignment]
        return names

    # --- called by workers --------------------------------------------------------------------------

    def some_free_workers(self, most: int) -> list[str]:
        """As `free_workers`; of more than ``most`` that many, at random."""
        names: list[str] = self._redis.zrandmember(keys.FREE_WORKERS, most)  # type: ignore[assignment]
        return names

    def register_busy(self, worker: str, models: Sequence[str], ttl_s: float) -> int:
        """Register a worker as busy for ``ttl_s`` seconds, and release the jobs reserved for it.

        Returns how many jobs went from its own queues to the common ones.
        """
        return int(self._call("register_busy", worker, ttl_s, *_worker_queues(models, worker)))

    def register_free(self, worker: str, models: Sequence[str], ttl_s: float) -> bool:
        """Register a worker as free for ``ttl_s`` seconds.

        ``models``: those whose jobs it takes at once; it may leave jobs of others to other workers (ADR 30).
        Returns whether it was: not while jobs of these models wait, of which it takes the next.
        """
        return bool(self._call("register_free", worker, ttl_s, *_worker_queues(models, worker)))

    def release_expired(self, after_s: float = RESERVATION_S) -> int:
        """Move jobs whose reserved worker did not take them in ``after_s`` to the common queues.

        Returns how many.
        """
        return int(self._call("release_expired", after_s))

    def _call(self, command: str, *args: Any) -> Any:
        return self._script(keys=[keys.FREE_WORKERS, keys.RESERVED_QUEUES], args=[command, *args])


def _worker_queues(models: Sequence[str], worker: str) -> list[str]:
    return [worker_queue(model, worker) for model in models]
