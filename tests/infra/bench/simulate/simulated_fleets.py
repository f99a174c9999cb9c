"""Fleets and jobs for tests of the simulation."""

import random
from dataclasses import replace
from typing import Any

from infra.bench.simulate.config import FleetConfig
from infra.bench.simulate.measurements import Measurements, read_measurements
from infra.bench.simulate.outcome import Outcome
from infra.bench.simulate.run import replay
from infra.bench.simulate.traffic import SimulatedJob

MEASURED = read_measurements()
#: Nothing but what the device computes.
IDEAL = replace(
    MEASURED,
    job_s=0.0,
    store_s=0.0,
    step_s=0.0,
    request_s=0.0,
    claim_s=0.0,
    follow_s=0.0,
    residual_s=0.0,
    lora_restore_s=0.0,
)


def one_after_another(rate_per_s: float, count: int, seed: int = 1, **options: Any) -> list[SimulatedJob]:
    """Poisson arrivals of equal jobs."""
    rng, now_s, jobs = random.Random(seed), 0.0, []
    for _ in range(count):
        now_s += rng.expovariate(rate_per_s)
        jobs.append(SimulatedJob(at_s=now_s, model=0, **options))
    return jobs


def run(
    jobs: list[SimulatedJob], measured: Measurements = IDEAL, until_s: float = 1e9, **config: Any
) -> Outcome:
    """The jobs on a fleet, every step for itself."""
    fleet = FleetConfig(**{"devices": 1, **config})
    return replay(measured, fleet, jobs, models=3, controlnets=8, until_s=until_s, coarseness=1)
