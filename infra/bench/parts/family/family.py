"""Part ``family``: what a ControlNet adds to a job of a transformer, workload ``flux_mid``.

One UNet device and one ControlNet device, against diffusers on one. A job without a ControlNet is also
generated while the other core computes the ControlNet once in each step, as it does in a job with one: a busy
core slows its neighbour, whatever it computes (``busy_neighbour``). ``tax_1c`` is held against that job,
``tax_1c_idle`` against one beside an idle core. Each round has the reverse order of the one before.

``wait_share_I``: in which share of the steps the base model waited for residual ``I``, of those that it needs
in a step, the first of which is 0.

``step_mb_…`` is what a step of real size sends, by family and ControlNet: from configs, nothing is measured.
"""

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from infra.bench.baselines.diffusers_flux import DiffusersFlux
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.parts.family.busy_controlnet import running_busy_controlnet
from infra.bench.parts.family.guided_step import GuidedStep, StepParts, copy_s
from infra.bench.parts.family.step_megabytes import step_megabytes
from infra.bench.parts.family.waits import wait_figures
from infra.bench.workloads.addon_jobs import Addons, FinishedJob, running_addons
from infra.bench.workloads.flux import NAME, open_flux

#: Pairs and steps.
FULL = (5, 16)
QUICK = (1, 2)  # its first round counts: a short run checks the work, not its times
#: Repetitions of a step's parts in a round.
PART_ROUNDS = 3
BOUNDS = {
    f"tax_1c_{NAME}": Bound("at_most", 0.03),
    f"bound_share_{NAME}": Bound("at_least", 0.95),
}
PLAIN, GUIDED = "0c0l", "1c0l"


def measure(quick: bool) -> Measured:
    """Rounds of the parts of a step, and of jobs with and without the ControlNet in fleet and diffusers."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    pairs, steps = QUICK if quick else FULL
    workload = open_flux()
    baseline = DiffusersFlux(workload, steps)
    step = GuidedStep(workload)
    with running_addons(workload, steps) as addons, running_busy_controlnet() as busy:
        rounds = Rounds(Owners(addons, baseline, busy, lambda: measure_parts(step, busy)), steps)
        samples = rounds.alternate(pairs, warm_ups=0 if quick else 1)
    samples = {f"{name}_{NAME}": values for name, values in samples.items()}
    figures = {name: median(values) for name, values in samples.items()} | {"devices": 2.0}
    figures |= {f"step_mb_{name}": megabytes for name, megabytes in step_megabytes().items()}
    return Measured(figures, samples, {} if quick else BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Where a step's time goes, and what the ControlNet adds."""
    parts = {
        "base model": "base_s",
        "ControlNet": "controlnet_s",
        "critical path": "path_s",
        "step": "step_s",
    }
    left.bar(list(parts), [result.figures[f"{key}_{NAME}"] for key in parts.values()])
    left.set(ylabel="s", title="a step with one ControlNet: parts, and as it was")
    taxes = {
        "fleet": f"tax_1c_{NAME}",
        "fleet, against an idle core": f"tax_1c_idle_{NAME}",
        "diffusers, one device": f"diffusers_tax_1c_{NAME}",
    }
    for label, key in taxes.items():
        right.plot([label] * len(result.samples[key]), result.samples[key], ".")
    right.axhline(0.03, linestyle=":", label="target")
    right.set(ylabel="share", title="added by one ControlNet")
    right.legend()


def measure_parts(step: GuidedStep, busy: BackgroundProcess) -> StepParts:
    """Both models at work, each on its core; this process moves to the base model's and back."""
    pin_this_process(UNET_CORE)
    _, residuals = step.controlnet()
    every_s = sum(step.base(residuals))
    busy.go(every_s)
    bases = [step.base(residuals) for _ in range(PART_ROUNDS)]
    controlnet_s = busy.stop()
    transfer_s = copy_s(next(iter(residuals.values())))
    pin_this_process(CONTROLNET_CORE)
    return StepParts([median(part) for part in zip(*bases, strict=True)], controlnet_s, transfer_s)


class Owners(NamedTuple):
    """Who generates, and what is measured beside."""

    fleet: Addons
    diffusers: DiffusersFlux
    busy: BackgroundProcess
    parts: Callable[[], StepParts]


class Rounds:
    """Generates the same jobs by turns in the fleet and in diffusers."""

    def __init__(self, owners: Owners, steps: int, pin: Callable[[int], object] = pin_this_process) -> None:
        self._owners, self._steps, self._pin = owners, steps, pin

    def alternate(self, pairs: int, *, warm_ups: int) -> dict[str, list[float]]:
        """Figures of every round; raises `CheckFailed` if images differ."""
        samples: dict[str, list[float]] = {}
        for i in range(-warm_ups, pairs):
            found = self._round(1000 + i, is_reversed=i % 2 == 1)
            if i < 0:
                continue
            for name, value in found.items():
                samples.setdefault(name, []).append(value)
            outcome = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"  round {i + 1} of {pairs}: {outcome}", flush=True)
        return samples

    def _round(self, seed: int, *, is_reversed: bool) -> dict[str, float]:
        parts = self._owners.parts()
        jobs: dict[str, FinishedJob] = {}
        theirs: dict[str, float] = {}
        pixels: dict[str, list[Any]] = {PLAIN: [], GUIDED: []}

        def by_fleet(config: str) -> None:
            jobs[config] = self._owners.fleet.generate(config, seed)
            pixels[config].append(jobs[config].pixels)

        def by_diffusers(config: str) -> None:
            self._pin(UNET_CORE)
            image = self._owners.diffusers.generate(config, seed)
            self._pin(CONTROLNET_CORE)
            theirs[config] = image.seconds
            pixels[config].append(image.pixels)

        def beside_busy() -> None:
            self._owners.busy.go(parts.path_s)
            jobs["busy"] = self._owners.fleet.generate(PLAIN, seed)
            self._owners.busy.stop()

        calls: list[Callable[[], None]] = [
            lambda: by_diffusers(PLAIN),
            lambda: by_diffusers(GUIDED),
            lambda: by_fleet(PLAIN),
            beside_busy,
            lambda: by_fleet(GUIDED),
        ]
        for call in reversed(calls) if is_reversed else calls:
            call()
        for config, images in pixels.items():
            if not np.array_equal(*images):
                raise CheckFailed(f"{config}, seed {seed}: the fleet's image is not diffusers'")
        return _figures(parts, jobs, theirs, self._steps)


def _figures(
    parts: StepParts, jobs: dict[str, FinishedJob], theirs: dict[str, float], steps: int
) -> dict[str, float]:
    plain, beside_busy, guided = jobs[PLAIN], jobs["busy"], jobs[GUIDED]
    return {
        "base_s": sum(parts.base_s),
        "controlnet_s": sum(parts.controlnet_s),
        "path_s": parts.path_s,
        **guided.step_figures(parts.path_s, steps),
        **wait_figures(guided.job, len(parts.controlnet_s), steps),
        "fleet_s_0c": plain.job_s,
        "fleet_s_0c_busy": beside_busy.job_s,
        "fleet_s_1c": guided.job_s,
        "diffusers_s_0c": theirs[PLAIN],
        "diffusers_s_1c": theirs[GUIDED],
        "busy_neighbour": beside_busy.job_s / plain.job_s - 1,
        "tax_1c": guided.job_s / beside_busy.job_s - 1,
        "tax_1c_idle": guided.job_s / plain.job_s - 1,
        "diffusers_tax_1c": theirs[GUIDED] / theirs[PLAIN] - 1,
        "vs_diffusers_one_device": theirs[GUIDED] / guided.job_s,
    }
