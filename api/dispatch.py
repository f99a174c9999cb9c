"""Placement: who gets a job.

A job goes to the free worker that can start it soonest, by what it has loaded. If all are busy, or only busy
workers have loaded its model, it goes to the queue that all workers of its model share: the others take it
from there once a load pays (ADR 30).
"""

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.messaging.celery_app import send_job
from shared.metrics import DISPATCHED_LORAS, JOBS_DISPATCHED
from shared.registry.availability import Availability
from shared.registry.loaded_models import LoadedModels
from shared.registry.lora_inventory import LoraInventory, LoraTier, read_disk_caches
from shared.registry.serving import read_candidates
from shared.settings import Settings
from shared.storage.loras import version_of

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Score of a LoRA by where a worker has it: one point for each of download, parse and patch that it saves.
SCORES: Mapping[LoraTier, int] = {"patched": 3, "memory": 2, "disk": 1, "none": 0}


class Dispatcher:
    """Chooses a worker for each accepted job and sends the job to it."""

    def __init__(self, settings: Settings, jobs: JobStore, celery: Celery) -> None:
        self._settings, self._jobs, self._celery = settings, jobs, celery
        self._redis: Redis = jobs.redis
        self._availability = Availability(jobs.redis)
        self._loaded_models = LoadedModels(jobs.redis)

    def dispatch(self, job_id: str, spec: JobSpec) -> None:
        """Send an accepted job. If that fails, it stays marked as unsent and a worker's recovery sends it."""
        try:
            worker = self._reserve(spec) if self._settings.placement else None
            send_job(self._celery, job_id, spec.model, worker)
            self._jobs.sent(job_id)
            if worker is not None:
                self._availability.confirm(spec.model, worker)
        except (OperationalError, RedisError) as error:
            log.warning("job not sent yet", extra={"job": job_id, "error": type(error).__name__})

    def _reserve(self, spec: JobSpec) -> str | None:
        """Reserve the best free worker for a job; ``None`` if it goes to the common queue."""
        free, serving = read_candidates(self._redis, self._availability.free_workers())
        if not free:
            JOBS_DISPATCHED.labels("queue").inc()
            return None
        loras = [version_of(self._settings.lora_bucket, ref.name, ref.etag, ref.key) for ref in spec.loras]
        disks = read_disk_caches(self._redis, sorted({worker.host for worker in free}), loras)
        controlnets = [controlnet.name for controlnet in spec.controlnets]
        ranked = rank_workers(spec.model, loras, free, disks, serving, controlnets)
        if self._is_loaded_by_busy_workers(spec.model, ranked):
            JOBS_DISPATCHED.labels("queue").inc()
            return None
        reserved = self._availability.reserve(spec.model, [worker.worker for worker in ranked])
        JOBS_DISPATCHED.labels("queue" if reserved is None else "worker").inc()
        for worker in ranked:
            if worker.worker == reserved:
                for lora in loras:
                    DISPATCHED_LORAS.labels(find_tier(lora, spec.model, worker, disks[worker.host])).inc()
        return reserved

    def _is_loaded_by_busy_workers(self, model: str, free: Sequence[LoraInventory]) -> bool:
        return not any(model in worker.loaded for worker in free) and self._loaded_models.is_loaded(model)


def find_tier(lora: str, model: str, worker: LoraInventory, disk: AbstractSet[str]) -> LoraTier:
    """Where a worker has a LoRA for ``model``; ``disk`` is the cache of its host."""
    if f"{model}@{lora}" in worker.patched:
        return "patched"
    if f"{model}@{lora}" in worker.memory:
        return "memory"
    return "disk" if lora in disk else "none"


def rank_workers(
    model: str,
    loras: Sequence[str],
    free: Sequence[LoraInventory],
    disks: Mapping[str, AbstractSet[str]],
    serving: AbstractSet[str] = frozenset(),
    controlnets: Sequence[str] = (),
) -> list[LoraInventory]:
    """Those free workers that serve ``model``, best first.

    Workers that have loaded the model come first, then those that lack the fewest of the job's
    ``controlnets``: loading one takes longer than any LoRA. They are ordered by where they have the job's
    LoRAs, then those that are idle come before those that are ``serving`` steps of other jobs; then by how
    few other LoRAs this job would make them unpatch.
    """

    def sort_key(worker: LoraInventory) -> tuple[bool, int, int, bool, int, str]:
        disk = disks.get(worker.host, set())
        score = sum(SCORES[find_tier(lora, model, worker, disk)] for lora in loras)
        lacks = len(set(controlnets) - set(worker.controlnets))
        others = set(worker.patched) - {f"{model}@{lora}" for lora in loras}
        is_serving = worker.worker in serving
        return model not in worker.loaded, lacks, -score, is_serving, len(others), worker.worker

    return sorted((worker for worker in free if model in worker.serves), key=sort_key)
