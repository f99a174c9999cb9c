"""Part ``goodput``: the highest rate at which 90 % of jobs end within k × their latency alone in diffusers.

Eight timed devices with memory for fewer models than there are: three base models, eight ControlNets, the
production trace's add-ons and LoRAs; arrivals by Poisson and in bursts, which can be named (``--only
cv1,cv8``: coefficients of variation of the gaps) and are written one by one. Against plain Celery workers
that load pipelines on demand into the same memory (`infra.bench.timed.plain_app`), which do nothing but
sleep; both fleets are in `goodput_fleets` beside this, and get the same jobs. Rates begin at what the
simulation predicts for these jobs. All rates of the result are those of devices that sleep as long as H800s
take.

How much better this fleet takes bursts is the ratio of goodputs at a coefficient of variation of `BURSTY`: by
the simulation the plain fleet has none at larger ones.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.parts.throughput.goodput_fleets import (
    CONTROLNETS,
    MEMORY_BYTES,
    MODELS,
    STRETCH,
    GoodputFleet,
    alone_s,
    running_goodput_fleets,
)
from infra.bench.simulate.config import FleetConfig, Traffic
from infra.bench.simulate.goodput import WANTED, Attainment, attainment, goodput, measure_rates
from infra.bench.simulate.measurements import TIMED, Measurements, read_measurements
from infra.bench.simulate.outcome import FACTORS
from infra.bench.simulate.run import replay
from infra.bench.simulate.traffic import SimulatedJob, make_traffic

#: Coefficients of variation of the gaps between arrivals; 1: Poisson.
CVS = (1.0, 2.0, 4.0, 8.0)
BURSTY = 2.0
BOUNDS = {"goodput_vs_naive_k2": Bound("at_least", 3), "burst_vs_naive": Bound("at_least", 8)}
#: How far rates of real tries are apart.
STRIDE = 1.4
#: The simulation's tries, which cost little.
SIMULATED_TRIES = 10
#: Where the simulation has too many late jobs at every rate, real ones begin at this share of its first.
LOWEST = 1 / 16
Curves = dict[float, dict[float, Attainment]]


class _Form(NamedTuple):
    """How much is measured."""

    devices: int
    steps: int
    jobs: int
    tries: int
    cvs: tuple[float, ...]


FULL, QUICK = _Form(8, 50, 64, 2, CVS), _Form(2, 10, 8, 1, CVS[:1])


def measure(quick: bool) -> Measured:
    """The quick form tries one rate on two devices, to see that jobs are generated."""
    return measure_experiments(quick, [], None, lambda _: None)


def measure_experiments(
    quick: bool, only: Sequence[str], within_s: float | None, save: Callable[[Measured], object]
) -> Measured:
    """Measure one kind of arrivals after the other; ``save`` gets everything after each.

    Raises `CheckFailed` for an unknown name in ``only``.
    """
    form = QUICK if quick else FULL
    cvs, shares = _chosen(only, form.cvs), list[float]()
    ours: Curves = {}
    theirs: Curves = {}
    began, took_s = time.monotonic(), 0.0
    with running_goodput_fleets(form.devices, shares) as (elastic, plain):
        for cv in cvs:
            start = time.monotonic()
            if within_s is not None and start - began + took_s > within_s:
                print(f"  cv {cv:g} and what follows are left out: no time is left", flush=True)
                break
            theirs[cv] = _curve(plain, form, cv)
            ours[cv] = _curve(elastic, form, cv)
            took_s = time.monotonic() - start
            measured = _measured(form, ours, theirs, shares, {} if quick else BOUNDS)
            save(measured)
    return measured


def _chosen(only: Sequence[str], cvs: tuple[float, ...]) -> list[float]:
    by_name = {f"cv{cv:g}": cv for cv in cvs}
    if unknown := [name for name in only if name not in by_name]:
        raise CheckFailed(f"no arrivals {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in only] or list(cvs)


def _curve(fleet: GoodputFleet, form: _Form, cv: float) -> dict[float, Attainment]:
    """Attainment by rate, in jobs per second of devices that do not sleep longer than H800s take."""
    measured = read_measurements(TIMED)
    config = FleetConfig(policy=fleet.policy, devices=form.devices, memory_bytes=MEMORY_BYTES)
    prediction = _predict(measured, config, form, cv)
    print(f"  {fleet.policy}, cv {cv:g}: the simulation says {prediction:.2f} jobs/s", flush=True)
    return measure_rates(
        lambda rate: fleet.attain(_jobs(rate / fleet.stretch, cv, form)),
        prediction,
        tries=form.tries,
        stride=STRIDE,
    )


def _predict(measured: Measurements, config: FleetConfig, form: _Form, cv: float) -> float:
    """The simulated goodput of these jobs at k = 2, or `LOWEST` if there is none."""

    def attain(rate: float) -> Attainment:
        jobs = _jobs(rate, cv, form)
        outcome = replay(measured, config, jobs, models=len(MODELS), controlnets=len(CONTROLNETS))
        return attainment(outcome.latencies_s, [alone_s(measured, job) for job in jobs])

    first = 0.5 * form.devices / measured.alone_s(form.steps, 2, 1)
    return goodput(measure_rates(attain, first, tries=SIMULATED_TRIES), 2.0) or LOWEST * first


def _measured(
    form: _Form, ours: Curves, theirs: Curves, shares: Sequence[float], bounds: dict[str, Bound]
) -> Measured:
    figures = {"stretch": STRETCH, "devices": float(form.devices), "cpu_share_of_steps": max(shares)}
    figures |= compare(ours, theirs)
    bounds = {name: bound for name, bound in bounds.items() if name in figures}
    return Measured(figures, _samples(ours, theirs), bounds)


def compare(ours: Curves, theirs: Curves) -> dict[str, float]:
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
            figures |= {f"goodput_{name}": own, f"naive_goodput_{name}": other}
            ratios[factor, cv] = own / (other or min(theirs[cv]))
    for factor in FACTORS if 1.0 in ours else ():
        figures[f"goodput_vs_naive_k{factor:g}".replace(".", "_")] = ratios[factor, 1.0]
    if BURSTY in ours:
        figures["burst_vs_naive"] = ratios[2.0, BURSTY]
    return figures


def plot(result: Result, left: Any, right: Any) -> None:
    """Attainment within twice the latency alone, over the rate: Poisson on the left, bursts on the right."""
    measured = [cv for cv in CVS if f"ours_rates_cv{cv:g}" in result.samples]
    for axes, cv in ((left, measured[0]), (right, measured[-1])):
        for who, label in (("ours", "this fleet"), ("naive", "Celery and diffusers")):
            rates = result.samples[f"{who}_rates_cv{cv:g}"]
            for factor in FACTORS:
                shares = result.samples[f"{who}_within_{factor:g}_cv{cv:g}"]
                axes.plot(rates, shares, "o-" if factor == 2 else ".:", label=f"{label}, {factor:g} ×")
        axes.axhline(WANTED, color="gray", linewidth=0.8)
        arrivals = "Poisson" if cv == 1 else f"gaps with a coefficient of variation of {cv:g}"
        axes.set(xlabel="jobs/s", ylabel="share of jobs in time", title=arrivals)
        axes.legend()


def _jobs(rate: float, cv: float, form: _Form) -> list[SimulatedJob]:
    """The same jobs at every rate; they arrive at exactly this one from the first to the last."""
    traffic = Traffic(
        rate_per_s=rate,
        duration_s=1e9,
        warm_up_s=0.0,
        cv=cv,
        steps=form.steps,
        models=len(MODELS),
        controlnets=len(CONTROLNETS),
    )
    jobs = list(islice(make_traffic(traffic), form.jobs))
    first_s, span_s = jobs[0].at_s, jobs[-1].at_s - jobs[0].at_s
    scale = (form.jobs - 1) / (rate * span_s)
    return [replace(job, at_s=scale * (job.at_s - first_s)) for job in jobs]


def _samples(ours: Curves, theirs: Curves) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for who, curves in (("ours", ours), ("naive", theirs)):
        for cv, curve in curves.items():
            samples[f"{who}_rates_cv{cv:g}"] = list(curve)
            for factor in FACTORS:
                samples[f"{who}_within_{factor:g}_cv{cv:g}"] = [shares[factor] for shares in curve.values()]
    return samples
