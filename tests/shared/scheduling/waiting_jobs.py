"""What Redis holds of jobs that wait, read in one call: tests look at all of it after each step."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from shared import keys
from shared.messaging.celery_app import unet_queue


def message_ids(texts: Iterable[str]) -> list[str]:
    """The jobs of messages as they stand in a queue."""
    return [str(json.loads(text)["headers"]["id"]) for text in texts]


class WaitingJobs:
    """Of these models and tenants."""

    def __init__(self, redis: Redis, models: Sequence[str], tenants: Sequence[str]) -> None:
        pipe: Any = redis.pipeline()
        asked: list[tuple[str, ...]] = []

        def ask(*name: str, command: str = "zrange", key: str, more: tuple[Any, ...] = (0, -1)) -> None:
            getattr(pipe, command)(key, *more)
            asked.append(name)

        ask("queued", key=keys.by_status("queued"))
        ask("running", key=keys.by_status("running"))
        ask("delayed", key=keys.DELAYED)
        ask("unclaimed", key=keys.UNCLAIMED)
        ask("unsent", key=keys.UNSENT)
        for tenant in tenants:
            ask("released", tenant, command="smembers", key=keys.released(tenant), more=())
            ask("held_models", tenant, command="smembers", key=keys.held_models(tenant), more=())
            ask("cap", tenant, command="hget", key=keys.tenant(tenant), more=("max_running_jobs",))
        for model in models:
            ask("messages", model, command="lrange", key=unet_queue(model))
            ask("held_tenants", model, key=keys.held_tenants(model))
            ask("urgent_tenants", model, key=keys.urgent_tenants(model), more=(0, -1, False, True))
            ask("urgent_released", model, key=keys.urgent_released(model))
            for tenant in tenants:
                ask("held", model, tenant, key=keys.held(model, tenant))
                ask("urgent_jobs", model, tenant, key=keys.urgent_jobs(model, tenant))
                time = (f"virtual_time:{model}",)
                ask("virtual_time", model, tenant, command="hget", key=keys.share(tenant), more=time)
        self._found: dict[tuple[str, ...], Any] = dict(zip(asked, pipe.execute(), strict=True))
        self.queued, self.running, self.delayed, self.unclaimed, self.unsent = (
            list[str](self._found[name,]) for name in ("queued", "running", "delayed", "unclaimed", "unsent")
        )

    def released(self, tenant: str) -> set[str]:
        return set(self._found["released", tenant])

    def cap(self, tenant: str) -> int | None:
        cap = self._found["cap", tenant]
        return None if cap is None else int(cap)

    def held_models(self, tenant: str) -> set[str]:
        return set(self._found["held_models", tenant])

    def messages(self, model: str) -> list[str]:
        return message_ids(self._found["messages", model])

    def held_tenants(self, model: str) -> set[str]:
        return set(self._found["held_tenants", model])

    def held(self, model: str, tenant: str) -> list[str]:
        return list(self._found["held", model, tenant])

    def urgent_tenants(self, model: str) -> dict[str, float]:
        """Each with the score it stands at."""
        return dict(self._found["urgent_tenants", model])

    def urgent_jobs(self, model: str, tenant: str) -> set[str]:
        return set(self._found["urgent_jobs", model, tenant])

    def urgent_released(self, model: str) -> set[str]:
        return set(self._found["urgent_released", model])

    def virtual_time(self, model: str, tenant: str) -> float:
        return float(self._found["virtual_time", model, tenant] or 0)
