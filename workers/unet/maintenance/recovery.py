"""Sends jobs again whose message or worker was lost: a thread of every UNet worker.

A dead worker is noticed once its lease has expired and somebody has looked: one worker of the fleet does so,
every half second by default. It is safe to run in many workers at once: only one attempt can claim a job.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from shared import keys
from shared.catalog.entries import Catalog
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import CatalogGone, JobUnreadable, SwiftError
from shared.jobs.record import RECORD_VERSION, Failure, Job
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.periodic_thread import PeriodicThread
from shared.registry.workers import live_workers
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from workers.unet.maintenance.log_rewrite import rewrite_damaged_log
from workers.unet.maintenance.lost_messages import find_lost_messages
from workers.unet.maintenance.wrong_types import drop_wrong_types

log = logging.getLogger(__name__)

#: A lost worker is noticed as much later than its lease expires.
LOOK_EVERY_S = 0.5
#: A younger job may be between two places right now.
SETTLED_S = 5.0
#: The queues are read at most this often, by one worker of the fleet.
READ_EVERY_S = 5
#: So many of the oldest queued jobs are checked for whether anybody can run them.
OLDEST = 200


@dataclass(frozen=True)
class ServedModels:
    """Models and ControlNets that the fleet can run: this worker's catalog, and what live workers report."""

    models: frozenset[str]
    controlnets: frozenset[str]

    @classmethod
    def by(cls, catalog: Catalog, jobs: JobStore) -> "ServedModels":
        """Workers' catalogs may differ, as while a new one is rolled out."""
        workers = live_workers(jobs.redis)
        return cls(
            models=frozenset(catalog.models).union(*(one.served_of("unet") for one in workers)),
            controlnets=frozenset(catalog.controlnets).union(
                *(one.served_of("controlnet") for one in workers)
            ),
        )

    def missing(self, spec: JobSpec) -> CatalogGone | None:
        """The first model, ControlNet or scheduler of a job that nobody can run."""
        if spec.model not in self.models:
            return CatalogGone("model", spec.model)
        for controlnet in spec.controlnets:
            if controlnet.name not in self.controlnets:
                return CatalogGone("controlnet", controlnet.name)
        return None if spec.scheduler in SCHEDULERS else CatalogGone("scheduler", spec.scheduler)


class Recovery:
    """Looks for lost jobs several times within a lease, unless another worker has just done so."""

    def __init__(self, jobs: JobStore, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._jobs = JobStore(jobs.renewal_redis, settings)
        self._queue = FairQueue(jobs.renewal_redis, settings)
        self._grace_s = settings.catalog_grace_s
        self._every_s = min(LOOK_EVERY_S, settings.lease_s / 8)
        self._thread = PeriodicThread("recovery", self._every_s, self.recover_in_turn)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for what runs."""
        self._thread.stop(0)

    def recover_in_turn(self) -> None:
        """Recover unless another worker has done so within the interval."""
        redis = self._jobs.redis
        try:
            if redis.set(keys.LEASES_CHECKED, 1, nx=True, px=max(int(900 * self._every_s), 1)):
                self._recover()
        except RedisError as error:
            log.warning("lost jobs not looked for", extra={"error": str(error)})

    def _recover(self) -> None:
        try:
            recover(self._queue, self._jobs, self._catalog, self._grace_s)
        except ResponseError as error:
            drop_wrong_types(self._jobs.redis, error)
            raise


def recover(
    queue: FairQueue, jobs: JobStore, catalog: Catalog, grace_s: float, *, settled_s: float = SETTLED_S
) -> None:
    """Send every queued job again that is not held and has no message; a second message does no harm.

    A job that no worker could run for ``grace_s`` is failed instead. Younger jobs than ``settled_s`` are left
    alone.
    """
    jobs.fail_late()
    lost = set(jobs.orphans())
    checked: set[str] = set()
    if jobs.redis.set(keys.RECOVERY, 1, nx=True, ex=READ_EVERY_S):
        rewrite_damaged_log(jobs.redis)
        lost |= find_lost_messages(queue, jobs, catalog.models, settled_s=settled_s)
        checked = set(map(str, jobs.redis.zrange(keys.by_status("queued"), 0, OLDEST - 1)))
    if not lost | checked:
        return
    served = ServedModels.by(catalog, jobs)
    found = jobs.read(lost | checked)
    unsent: list[Job] = []
    for job_id, record in sorted(found.items(), key=_accepted_at):
        if record is None:
            jobs.heal([job_id])  # it expired in the queue
            continue
        reason = _unrunnable_reason(record, served)
        if reason is not None:
            _fail_after_grace(jobs, job_id, reason, grace_s)
            continue
        jobs.redis.zrem(keys.UNRUNNABLE, job_id)
        if job_id in lost and isinstance(record, Job):
            unsent.append(record)
    _send(queue, unsent)


def _send(queue: FairQueue, oldest_first: Sequence[Job]) -> None:
    """Place jobs anew so that workers take older ones first."""
    to_end = [job for job in oldest_first if not _is_sent_first(job)]
    to_front = [job for job in reversed(oldest_first) if _is_sent_first(job)]
    for job in (*to_end, *to_front):
        log.warning("job requeued", extra={"job": job.id, "tenant": job.tenant})
        queue.send(job.id, job.spec.model, "first" if _is_sent_first(job) else "last")


def _is_sent_first(job: Job) -> bool:
    """Whether a job comes before those that wait: it had begun, and this is at most its first loss.

    A job that was lost more often may be the reason for it, and must not take one worker after another.
    """
    return job.attempts > 0 and job.attempts - job.hand_overs <= 1


def _accepted_at(item: tuple[str, Job | JobUnreadable | None]) -> float:
    return item[1].created_at if isinstance(item[1], Job) else 0.0


def _unrunnable_reason(record: Job | JobUnreadable, served: ServedModels) -> SwiftError | None:
    """Why no known worker can run a job; ``None`` if one can."""
    if isinstance(record, JobUnreadable):
        return record
    if record.version > RECORD_VERSION:
        return JobUnreadable(f"its record has version {record.version}, workers know {RECORD_VERSION}")
    return served.missing(record.spec)


def _fail_after_grace(jobs: JobStore, job_id: str, reason: SwiftError, grace_s: float) -> None:
    """Fail a job once no worker could run it for ``grace_s``: one that can may just be restarting."""
    now = jobs.now()
    jobs.redis.zadd(keys.UNRUNNABLE, {job_id: now}, nx=True)
    since = jobs.redis.zscore(keys.UNRUNNABLE, job_id)
    if since is not None and now - since >= grace_s:
        log.error("job failed: nothing can run it", extra={"job": job_id, "code": reason.code})
        jobs.fail(job_id, Failure.of(reason))
