"""Part ``tax``: what a ControlNet and a cold LoRA add to a job's latency, in the fleet and in diffusers.

Each round has the reverse order of the one before. Two fleets of two devices take turns: two UNet workers,
which serve each other while they are idle, and one UNet worker with one ControlNet worker. A job with a
ControlNet keeps both cores busy, and a busy core slows its neighbour, whatever it computes:
``busy_neighbour`` is how much longer a plain job takes beside a ControlNet that is computed all the time, and
``tax_busy_…`` what a ControlNet adds to that. In a job that core is busy for part of a step only:
``tax_busy_…`` is the least that a ControlNet adds, ``tax_…`` the most.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infra.bench.baselines.diffusers_addons import DiffusersAddons
from infra.bench.harness.background_load import running_background_load
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads.addon_jobs import (
    CONFIGS,
    ELASTIC,
    FIXED_ROLES,
    Addons,
    FinishedJob,
    running_addons,
)
from infra.bench.workloads.models import open_workload

#: Katz on an H800: 1.8 %, 7.6 %, 9.4 %; diffusers 48 %, 109 %, 149 %.
TARGETS = {"1c0l": 0.05, "0c1l": 0.03, "1c1l": 0.07}
#: Pairs and steps of each workload, in the full form.
FULL = {"mid": (5, 20), "sd15": (5, 2)}
QUICK = {"mid": (1, 2)}  # its first round counts: a short run checks the work, not its times
#: Workloads of which memory holds two fleets beside diffusers.
WITH_FIXED_ROLES = frozenset({"mid"})
OURS, FIXED, THEIRS = "fleet", "UNet and ControlNet worker", "diffusers, one device"
OWNERS = ("fleet", "fixed", "diffusers")
DIFFUSERS = OWNERS[-1]
#: Rows of a batch with both CFG branches.
ROWS = 2


def measure(quick: bool) -> Measured:
    """Run every configuration in turn, each time diffusers on the UNet's core, and both fleets."""
    torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    bounds: dict[str, Bound] = {}
    for name, (pairs, steps) in (QUICK if quick else FULL).items():
        workload = open_workload(name)
        baseline = DiffusersAddons(workload, steps)
        with ExitStack() as running:
            fleets = {"fleet": running.enter_context(running_addons(workload, steps, ELASTIC))}
            neighbour = None
            if name in WITH_FIXED_ROLES:
                fleets["fixed"] = running.enter_context(running_addons(workload, steps, FIXED_ROLES))
                controlnet = workload.controlnet(workload.controlnets[0])
                neighbour = running.enter_context(
                    running_background_load("controlnet", controlnet, workload.side_px, ROWS)
                )
            rounds = _Rounds(fleets, baseline, neighbour, steps)
            found = rounds.alternate(pairs, warm_ups=0 if quick else 1)
        found |= _all_taxes(found)
        for key, values in found.items():
            figures[f"{key}_{name}"] = median(values)
            samples[f"{key}_{name}"] = values
        bounds |= {f"tax_{config}_{name}": Bound("at_most", target) for config, target in TARGETS.items()}
    figures["devices"] = 2.0
    return Measured(figures, samples, {} if quick else bounds)


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of each configuration, and what they add."""
    labels = dict(zip(OWNERS, (OURS, FIXED, THEIRS), strict=True))
    _bars(left, result, {f"{owner}_s_": label for owner, label in labels.items()})
    left.set(ylabel="s", title="an image")
    _bars(right, result, {_tax("fleet"): OURS, _tax("fixed"): FIXED, _tax("diffusers"): THEIRS})
    right.set(ylabel="share", title="added to 0C/0L")


def _bars(axes: Any, result: Result, kinds: Mapping[str, str]) -> None:
    """Figures of each kind side by side; ``kinds`` are beginnings of their names, and labels."""
    configs = [f"{c}_{name}" for name in FULL for c in CONFIGS]
    width = 0.8 / len(kinds)
    for i, (beginning, label) in enumerate(kinds.items()):
        found = {c: result.figures[beginning + c] for c in configs if beginning + c in result.figures}
        places = [place + (i - 1) * width for place in range(len(found))]
        axes.bar(places, list(found.values()), width=width, label=label)
        axes.set_xticks(range(len(found)), list(found), rotation=45)
    axes.legend()


class _Rounds:
    """Generates the same jobs by turns in fleets and in diffusers."""

    def __init__(
        self,
        fleets: Mapping[str, Addons],
        baseline: DiffusersAddons,
        neighbour: BackgroundProcess | None,
        steps: int,
        pin: Callable[[int], object] = pin_this_process,
    ) -> None:
        self._pin = pin
        self._fleets = fleets
        self._baseline = baseline
        self._neighbour = neighbour
        self._steps = steps
        self._samples: dict[str, list[float]] = {}

    def alternate(self, pairs: int, *, warm_ups: int) -> dict[str, list[float]]:
        """Seconds of every job, by owner and configuration; raises `CheckFailed` if images differ."""
        for i in range(-warm_ups, pairs):
            if i == 0:
                self._samples.clear()
            is_reversed, owners = i % 2 == 1, [DIFFUSERS, *self._fleets]
            if is_reversed:
                owners.reverse()
                self._generate_beside_busy(1000 + i)
            for config in CONFIGS:
                self._generate(config, 1000 + i, owners)
            if not is_reversed:
                self._generate_beside_busy(1000 + i)
            if i >= 0:
                last = {key: values[-1] for key, values in self._samples.items()}
                outcome = ", ".join(f"{key} {value:.2f}" for key, value in last.items() if "_s_" in key)
                print(f"  round {i + 1} of {pairs}: {outcome}", flush=True)
        self._check_exact()
        return self._samples

    def _generate(self, config: str, seed: int, owners: Sequence[str]) -> None:
        """One job of each owner, in this order."""
        make = {owner: self._by_diffusers if owner == DIFFUSERS else self._by_fleet for owner in owners}
        pixels = {owner: make[owner](owner, config, seed) for owner in owners}
        for owner in self._fleets if "1l" not in config else ():
            if not np.array_equal(pixels[owner], pixels[DIFFUSERS]):
                raise CheckFailed(f"{config}, seed {seed}: the image of {owner} is not diffusers'")

    def _by_diffusers(self, owner: str, config: str, seed: int) -> NDArray[np.uint8]:
        self._pin(UNET_CORE)
        theirs = self._baseline.generate(config, seed)
        self._pin(CONTROLNET_CORE)
        self._note(f"{owner}_s_{config}", theirs.seconds)
        return theirs.pixels

    def _by_fleet(self, owner: str, config: str, seed: int) -> NDArray[np.uint8]:
        addons = self._fleets[owner]
        ours = addons.generate(config, seed)
        _check_late(ours, self._steps)
        self._note(f"{owner}_s_{config}", ours.job_s)
        if "1l" in config:  # it leaves the weights when the next job wants it out: that is paid there
            left = addons.generate("0c0l", 1, num_inference_steps=1)
            self._note(f"{owner}_unpatch_s_{config}", left.unpatch_s)
        return ours.pixels

    def _generate_beside_busy(self, seed: int) -> None:
        """A plain job beside a busy core: that of the ControlNet worker, which is idle."""
        if self._neighbour is not None:
            self._neighbour.go()
            self._note("busy_s_0c0l", self._fleets["fixed"].generate("0c0l", seed).job_s)
            self._neighbour.stop()

    def _note(self, key: str, seconds: float) -> None:
        self._samples.setdefault(key, []).append(seconds)

    def _check_exact(self) -> None:
        """With its LoRA from the first step on, a fleet's image is diffusers' to the weights' rounding."""
        theirs = self._baseline.generate("1c1l", 7, fuse=True)
        for owner, addons in self._fleets.items():
            ours = addons.generate("1c1l", 7, lora_loading={"mode": "exact"})
            distance = int(np.abs(ours.pixels.astype(np.int16) - theirs.pixels).max())
            if distance > 1:
                raise CheckFailed(f"1c1l exact: {owner} is {distance} of 255 from diffusers' image")


