"""Estimates: what a job costs, and when it will be done."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cachetools import TTLCache

from api.fleet_status import FleetStatus
from shared.catalog.model_families import ModelFamilies
from shared.jobs.record import JobEstimate
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.registry.live_workers import LiveWorkersCache
from shared.scheduling.cost import work_of
from shared.scheduling.eta import Eta, QueueState, TenantQueue, Workers, estimate_eta
from shared.scheduling.fair_queue import FairQueue
from shared.scheduling.measured_times import Measured, MeasuredTimes
from shared.settings import Settings
from shared.tenants.tenant import LOCAL, Priority

if TYPE_CHECKING:
    from redis import Redis


#: Measured times, and how much other tenants wait for, are read once in so long: there are many numbers.
CACHE_S, KEPT = 1.0, 256

K = TypeVar("K")
V = TypeVar("V")


class Estimate(NamedTuple):
    """When a job will be done that is accepted now."""

    response: JobEstimate
    eta: Eta | None  # None: no worker serves its model


class Estimator:
    """Estimates by what workers have measured, and by what is held before a job."""

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        live_workers: LiveWorkersCache,
        families: ModelFamilies,
        cache_s: float = CACHE_S,
    ) -> None:
        self._redis: Redis = jobs.redis
        self._queue = FairQueue(jobs.redis, settings)
        self._measured = MeasuredTimes(jobs.redis, families.facts)
        self._live_workers = live_workers
        self._families = families
        self._lock = threading.Lock()
        self._times: TTLCache[tuple[str, str], Measured] = TTLCache(KEPT, cache_s)  # by model and shape
        self._queues: TTLCache[str, dict[str, TenantQueue]] = TTLCache(KEPT, cache_s)

    def estimate(self, spec: JobSpec, priority: Priority = "normal", tenant: str = LOCAL) -> Estimate:
        """When a job would be done that were accepted now; three round trips at most."""
        spec = self._with_size(spec)
        status = FleetStatus(self._live_workers.read())
        names = status.workers_for("unet", spec.model)
        is_loaded = any(spec.model in worker.loaded for worker in status.workers if worker.name in names)
        kind = spec.model, work_of(spec, self._families.facts(spec.model)).shape
        measured = self._recent(self._times, kind, lambda: self._measured.read(spec))
        own = measured.device_s(spec, is_loaded=is_loaded or not names)
        queues = self._recent(self._queues, spec.model, lambda: self._queue.read_queues(spec.model))
        state = self._queue.read_state(spec.model, tenant, priority, queues=queues)
        eta = estimate_eta(state, _workers(names, state), own, measured.ratios)
        response = JobEstimate(
            device_seconds=_rounded(own.p50),
            queue_position=state.queued + 1,
            eta_s=None if eta is None else _rounded(eta.eta_s),
            eta_p90_s=None if eta is None else _rounded(eta.eta_p90_s),
        )
        return Estimate(response, eta)

    def _with_size(self, spec: JobSpec) -> JobSpec:
        """The size of its images in the spec, as in that of receipts, by which workers note their times."""
        own = self._families.default_size(spec.model)
        if own is None or (spec.width and spec.height):
            return spec
        return spec.model_copy(update={"width": spec.width or own[0], "height": spec.height or own[1]})

    def _recent(self, cache: TTLCache[K, V], key: K, read: Callable[[], V]) -> V:
        with self._lock:
            found: V | None = cache.get(key)
        if found is None:
            found = read()
            with self._lock:
                cache[key] = found
        return found


def _workers(names: list[str], state: QueueState) -> Workers:
    return Workers(len(names), len(set(names) - set(state.free)))


def _rounded(seconds: float) -> float:
    """A number that people read: four digits."""
    return float(f"{seconds:.4g}")
