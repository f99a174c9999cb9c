"""Which UNet workers are free, and the reservation of one of them for a job; see `lua/availability.lua`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import own_queue, unet_queue

if TYPE_CHECKING:
    from redis import Redis

#: A promise that is not taken up for so long is for everybody.
PROMISE_S = 1.0


class Availability:
    """Every worker says when it begins and ends a job; who places a job asks, promises and settles."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._script = redis.register_script(read_lua("shared.registry", "availability"))

    # --- who places a job ------------------------------------------------------------------------

    def free(self) -> list[str]:
        """Workers that wait for work, of whatever model; `promise` looks again."""
        names: list[str] = self._redis.zrange(keys.FREE, 0, -1)  # type: ignore[assignment]
        return names

    def promise(self, model: str, workers: Sequence[str]) -> str | None:
        """The first of ``workers`` that is still free, from now on not free; none while older jobs wait."""
        answer: str | None = self._call("promise", unet_queue(model), *workers)
        return answer

    def settle(self, model: str, worker: str) -> None:
        """Say that a job was put into the worker's own queue: should it be busy by now, all may take it."""
        self._call("settle", worker, own_queue(model, worker))

    # --- a worker --------------------------------------------------------------------------------

    def take(self, worker: str, models: Sequence[str], ttl_s: float) -> int:
        """The worker is not free for ``ttl_s``; returns how many jobs of its own it has given to all."""
        return int(self._call("take", worker, ttl_s, *(own_queue(model, worker) for model in models)))

    def offer(self, worker: str, models: Sequence[str], ttl_s: float) -> bool:
        """The worker is free for ``ttl_s``, unless jobs of its models wait: those it takes in their turn."""
        return bool(self._call("offer", worker, ttl_s, *(own_queue(model, worker) for model in models)))

    def reclaim(self, after_s: float = PROMISE_S) -> int:
        """Give to all what was promised to workers that did not take it up; returns how many jobs."""
        return int(self._call("reclaim", after_s))

    def _call(self, verb: str, *args: Any) -> Any:
        return self._script(keys=[keys.FREE, keys.PROMISED], args=[verb, *args])