def _check_late(generated: FinishedJob, steps: int) -> None:
    for lora in generated.job["receipt"]["loras"]:
        if lora["step"] > max(1, steps // 5):
            raise CheckFailed(f"LoRA {lora['name']} took effect at step {lora['step']} of {steps}")


def _tax(owner: str) -> str:
    """How the figures of an owner's taxes begin: the fleet's have no prefix."""
    return "tax_" if owner == "fleet" else f"{owner}_tax_"


def _all_taxes(samples: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """What add-ons add to the plain job of the same round, as a share of it, by owner and configuration."""
    owners = [owner for owner in OWNERS if f"{owner}_s_0c0l" in samples]
    taxes = {
        f"{_tax(owner)}{config}": _added(samples[f"{owner}_s_{config}"], samples[f"{owner}_s_0c0l"])
        for owner in owners
        for config in TARGETS
    }
    if "busy_s_0c0l" not in samples:
        return taxes
    busy = [1 + share for share in _added(samples["busy_s_0c0l"], samples["fixed_s_0c0l"])]
    beside_busy = {
        f"{_tax(owner)}busy_{config}": [
            (1 + tax) / factor - 1 for tax, factor in zip(taxes[f"{_tax(owner)}{config}"], busy, strict=True)
        ]
        for owner in ("fleet", "fixed")
        for config in ("1c0l", "1c1l")
    }
    return taxes | {"busy_neighbour": busy} | beside_busy


def _added(loaded: Sequence[float], plain: Sequence[float]) -> list[float]:
    return [one / other - 1 for one, other in zip(loaded, plain, strict=True)]
