"""Accepted jobs wait here, by model and tenant, and are released into Celery's queues in fair shares."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from shared.scheduling.eta import QueueState, TenantQueue
from shared.scheduling.releaser import Releaser
from shared.settings import Settings
from shared.tenants.tenant import Priority

if TYPE_CHECKING:
    from redis import Redis

#: ``first``: to the next free worker, before all that wait. ``last``: behind all that its tenant holds.
#: ``later``: the same, and not released before a pause, which is longer each time. ``again``: where it was
#: before; it comes after the job that took its device.
Where = Literal["first", "last", "later", "again"]


class FairQueue(Releaser):
    """Gives jobs their places."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        super().__init__(redis)
        self._ageing_s = settings.priority_ageing_s

    def place(self, job_id: str, model: str, workers: Sequence[str] = ()) -> str | None:
        """Hold an accepted job, and release what may be released; may be called again.

        If nothing else waits, the first of ``workers`` that is free is reserved for it and returned.
        """
        worker: str | None = self._call("place", job_id, model, self._ageing_s, *workers)
        return worker

    def send(self, job_id: str, model: str, where: Where) -> None:
        """Give a queued job another place: a worker has given it back, or its message was lost.

        Nothing is done for a job that is held.
        """
        self._call("send", job_id, model, self._ageing_s, where)

    def read_queues(self, model: str) -> dict[str, TenantQueue]:
        """Held jobs of each tenant that competes for a model; takes as long as there are tenants."""
        found = json.loads(self._call("queues", model))
        return {tenant: TenantQueue(**queue) for tenant, queue in found.items()}

    def read_state(
        self,
        model: str,
        tenant: str,
        priority: Priority = "normal",
        *,
        job_id: str = "",
        queues: Mapping[str, TenantQueue] | None = None,
    ) -> QueueState:
        """What is before a held job, or without ``job_id`` before one that would be accepted now.

        ``queues``: as `read_queues` has returned lately; ``None``: read now.
        """
        if queues is None:
            queues = self.read_queues(model)
        found = json.loads(self._call("state", model, tenant, priority, self._ageing_s, job_id))
        own = TenantQueue(**found["own"])
        others = [queue for name, queue in queues.items() if name != tenant]
        cap = int(found["cap"]) if "cap" in found else None
        free = found.get("free", [])
        return QueueState(own, others, found["released"], found["queued"], free, cap, found["running"])
