"""Releases held jobs: what workers and the web call without a job of their own at hand.

See `lua/held.lua` for the rule and `lua/schedule.lua` for a job's way; every method is atomic in Redis.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import unet_queue

if TYPE_CHECKING:
    from redis import Redis

#: Jobs of one call of `Releaser.heal_held`: it must not keep other clients waiting.
_AT_ONCE = 500


class Releaser:
    """Releases the next jobs of a model while it has fewer messages than workers."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._script = redis.register_script(
            read_lua("shared", "call")
            + read_lua("shared.scheduling", "held")
            + read_lua("shared.scheduling", "schedule")
        )

    def release(self, models: Iterable[str]) -> None:
        """Release the next jobs of ``models``: a worker has just taken one, or a tenant's job has ended."""
        self._call("release", *models)

    def prefer(self, model: str, lora_versions: Iterable[str]) -> bool:
        """Have the next job of a model be one with LoRAs of these, which the worker has that takes it.

        While jobs of the model are held, the first few of the same tenant and priority as the next one are
        looked at, which were accepted soon after it. Returns whether another job comes first now.
        """
        return self._call("prefer", model, *lora_versions) is not None

    def serve(self, worker: str, models: Iterable[str], ttl_s: float) -> None:
        """Say for ``ttl_s`` seconds that a worker takes jobs of ``models``, and release the next ones.

        0 seconds: it takes none any more.
        """
        self._call("serve", worker, ttl_s, *models)

    def compete(self, tenant: str) -> None:
        """Note that a tenant's limits were changed: it may have more jobs released than before, or fewer."""
        self._call("compete", tenant)

    def forget_ended(self, tenant: str) -> int:
        """Count no job against a tenant's cap that is gone without having ended; returns how many were."""
        return int(self._call("forget_ended", tenant))

    def unclaimed(self, after_s: float, count: int) -> set[str]:
        """Up to ``count`` jobs that were released longer ago and that no worker has begun.

        Each has a message, or has lost it; jobs that earlier versions have released are not among them.
        """
        return set(self._call("unclaimed", after_s, count))

    def is_held(self, job_id: str) -> bool:
        """Whether a job is held, so that it has no message."""
        return bool(self._call("is_held", job_id))

    def heal_held(self, job_ids: Sequence[str]) -> set[str]:
        """Have the tenants of held jobs among ``job_ids`` compete again, if a lost write has ended that.

        Returns the others: each has a message, or has lost it.
        """
        others: set[str] = set()
        for begin in range(0, len(job_ids), _AT_ONCE):
            others.update(self._call("heal_held", *job_ids[begin : begin + _AT_ONCE]))
        return others

    def count_waiting(self, models: Sequence[str]) -> dict[str, int]:
        """Jobs of each model that no worker has taken, but for those that are reserved for one."""
        pipe = self._redis.pipeline(transaction=False)
        for model in models:
            pipe.llen(unet_queue(model))
        pipe.hmget(keys.SCHEDULING, [keys.held_count(model) for model in models])
        *released, held = pipe.execute()
        return {
            model: messages + int(count or 0)
            for model, messages, count in zip(models, released, held, strict=True)
        }

    def _call(self, command: str, *args: Any) -> Any:
        names = [keys.UNSENT, keys.FREE_WORKERS, keys.RESERVED_QUEUES]
        return self._script(keys=names, args=[command, *args])
