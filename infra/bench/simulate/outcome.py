"""What came of a simulation: latencies, images a second, what devices did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.bench.harness.samples import percentile
from infra.bench.simulate.fleet.worker import Activity

#: Multiples of a job's latency alone in diffusers within which it is to end.
FACTORS = (1.5, 2.0, 3.0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Figures of the jobs that arrived after the warm-up. What has not ended counts as infinitely late."""

    submitted: int
    finished: int  # of them
    latencies_s: Sequence[float]
    times_alone: Sequence[float]  # latency over that of the job alone in diffusers
    images_per_s: float  # ended after the warm-up
    activities: Mapping[Activity, float]  # shares of all devices' time
    loras_found: Mapping[str, float]  # shares by where they were found
    late_steps: float  # of LoRAs that were patched, the mean of the first step with them
    steps_by_others: float  # share of the ControlNets of steps that others than the requester computed
    loads: int  # of base models and ControlNets
    events: int
    took_s: float  # of this machine's time

    def percentile_s(self, percent: float) -> float:
        """Latency that ``percent`` of the jobs do not exceed."""
        return percentile(self.latencies_s, percent) if self.latencies_s else math.nan

    def attainment(self, factor: float) -> float:
        """Share of the jobs that ended within ``factor`` × their latency alone in diffusers."""
        if not self.times_alone:
            return math.nan
        return sum(times <= factor for times in self.times_alone) / len(self.times_alone)

    @property
    def events_per_s(self) -> float:
        """How fast the simulation was."""
        return self.events / max(self.took_s, 1e-9)
