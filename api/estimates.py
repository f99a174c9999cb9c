"""Estimates: what a job costs, and when it will be done."""

import threading
from typing import TYPE_CHECKING, NamedTuple

from cachetools import TTLCache

from api.fleet_status import FleetStatus
from shared.jobs.record import JobEstimate
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.registry.live_workers import LiveWorkersCache
from shared.scheduling.cost import work_of
from shared.scheduling.eta import Eta, QueueState, Workers, estimate_eta
from shared.scheduling.fair_queue import FairQueue
from shared.scheduling.measured_times import Measured, MeasuredTimes
from shared.settings import Settings
from shared.tenants.tenant import LOCAL, Priority

if TYPE_CHECKING:
    from redis import Redis


#: Measured times are read once in so long for jobs of one shape, of so many shapes: the lists are long.
CACHE_S, KEPT = 1.0, 256


class Estimate(NamedTuple):
    """When a job will be done that is accepted now."""

    response: JobEstimate
    eta: Eta | None  # None: no worker serves its model


class Estimator:
    """Estimates by what workers have measured, and by what is held before a job."""

    def __init__(self, settings: Settings, jobs: JobStore, live_workers: LiveWorkersCache) -> None:
        self._redis: Redis = jobs.redis
        self._queue = FairQueue(jobs.redis, settings)
        self._measured = MeasuredTimes(jobs.redis)
        self._live_workers = live_workers
        self._lock = threading.Lock()
        self._read: TTLCache[tuple[str, str], Measured] = TTLCache(KEPT, CACHE_S)

    def estimate(self, spec: JobSpec, priority: Priority = "normal", tenant: str = LOCAL) -> Estimate:
        """When a job would be done that were accepted now; two round trips at most."""
        status = FleetStatus(self._live_workers.read())
        names = status.workers_for("unet", spec.model)
        is_loaded = any(spec.model in worker.loaded for worker in status.workers if worker.name in names)
        measured = self._read_measured(spec)
        own = measured.device_s(spec, is_loaded=is_loaded or not names)
        state = self._queue.read_state(spec.model, tenant, priority)
        eta = estimate_eta(state, _workers(names, state), own, measured.ratios)
        response = JobEstimate(
            device_seconds=_rounded(own.p50),
            queue_position=state.queued + 1,
            eta_s=None if eta is None else _rounded(eta.eta_s),
            eta_p90_s=None if eta is None else _rounded(eta.eta_p90_s),
        )
        return Estimate(response, eta)

    def _read_measured(self, spec: JobSpec) -> Measured:
        kind = spec.model, work_of(spec).shape
        with self._lock:
            found = self._read.get(kind)
        if found is None:
            found = self._measured.read(spec)
            with self._lock:
                self._read[kind] = found
        return found


def _workers(names: list[str], state: QueueState) -> Workers:
    return Workers(len(names), len(set(names) - set(state.free)))


def _rounded(seconds: float) -> float:
    """A number that people read: four digits."""
    return float(f"{seconds:.4g}")
