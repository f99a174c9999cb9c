"""Runs a simulation: traffic through a fleet, deterministic by its seed."""

import math
import time
from collections.abc import Iterable

from infra.bench.simulate.config import FleetConfig, Traffic, steps_at_a_time
from infra.bench.simulate.fleet.base import Fleet
from infra.bench.simulate.fleet.plain import PlainFleet
from infra.bench.simulate.fleet.swift import SwiftFleet
from infra.bench.simulate.fleet.worker import ACTIVITIES
from infra.bench.simulate.kernel import Process, Simulation
from infra.bench.simulate.measurements import Measurements
from infra.bench.simulate.outcome import Outcome
from infra.bench.simulate.traffic import SimulatedJob, make_traffic

#: After the last arrival the simulation goes on for as long as so many of the longest jobs take: what has not
#: ended by then counts as infinitely late.
DRAIN_JOBS = 20


def simulate(
    measured: Measurements, config: FleetConfig, traffic: Traffic, coarseness: int | None = None
) -> Outcome:
    """Simulate ``traffic``; ``coarseness`` steps are one, by default as many as suit the fleet's size."""
    jobs = list(make_traffic(traffic))
    drain_s = DRAIN_JOBS * measured.alone_s(traffic.steps, traffic.controlnets and 3, 2)
    return replay(
        measured,
        config,
        jobs,
        models=traffic.models,
        controlnets=traffic.controlnets,
        window_s=(traffic.warm_up_s, traffic.duration_s),
        until_s=traffic.duration_s + drain_s,
        coarseness=coarseness,
    )


def replay(
    measured: Measurements,
    config: FleetConfig,
    jobs: list[SimulatedJob],
    *,
    models: int,
    controlnets: int,
    window_s: tuple[float, float] | None = None,
    until_s: float = math.inf,
    coarseness: int | None = None,
) -> Outcome:
    """Simulate these jobs, oldest first; those are counted that arrive in ``window_s``, by default all."""
    began = time.process_time()
    simulation = Simulation()
    coarseness = coarseness or steps_at_a_time(config.devices)
    fleet = _start(simulation, measured, config, models, controlnets, coarseness)
    simulation.start(_arrive(simulation, fleet, jobs))
    simulation.run(until_s)
    return _outcome(fleet, jobs, window_s, time.process_time() - began)


def _start(
    simulation: Simulation,
    measured: Measurements,
    config: FleetConfig,
    models: int,
    controlnets: int,
    coarseness: int,
) -> Fleet:
    if config.policy == "plain":
        plain = PlainFleet(simulation, measured, config, models, controlnets)
        plain.start()
        return plain
    fleet = SwiftFleet(simulation, measured, config, models, controlnets)
    fleet.start(coarseness)
    return fleet


def _arrive(simulation: Simulation, fleet: Fleet, jobs: Iterable[SimulatedJob]) -> Process:
    for job in jobs:
        yield max(job.at_s - simulation.now_s, 0.0)
        fleet.submit(job)


def _outcome(
    fleet: Fleet, jobs: list[SimulatedJob], window_s: tuple[float, float] | None, took_s: float
) -> Outcome:
    begin_s, end_s = window_s or (0.0, max((job.ended_s for job in jobs), default=0.0))
    counted = [job for job in jobs if job.at_s >= begin_s]
    latencies = [job.ended_s - job.at_s if job.ended_s >= 0 else math.inf for job in counted]
    alone = [fleet.measured.alone_s(job.steps, len(job.controlnets), len(job.loras)) for job in counted]
    seconds = [worker.seconds(fleet.simulation) for worker in fleet.workers]
    total_s = sum(sum(one.values()) for one in seconds) or 1.0
    found, by = fleet.loras.found, fleet.computed
    return Outcome(
        submitted=len(counted),
        finished=sum(job.ended_s >= 0 for job in counted),
        latencies_s=latencies,
        times_alone=[late / own for late, own in zip(latencies, alone, strict=True)],
        images_per_s=sum(begin_s <= job.ended_s <= end_s for job in jobs) / max(end_s - begin_s, 1e-9),
        activities={name: sum(one[name] for one in seconds) / total_s for name in ACTIVITIES},
        loras_found={tier: number / max(sum(found.values()), 1) for tier, number in found.items()},
        late_steps=sum(fleet.loras.late_steps) / max(len(fleet.loras.late_steps), 1),
        steps_by_others=by["other"] / max(by.total(), 1),
        loads=fleet.loads,
        events=fleet.simulation.events,
        took_s=took_s,
    )
