"""Part ``tax``: what a ControlNet and a cold LoRA add to a job's latency, in the fleet and in diffusers."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from infra.bench.baselines.diffusers_addons import DiffusersAddons
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads.addon_jobs import CONFIGS, Addons, FinishedJob, running_addons
from infra.bench.workloads.models import open_workload

#: Katz on an H800: 1.8 %, 7.6 %, 9.4 %; diffusers 48 %, 109 %, 149 %.
TARGETS = {"1c0l": 0.05, "0c1l": 0.03, "1c1l": 0.07}
#: Pairs and steps of each workload, in the full form.
FULL = {"mid": (5, 20), "sd15": (5, 2)}
QUICK = {"mid": (1, 2)}  # its first round counts: a short run checks the work, not its times
OURS, THEIRS = "fleet, two devices", "diffusers, one device"


def measure(quick: bool) -> Measured:
    """Run every configuration in turn, each time the fleet first and then diffusers on the UNet's core."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    bounds: dict[str, Bound] = {}
    for name, (pairs, steps) in (QUICK if quick else FULL).items():
        workload = open_workload(name)
        baseline = DiffusersAddons(workload, steps)
        with running_addons(workload, steps) as addons:
            found = _alternate(addons, baseline, pairs, steps, warm_ups=0 if quick else 1)
        for config, target in TARGETS.items():
            for owner in ("", "diffusers_"):
                taxes = _taxes(found, owner, config)
                figures[f"{owner}tax_{config}_{name}"] = median(taxes)
                samples[f"{owner}tax_{config}_{name}"] = taxes
            bounds[f"tax_{config}_{name}"] = Bound("at_most", target)
        for key, values in found.items():
            figures[f"{key}_{name}"] = median(values)
            samples[f"{key}_{name}"] = values
    figures["devices"] = 2.0
    return Measured(figures, samples, bounds)


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of each configuration, and what they add."""
    _bars(left, result, {OURS: "fleet_s_", THEIRS: "diffusers_s_"})
    left.set(ylabel="s", title="an image")
    _bars(right, result, {OURS: "tax_", THEIRS: "diffusers_tax_"})
    right.set(ylabel="share", title="added to 0C/0L")


def _bars(axes: Any, result: Result, kinds: Mapping[str, str]) -> None:
    """Figures whose names begin alike, side by side for each kind; ``kinds`` are labels and beginnings."""
    for shift, (label, beginning) in zip((-0.2, 0.2), kinds.items(), strict=True):
        found = {k.removeprefix(beginning): v for k, v in result.figures.items() if k.startswith(beginning)}
        axes.bar([i + shift for i in range(len(found))], list(found.values()), width=0.4, label=label)
        axes.set_xticks(range(len(found)), list(found), rotation=45)
    axes.legend()


def _alternate(
    addons: Addons, baseline: DiffusersAddons, pairs: int, steps: int, *, warm_ups: int
) -> dict[str, list[float]]:
    """Seconds of every job, by owner and configuration; raises `CheckFailed` if images differ."""
    samples: dict[str, list[float]] = {}

    def note(key: str, seconds: float) -> None:
        samples.setdefault(key, []).append(seconds)

    for i in range(-warm_ups, pairs):
        for config in CONFIGS:
            ours = addons.generate(config, 1000 + i)
            _check_late(ours, steps)
            # A LoRA leaves the weights when the next job wants it out: that is paid there, and told here.
            left = addons.generate("0c0l", 1, num_inference_steps=1).unpatch_s if "1l" in config else 0.0
            pin_this_process(UNET_CORE)
            theirs = baseline.generate(config, 1000 + i)
            pin_this_process(CONTROLNET_CORE)
            if "0l" in config and not np.array_equal(ours.pixels, theirs.pixels):
                raise CheckFailed(f"{config}, seed {1000 + i}: the fleet's image is not diffusers'")
            if i < 0:
                continue
            note(f"fleet_s_{config}", ours.job_s)
            note(f"diffusers_s_{config}", theirs.seconds)
            if left:
                note(f"unpatch_s_{config}", left)
        if i >= 0:
            outcome = ", ".join(f"{c} {samples[f'fleet_s_{c}'][-1]:.2f} s" for c in CONFIGS)
            print(f"  round {i + 1} of {pairs}: {outcome}", flush=True)
    _check_exact(addons, baseline)
    return samples


def _check_late(generated: FinishedJob, steps: int) -> None:
    for lora in generated.job["receipt"]["loras"]:
        if lora["step"] > max(1, steps // 5):
            raise CheckFailed(f"LoRA {lora['name']} took effect at step {lora['step']} of {steps}")


def _check_exact(addons: Addons, baseline: DiffusersAddons) -> None:
    """With its LoRA from the first step on, the fleet's image is diffusers' to the weights' rounding."""
    ours = addons.generate("1c1l", 7, lora_loading={"mode": "exact"})
    theirs = baseline.generate("1c1l", 7, fuse=True)
    distance = int(np.abs(ours.pixels.astype(np.int16) - theirs.pixels).max())
    if distance > 1:
        raise CheckFailed(f"1c1l exact: {distance} of 255 from diffusers' image")


def _taxes(samples: Mapping[str, Sequence[float]], owner: str, config: str) -> list[float]:
    """What ``config`` adds to the plain job of the same round, as a share of it."""
    key = "diffusers_s" if owner else "fleet_s"
    return [
        loaded / plain - 1
        for loaded, plain in zip(samples[f"{key}_{config}"], samples[f"{key}_0c0l"], strict=True)
    ]
