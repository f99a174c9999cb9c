"""Part ``simulation``: the same jobs through the real fleet on timed devices and through the simulation.

What the fleet costs beside its devices' sleep is measured first, with equal jobs
(`infra.bench.timed.calibration`); for the rest the simulation counts with the seconds that the devices sleep.
The figures are the simulation's over the real fleet's.

Devices sleep the longer the more of them share the host, so that the fleet's processes take about the same
part of a step in every case.
"""

import tempfile
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.report import Bound, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.simulate.config import FleetConfig, Traffic
from infra.bench.simulate.measurements import TIMED, Measurements, read_measurements
from infra.bench.simulate.run import replay
from infra.bench.simulate.traffic import SimulatedJob, make_traffic
from infra.bench.timed.calibration import Calibration
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import CONTROLNETS, NAME, make_timed
from infra.bench.timed.stream import Replayed, Stream

BOUNDS = {"simulation_error_max": Bound("at_most", 0.1)}
MEMORY_BYTES = 24_000_000_000
#: The share of what a fleet can generate at which jobs arrive.
LOAD = 0.8
#: How many times as long as H800s the devices of a case sleep, for each of them.
STRETCH_A_DEVICE = 0.5


class Case(NamedTuple):
    """A fleet that is run and simulated."""

    unets: int
    controlnets: int  # devices that serve ControlNets alone; 0: all devices are elastic

    @property
    def name(self) -> str:
        """For figures."""
        return f"fixed_{self.unets}_{self.controlnets}" if self.controlnets else f"elastic_{self.unets}"

    @property
    def stretch(self) -> float:
        """How many times as long as H800s the devices sleep."""
        return STRETCH_A_DEVICE * (self.unets + self.controlnets)

    @property
    def config(self) -> FleetConfig:
        """The fleet as it is simulated: one host, one S3 that is never busy."""
        return FleetConfig(
            policy="fixed" if self.controlnets else "elastic",
            devices=self.unets + self.controlnets,
            controlnet_devices=self.controlnets,
            memory_bytes=MEMORY_BYTES,
        )


CASES = (Case(2, 0), Case(1, 1), Case(4, 0), Case(3, 1), Case(8, 0))
QUICK_CASES = (Case(2, 0),)


def measure(quick: bool) -> Measured:
    """The quick form takes two elastic devices and few jobs: noise is larger than the target."""
    cases, jobs, steps = (QUICK_CASES, 10, 10) if quick else (CASES, 60, 25)
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    for stretch, alike in groupby(cases, lambda case: case.stretch):
        with tempfile.TemporaryDirectory() as folder:
            catalog = make_timed(Path(folder), stretch=stretch)
            decoy = {"worker_models": ("emoji-sd",), "worker_controlnets": ("none",)}
            with running_fleet(catalog=catalog, unet_workers=1, controlnet_workers=0, **decoy) as fleet:
                for case in alike:
                    figures |= _measure_case(case, fleet, jobs, steps, samples)
    errors = [abs(value - 1) for name, value in figures.items() if "_over_real_" in name]
    figures["simulation_error_max"] = max(errors)
    return Measured(figures, samples, {} if quick else BOUNDS)


def _measure_case(
    case: Case, fleet: Fleet, jobs: int, steps: int, samples: dict[str, list[float]]
) -> dict[str, float]:
    stream = Stream(fleet, (NAME,), CONTROLNETS)
    memory = {"SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
    held = CONTROLNETS if case.controlnets else ()
    roles = {"SWIFT_WORKER_CONTROLNETS": "none"} if case.controlnets else {}
    with devices(
        fleet,
        unets=case.unets,
        controlnets=(",".join(held),) * case.controlnets,
        environment=memory | roles,
    ):
        calibration = Calibration(stream, unets=case.unets, is_elastic=not case.controlnets)
        calibration.warm_up(len(CONTROLNETS))
        measured = calibration.measure(read_measurements(TIMED).stretched(case.stretch))
        wanted = _jobs(case, measured, jobs, steps)
        real = stream.replay(wanted)
    return _costs(case, measured) | _compare(case, measured, wanted, real, samples)


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of both, and the simulation's figures over the real ones."""
    names = [name.removeprefix("real_s_") for name in result.samples if name.startswith("real_s_")]
    for number, name in enumerate(names):
        left.ecdf(result.samples[f"real_s_{name}"], color=f"C{number}", label=f"{name}, real")
        left.ecdf(result.samples[f"simulated_s_{name}"], color=f"C{number}", linestyle=":", label="simulated")
    left.set(xlabel="s from submission to image", ylabel="share of jobs", title="the same jobs")
    left.legend()
    for shift, figure in ((-0.25, "images_per_s"), (0.0, "p50"), (0.25, "p99")):
        values = [result.figures[f"{figure}_over_real_{name}"] for name in names]
        right.bar([place + shift for place in range(len(names))], values, 0.25, label=figure)
    right.axhspan(0.9, 1.1, color="gray", alpha=0.2)
    right.set_xticks(range(len(names)), names)
    right.set(title="simulated over real")
    right.legend()


def _jobs(case: Case, measured: Measurements, count: int, steps: int) -> list[SimulatedJob]:
    """Jobs that arrive at `LOAD` of what the case's UNet devices can generate, with two ControlNets each."""
    own_s = measured.text_s + steps * (measured.unet_s + measured.step_s) + measured.vae_s
    if not case.controlnets:
        own_s += 1.6 * steps * measured.controlnet_s  # as many as the mix has, on the same devices
    traffic = Traffic(
        rate_per_s=LOAD * case.unets / own_s,
        duration_s=1e6,
        warm_up_s=0.0,
        steps=steps,
        models=1,
        controlnets=len(CONTROLNETS),
    )
    return list(islice(make_traffic(traffic), count))


def _compare(
    case: Case,
    measured: Measurements,
    jobs: Sequence[SimulatedJob],
    real: Replayed,
    samples: dict[str, list[float]],
) -> dict[str, float]:
    copies = [
        SimulatedJob(job.at_s - jobs[0].at_s, job.model, job.controlnets, job.loras, job.steps)
        for job in jobs
    ]
    outcome = replay(measured, case.config, copies, models=1, controlnets=len(CONTROLNETS))
    simulated = list(outcome.latencies_s)
    span_s = max(job.ended_s for job in copies)
    samples |= {f"real_s_{case.name}": real.latencies_s, f"simulated_s_{case.name}": simulated}
    ratios = {
        "images_per_s": real.span_s / span_s,
        "p50": percentile(simulated, 50) / percentile(real.latencies_s, 50),
        "p99": percentile(simulated, 99) / percentile(real.latencies_s, 99),
    }
    print(f"  {case.name}: {', '.join(f'{name} {ratio:.2f}' for name, ratio in ratios.items())}", flush=True)
    return {f"{name}_over_real_{case.name}": ratio for name, ratio in ratios.items()}


def _costs(case: Case, measured: Measurements) -> dict[str, float]:
    names = ("job_s", "step_s", "request_s", "claim_s", "follow_s")
    return {f"{name.removesuffix('_s')}_ms_{case.name}": 1000 * getattr(measured, name) for name in names}
