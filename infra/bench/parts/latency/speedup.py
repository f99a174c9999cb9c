"""Part ``speedup``: how near the fleet comes to the critical path, and how far ahead of diffusers it is."""

from statistics import median
from typing import Any

import numpy as np
import torch

from infra.bench.baselines.diffusers_addons import DiffusersAddons
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.parts.latency.critical_path import CriticalPath, measured_parts
from infra.bench.workloads.addon_jobs import Addons, running_addons
from infra.bench.workloads.models import open_workload

DEVICES = 2
FULL = {"mid": (5, 4), "sd15": (5, 2)}
QUICK = {"mid": (1, 2)}  # its first round counts: a short run checks the work, not its times
#: Repetitions of each part of a step in a round.
PART_ROUNDS = 3


def measure(quick: bool) -> Measured:
    """A round: the parts of a step, jobs with a ControlNet and a cold LoRA in the fleet, the same in
    diffusers."""
    figures: dict[str, float] = {"devices": DEVICES}
    samples: dict[str, list[float]] = {}
    bounds: dict[str, Bound] = {}
    for name, (pairs, steps) in (QUICK if quick else FULL).items():
        workload = open_workload(name)
        baseline = DiffusersAddons(workload, steps)
        with running_addons(workload, steps) as addons, measured_parts(workload) as critical:
            found = _alternate(addons, baseline, critical, pairs, steps, warm_ups=0 if quick else 1)
        for key, values in found.items():
            figures[f"{key}_{name}"] = median(values)
            samples[f"{key}_{name}"] = values
        bounds |= {
            f"bound_share_{name}": Bound("at_least", 0.95),
            f"vs_diffusers_one_device_{name}": Bound("at_least", 1),
            f"vs_diffusers_equal_cores_{name}": Bound("at_least", 1),
        }
    return Measured(figures, samples, bounds)


def plot(result: Result, left: Any, right: Any) -> None:
    """Where a step's time goes, and the ratios."""
    for name in ("mid", "sd15"):
        if f"encoder_s_{name}" in result.figures:
            parts = [
                result.figures[f"{part}_s_{name}"] for part in ("encoder", "controlnet", "decoder", "step")
            ]
            left.bar([f"{part}\n{name}" for part in ("encoder", "controlnet", "decoder", "step")], parts)
    left.set(ylabel="s", title="a step of 1C/0L: parts, and as it was")
    ratios = {
        key: value for key, value in result.figures.items() if key.startswith(("bound", "vs_", "device_"))
    }
    right.barh(list(ratios), list(ratios.values()))
    right.axvline(1, linestyle=":")
    right.set_title("ratios")


def _alternate(
    addons: Addons,
    baseline: DiffusersAddons,
    critical: CriticalPath,
    pairs: int,
    steps: int,
    *,
    warm_ups: int,
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for i in range(-warm_ups, pairs):
        found = _round(addons, baseline, critical, 2000 + i, steps)
        if i < 0:
            continue
        for key, value in found.items():
            samples.setdefault(key, []).append(value)
        share, ratio = found["bound_share"], found["vs_diffusers_equal_cores"]
        outcome = f"{share:.3f} of the bound, {ratio:.2f} times diffusers on as many cores"
        print(f"  round {i + 1} of {pairs}: {outcome}", flush=True)
    return samples


def _round(
    addons: Addons, baseline: DiffusersAddons, critical: CriticalPath, seed: int, steps: int
) -> dict[str, float]:
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    parts = critical.measure(PART_ROUNDS)
    guided = addons.generate("1c0l", seed)
    full = addons.generate("1c1l", seed)
    pin_this_process(UNET_CORE)
    one = baseline.generate("1c1l", seed)
    if not np.array_equal(baseline.generate("1c0l", seed).pixels, guided.pixels):
        raise CheckFailed(f"1c0l, seed {seed}: the fleet's image is not diffusers'")
    pin_this_process(UNET_CORE, CONTROLNET_CORE)
    torch.set_num_threads(DEVICES)
    two = baseline.generate("1c1l", seed)
    pin_this_process(CONTROLNET_CORE)
    return {
        "encoder_s": parts.encoder_s,
        "controlnet_s": parts.controlnet_s,
        "decoder_s": parts.decoder_s,
        **guided.step_figures(parts.path_s, steps),
        "fleet_s_1c1l": full.job_s,
        "diffusers_one_device_s_1c1l": one.seconds,
        "diffusers_equal_cores_s_1c1l": two.seconds,
        "vs_diffusers_one_device": one.seconds / full.job_s,
        "vs_diffusers_equal_cores": two.seconds / full.job_s,
        "device_seconds_vs_diffusers": DEVICES * full.job_s / one.seconds,
    }
