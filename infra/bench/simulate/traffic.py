"""The jobs of a simulation, from the same mix as the stream of part ``trace``."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from infra.bench.simulate.config import Traffic
from infra.bench.workloads.addon_mix import (
    CONTROLNET_ZIPF,
    SERVICES,
    TraceLoras,
    ZipfChoice,
    arrivals,
    choose_counts,
    choose_service,
)


@dataclass(slots=True, eq=False)
class SimulatedJob:
    """A job, and what has become of it. Times are seconds of the simulation."""

    at_s: float
    model: int
    controlnets: Sequence[int] = ()
    loras: Sequence[int] = ()
    steps: int = 50
    started_s: float = -1.0  # when a worker took it; negative: not yet
    ended_s: float = -1.0  # when its image was stored


def make_traffic(traffic: Traffic) -> Iterator[SimulatedJob]:
    """The jobs of ``traffic`` in the order of their arrival; the same for the same seed."""
    rng = random.Random(traffic.seed)
    models, controlnets = ZipfChoice(traffic.models), ZipfChoice(traffic.controlnets, CONTROLNET_ZIPF)
    loras = [TraceLoras(service) for service in range(SERVICES)]
    times = arrivals(random.Random(traffic.seed + 1_000_003), traffic.rate_per_s, traffic.cv)
    for at_s in takewhile(lambda time_s: time_s <= traffic.duration_s, times):
        service = choose_service(rng)
        wanted, lora_count = choose_counts(rng, service)
        yield SimulatedJob(
            at_s=at_s,
            model=models.choose(rng, 1)[0],
            controlnets=controlnets.choose(rng, wanted),
            loras=loras[service].choose(rng, lora_count),
            steps=traffic.steps,
        )
