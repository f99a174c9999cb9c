"""Jobs as the scripts of `shared/scheduling` see them, and a worker that takes them from a queue."""

import json
from collections.abc import Sequence
from typing import Any

from redis import Redis

from shared import keys
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue

MODEL, SOON = "m", 60.0


def set_share(
    control: Redis, queue: FairQueue, tenant: str, *, weight: float = 1.0, max_running_jobs: int | None = None
) -> None:
    """As an admin who changes a tenant."""
    control.hset(keys.tenant(tenant), "weight", weight)
    if max_running_jobs is None:
        control.hdel(keys.tenant(tenant), "max_running_jobs")
    else:
        control.hset(keys.tenant(tenant), "max_running_jobs", max_running_jobs)
    queue.compete(tenant)


class HeldJobs:
    """Places jobs whose records have just the fields that matter, and takes what is released."""

    def __init__(self, control: Redis, queue: FairQueue) -> None:
        self.redis, self.queue = control, queue
        self._count = 0

    def accept(
        self,
        tenant: str | None = None,
        cost_s: float = 1.0,
        priority: str | None = None,
        model: str = MODEL,
        loras: Sequence[str] = (),
    ) -> str:
        """The record of an accepted job that has no place yet."""
        self._count += 1
        job_id = f"{self._count:016x}"
        versions = json.dumps(loras) if loras else None
        fields = {"status": "queued", "cost_s": cost_s, "tenant": tenant, "priority": priority}
        fields["lora_versions"] = versions
        given: dict[Any, Any] = {name: value for name, value in fields.items() if value is not None}
        self.redis.hset(keys.job(job_id), mapping=given)
        self.redis.zadd(keys.UNSENT, {job_id: self._count})
        return job_id

    def submit(self, *args: Any, model: str = MODEL, **more: Any) -> str:
        """Accept a job and place it."""
        job_id = self.accept(*args, model=model, **more)
        self.queue.place(job_id, model)
        return job_id

    def set_share(self, tenant: str, **limits: Any) -> None:
        """As `set_share`."""
        set_share(self.redis, self.queue, tenant, **limits)

    def serve(self, workers: int, *models: str) -> None:
        """So many workers take jobs."""
        for n in range(workers):
            self.queue.serve(f"unet{n}@a", models or [MODEL], SOON)

    def waiting(self, queue: str = unet_queue(MODEL)) -> list[str]:
        """Ids of the messages in a queue, the next one first."""
        messages: Any = self.redis.lrange(queue, 0, -1)
        return [json.loads(text)["headers"]["id"] for text in reversed(messages)]

    def take(self, model: str = MODEL) -> str | None:
        """As a worker that takes a job of a model."""
        text: Any = self.redis.rpop(unet_queue(model))
        self.queue.release([model])
        return None if text is None else str(json.loads(text)["headers"]["id"])

    def take_all(self, count: int = 1000, model: str = MODEL) -> list[str]:
        """The next jobs, in their order."""
        taken: list[str] = []
        while len(taken) < count and (job_id := self.take(model)) is not None:
            taken.append(job_id)
        return taken
