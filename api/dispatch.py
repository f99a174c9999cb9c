"""Placement: who gets a job.

A job goes to the free worker that can start it soonest, by what it has loaded. If all are busy, or only busy
workers have loaded its model, it is held until its tenant's turn comes, and then goes to the queue that all
workers of its model share: the others take it from there once a load pays (ADR 30).
"""

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from api.task_events import TaskEvents
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.metrics import DISPATCHED_LORAS, JOBS_DISPATCHED
from shared.registry.availability import Availability
from shared.registry.loaded_models import LoadedModels
from shared.registry.lora_inventory import LoraInventory, LoraTier, read_disk_caches
from shared.registry.serving import read_candidates
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.storage.loras import version_of

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Score of a LoRA by where a worker has it: one point for each of download, parse and patch that it saves.
SCORES: Mapping[LoraTier, int] = {"patched": 3, "memory": 2, "disk": 1, "none": 0}


class RankedWorkers(NamedTuple):
    """The free workers for a job, best first, and where its LoRAs are."""

    workers: list[LoraInventory]
    loras: list[str]
    disks: Mapping[str, AbstractSet[str]]  # by host: which of them its disk cache holds


class Dispatcher:
    """Chooses a worker for each accepted job, or holds the job."""

    def __init__(self, settings: Settings, jobs: JobStore, celery: Celery) -> None:
        self._settings, self._events = settings, TaskEvents(celery)
        self._redis: Redis = jobs.redis
        self._queue = FairQueue(jobs.redis, settings)
        self._availability = Availability(jobs.redis)
        self._loaded_models = LoadedModels(jobs.redis)

    def dispatch(self, job_id: str, spec: JobSpec) -> None:
        """Place an accepted job. If that fails, it stays marked as unsent, and recovery sends it."""
        try:
            ranked = self._rank_free(spec)
            names = [worker.worker for worker in ranked.workers]
            reserved = self._queue.place(job_id, spec.model, names)
        except RedisError as error:
            log.warning("job not sent yet", extra={"job": job_id, "error": type(error).__name__})
            return
        _count(spec.model, reserved, ranked)
        try:
            self._events.job_sent(job_id, spec.model, reserved)
        except (OperationalError, RedisError) as error:
            log.warning("Flower not told of a job", extra={"job": job_id, "error": type(error).__name__})

    def _rank_free(self, spec: JobSpec) -> RankedWorkers:
        """No worker is ranked if none is free, or if the job is left to busy ones."""
        nobody = RankedWorkers([], [], {})
        names = self._availability.free_workers() if self._settings.placement else []
        free, serving = read_candidates(self._redis, names)
        if not free:
            return nobody
        loras = [version_of(self._settings.lora_bucket, ref.name, ref.etag, ref.key) for ref in spec.loras]
        disks = read_disk_caches(self._redis, sorted({worker.host for worker in free}), loras)
        controlnets = [controlnet.name for controlnet in spec.controlnets]
        ranked = rank_workers(spec.model, loras, free, disks, serving, controlnets)
        if self._is_loaded_by_busy_workers(spec.model, ranked):
            return nobody
        return RankedWorkers(ranked, loras, disks)

    def _is_loaded_by_busy_workers(self, model: str, free: Sequence[LoraInventory]) -> bool:
        return not any(model in worker.loaded for worker in free) and self._loaded_models.is_loaded(model)


def _count(model: str, reserved: str | None, ranked: RankedWorkers) -> None:
    JOBS_DISPATCHED.labels("queue" if reserved is None else "worker").inc()
    for worker in ranked.workers:
        if worker.worker == reserved:
            for lora in ranked.loras:
                DISPATCHED_LORAS.labels(find_tier(lora, model, worker, ranked.disks[worker.host])).inc()


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
