"""Simulated devices whose jobs are estimated before they are accepted, as the API does it."""

import math
from collections import deque

from infra.bench.parts.scheduling.simulated_devices import MODEL, SimulatedDevices, SimulatedJob
from shared.scheduling.eta import Workers, estimate_eta
from shared.scheduling.measured_times import ETA_KINDS, P90, Quantiles, quantiles_of

#: As `lua/held.lua` keeps and adapts them, whose clock is not that of simulated devices.
RATIOS, QUANTILE_STEP = 64, 0.05


class EstimatedDevices(SimulatedDevices):
    """Notes in each job when it was to be done, and corrects later estimates by how long it took."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ratios: dict[str, deque[float]] = {kind: deque(maxlen=RATIOS) for kind in ETA_KINDS}
        self._levels = dict.fromkeys(ETA_KINDS, P90)
        self._raw: dict[int, tuple[float, str]] = {}

    def before_submit(self, job: SimulatedJob) -> None:
        """Estimate the job by what is before it now."""
        state = self.queue.read_state(MODEL, job.tenant)
        ratios: dict[str, Quantiles | None] = {
            kind: quantiles_of(values, self._levels[kind]) for kind, values in self._ratios.items()
        }
        workers = Workers(self.count, self.count - self.free)
        eta = estimate_eta(state, workers, Quantiles(job.estimated_s, 1.5 * job.estimated_s), ratios)
        assert eta is not None, "there are devices"
        job.eta_s, job.eta_p90_s = eta.eta_s, eta.eta_p90_s
        self._raw[id(job)] = (eta.raw_s, eta.kind)

    def _end(self, job: SimulatedJob) -> None:
        super()._end(job)
        raw_s, kind = self._raw.pop(id(job))
        ratio = (job.ended_s - job.at_s) / raw_s
        if math.isfinite(ratio):
            self._ratios[kind].append(ratio)
            is_late = job.ended_s - job.at_s > (job.eta_p90_s or 0.0)
            level = self._levels[kind] + QUANTILE_STEP * (P90 if is_late else P90 - 1)
            self._levels[kind] = min(max(level, 0.5), 1.0)
