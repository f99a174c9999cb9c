"""Part ``goodput``: the highest rate at which 90 % of jobs end within k × their latency alone in diffusers.

Eight timed devices with memory for fewer models than there are: three base models, eight ControlNets, the
production trace's add-ons and LoRAs; arrivals by Poisson and in bursts. Against plain Celery workers that
load pipelines on demand into the same memory (`infra.bench.timed.plain_app`), which do nothing but sleep.
Both get the same jobs. Devices sleep ``stretch`` times as long as H800s take: rates are given for devices
that do not.
"""

import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from infra.bench.harness.fleet import running_fleet
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, Bound, Measured, Result
from infra.bench.simulate.config import Traffic
from infra.bench.simulate.goodput import WANTED, Attainment, attainment, goodput, measure_rates
from infra.bench.simulate.measurements import TIMED, Measurements, read_measurements
from infra.bench.simulate.outcome import FACTORS
from infra.bench.simulate.traffic import SimulatedJob, make_traffic
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import make_timed
from infra.bench.timed.plain_fleet import running_plain_fleet
from infra.bench.timed.stream import Stream

MODELS = ("timed", "timed-b", "timed-c")
CONTROLNETS = tuple(f"timed-controlnet{i}" for i in range(1, 9))
MEMORY_BYTES = 24_000_000_000
DEVICES, STRETCH, STEPS, JOBS, TRIES = 8, 6.0, 25, 80, 5
QUICK = (2, 2.0, 10, 8, 1)
#: Coefficients of variation of the gaps between arrivals; 1: Poisson.
CVS = (1.0, 2.0, 4.0, 8.0)
BURSTY = CVS[-1]
BOUNDS = {"goodput_vs_naive_k2": Bound("at_least", 3), "burst_vs_naive": Bound("at_least", 8)}
#: Attainment of a fleet under jobs.
Attain = Callable[[Sequence[SimulatedJob]], Attainment]
Curves = dict[float, dict[float, Attainment]]


