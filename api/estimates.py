"""Estimates: what a job costs, and when it will be done."""

from typing import TYPE_CHECKING, NamedTuple

from api.fleet_status import FleetStatus
from shared.jobs.record import JobEstimate
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.registry.live_workers import LiveWorkersCache
from shared.scheduling.eta import Eta, QueueState, Workers, estimate_eta
from shared.scheduling.fair_queue import FairQueue
from shared.scheduling.measured_times import MeasuredTimes
from shared.settings import Settings
from shared.tenants.tenant import LOCAL, Priority

if TYPE_CHECKING:
    from redis import Redis


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

    def estimate(self, spec: JobSpec, priority: Priority = "normal", tenant: str = LOCAL) -> Estimate:
        """When a job would be done that were accepted now; two round trips."""
        status = FleetStatus(self._live_workers.read())
        names = status.workers_for("unet", spec.model)
        is_loaded = any(spec.model in worker.loaded for worker in status.workers if worker.name in names)
        measured = self._measured.read(spec)
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


def _workers(names: list[str], state: QueueState) -> Workers:
    return Workers(len(names), len(set(names) - set(state.free)))


def _rounded(seconds: float) -> float:
    """A number that people read: four digits."""
    return float(f"{seconds:.4g}")
