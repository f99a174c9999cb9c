"""Has the LoRAs of jobs that must wait fetched meanwhile, where they will probably be drawn."""

import random
import threading
import time
from typing import TYPE_CHECKING

from shared import keys
from shared.jobs.spec import JobSpec
from shared.messaging.messages import Prefetch
from shared.registry.workers import live_workers

if TYPE_CHECKING:
    from redis import Redis

#: The list of workers is read this often at most.
ROSTER_S = 1.0


class PrefetchHints:
    """Tells one worker of each job that waits.

    The workers of a model take its jobs in turn, each as probably as any other: one drawn at random is on
    a host that will draw the job as probably as that host has workers, and a LoRA is fetched once a job,
    not once a host. Who has it on its disk already does nothing.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._roster: dict[str, list[str]] = {}
        self._read_at = -ROSTER_S

    def send(self, spec: JobSpec) -> None:
        """Tell a worker of the job's LoRAs; a hint that nobody hears only costs time."""
        workers = self._workers(spec.model)
        if spec.loras and workers:
            hint = Prefetch(loras=spec.loras)
            self._redis.publish(keys.prefetch(random.choice(workers)), hint.model_dump_json())

    def _workers(self, model: str) -> list[str]:
        with self._lock:
            if time.monotonic() - self._read_at > ROSTER_S:
                self._roster = {}
                for beat in live_workers(self._redis):
                    for name in beat.serves if beat.kind == "unet" else ():
                        self._roster.setdefault(name, []).append(beat.name)
                self._read_at = time.monotonic()
            return self._roster.get(model, [])