def measure(quick: bool) -> Measured:
    """The quick form tries one rate on two devices, to see that jobs are generated."""
    count, stretch, steps, jobs, tries = QUICK if quick else (DEVICES, STRETCH, STEPS, JOBS, TRIES)
    cvs = CVS[:1] if quick else CVS
    measured = read_measurements(TIMED).stretched(stretch)
    first = 0.5 * count / measured.alone_s(steps, 2, 1)

    def curves(attain: Attain) -> Curves:
        return {
            cv: measure_rates(lambda rate, cv=cv: attain(_jobs(rate, cv, jobs, steps)), first, tries=tries)  # type: ignore[misc]
            for cv in cvs
        }

    with tempfile.TemporaryDirectory() as folder:
        catalog = make_timed(Path(folder), MODELS, CONTROLNETS, stretch)
        with running_plain_fleet(
            FOLDER / "goodput-plain", catalog, workers=count, memory_bytes=MEMORY_BYTES
        ) as plain:
            plain.replay(_warm_up(count))
            theirs = curves(lambda jobs: _attained(measured, jobs, plain.replay(jobs)))
        decoy = {"worker_models": ("emoji-sd",), "worker_controlnets": ("none",)}
        memory = {"SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
        with (
            running_fleet(catalog=catalog, unet_workers=1, controlnet_workers=0, **decoy) as fleet,
            devices(fleet, unets=count, models=",".join(MODELS), environment=memory) as pids,
        ):
            stream, shares = Stream(fleet, MODELS, CONTROLNETS), list[float]()

            def replay(jobs: Sequence[SimulatedJob]) -> Attainment:
                before_s = sum(map(cpu_s, pids))
                replayed = stream.replay(jobs)
                spent_s = sum(map(cpu_s, pids)) - before_s
                shares.append(spent_s / (sum(job.steps for job in jobs) * measured.unet_s))
                return _attained(measured, jobs, replayed.latencies_s)

            stream.replay(_warm_up(count))
            ours = curves(replay)
    figures = {"stretch": stretch, "devices": float(count), "cpu_share_of_steps": max(shares)}
    figures |= compare(ours, theirs, stretch)
    return Measured(figures, _samples(ours, theirs), {} if quick else BOUNDS)


def compare(ours: Curves, theirs: Curves, stretch: float) -> dict[str, float]:
    """Goodputs of both fleets, by factor and coefficient of variation, and their ratios.

    Where the plain fleet is good enough at none of its rates, the lowest of them takes the place of its
    goodput: the ratio is then a lower bound.
    """
    figures: dict[str, float] = {}
    ratios: dict[tuple[float, float], float] = {}
    for cv, curve in ours.items():
        for factor in FACTORS:
            name = f"k{factor:g}_cv{cv:g}".replace(".", "_")
            own, other = goodput(curve, factor), goodput(theirs[cv], factor)
            figures |= {f"goodput_{name}": own * stretch, f"naive_goodput_{name}": other * stretch}
            ratios[factor, cv] = own / (other or min(theirs[cv]))
    for factor in FACTORS:
        figures[f"goodput_vs_naive_k{factor:g}".replace(".", "_")] = ratios[factor, 1.0]
    if BURSTY in ours:
        figures["burst_vs_naive"] = ratios[2.0, BURSTY]
    return figures


def plot(result: Result, left: Any, right: Any) -> None:
    """Attainment within twice the latency alone, over the rate: Poisson on the left, bursts on the right."""
    bursts = f"cv{BURSTY:g}"
    for axes, cv in (
        (left, "poisson"),
        (right, bursts if f"ours_rates_{bursts}" in result.samples else "poisson"),
    ):
        for who, label in (("ours", "this fleet"), ("naive", "Celery and diffusers")):
            rates = result.samples[f"{who}_rates_{cv}"]
            for factor in FACTORS:
                shares = result.samples[f"{who}_within_{factor:g}_{cv}"]
                axes.plot(rates, shares, "o-" if factor == 2 else ".:", label=f"{label}, {factor:g} ×")
        axes.axhline(WANTED, color="gray", linewidth=0.8)
        axes.set(xlabel="jobs/s, devices stretched", ylabel="share of jobs", title=f"arrivals: {cv}")
        axes.legend()


def _jobs(rate: float, cv: float, count: int, steps: int) -> list[SimulatedJob]:
    traffic = Traffic(
        rate_per_s=rate,
        duration_s=1e9,
        warm_up_s=0.0,
        cv=cv,
        steps=steps,
        models=len(MODELS),
        controlnets=len(CONTROLNETS),
    )
    return list(islice(make_traffic(traffic), count))


def _warm_up(devices: int) -> list[SimulatedJob]:
    """Short jobs, two for each device: every model and ControlNet has been used once."""
    count = max(2 * devices, len(CONTROLNETS))
    return [SimulatedJob(0.0, i % len(MODELS), (i % len(CONTROLNETS),), steps=2) for i in range(count)]


def _attained(measured: Measurements, jobs: Sequence[SimulatedJob], latencies_s: list[float]) -> Attainment:
    alone_s = [measured.alone_s(job.steps, len(job.controlnets), len(job.loras)) for job in jobs]
    shares = attainment(latencies_s, alone_s)
    print(
        f"  {', '.join(f'{share:.0%} within {factor:g} ×' for factor, share in shares.items())}", flush=True
    )
    return shares


def _samples(ours: Curves, theirs: Curves) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for who, curves in (("ours", ours), ("naive", theirs)):
        for cv, curve in curves.items():
            name = "poisson" if cv == 1 else f"cv{cv:g}"
            samples[f"{who}_rates_{name}"] = list(curve)
            for factor in FACTORS:
                samples[f"{who}_within_{factor:g}_{name}"] = [shares[factor] for shares in curve.values()]
    return samples
