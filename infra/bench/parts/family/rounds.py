"""The same jobs of a transformer by turns in the fleet and in diffusers, and what is held against what."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from infra.bench.baselines.diffusers_flux import DiffusersFlux, FluxImage
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin_this_process
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.family.traced_steps import TracedStep, seconds_of, traced_steps
from infra.bench.parts.family.waits import wait_figures
from infra.bench.workloads.addon_jobs import Addons, FinishedJob

PLAIN, GUIDED = "0c0l", "1c0l"
#: Steps of the image whose taxes are reported; fewer are computed in a job, so that jobs that are held
#: against each other follow closely.
IMAGE_STEPS = 16


class Owners(NamedTuple):
    """Who generates, and who keeps the other core busy."""

    fleet: Addons
    diffusers: DiffusersFlux
    busy: BackgroundProcess


class FleetImage(NamedTuple):
    """A job of the fleet."""

    job_s: float
    steps: list[TracedStep]
    pixels: Any

    @property
    def loop_s(self) -> float:
        """Seconds of all steps."""
        return sum(step.step_s for step in self.steps)

    @property
    def base_s(self) -> float:
        """Seconds of a step in which the base model computes."""
        return sum(step.base_s for step in self.steps) / len(self.steps)

    @property
    def image_s(self) -> float:
        """Seconds of a job of `IMAGE_STEPS`."""
        return seconds_of(self.job_s, [step.step_s for step in self.steps], IMAGE_STEPS)

    @classmethod
    def of(cls, finished: FinishedJob) -> "FleetImage":
        """What counts of it."""
        return cls(finished.job_s, traced_steps(finished.job), finished.pixels)


class Rounds:
    """A round is one job of each kind, and several pairs with and without the ControlNet."""

    def __init__(
        self, owners: Owners, pairs: int, residuals: int, pin: Callable[[int], object] = pin_this_process
    ) -> None:
        """``residuals``: how many a step has."""
        self._owners, self._pairs, self._residuals, self._pin = owners, pairs, residuals, pin
        #: What a step of the latest job with the ControlNet takes: so often the busy core computes it.
        self._every_s = 0.0
        self._samples: dict[str, list[float]] = {}

    def alternate(self, rounds: int) -> dict[str, list[float]]:
        """Figures of every round and pair; raises `CheckFailed` if images differ. One job warms up."""
        self._add_guided({}, 1000)
        for i in range(rounds):
            self._round(1000 + i, is_reversed=i % 2 == 1)
            latest = ", ".join(f"{name} {values[-1]:.3f}" for name, values in self._samples.items())
            print(f"  round {i + 1} of {rounds}: {latest}", flush=True)
        return self._samples

    def _round(self, seed: int, *, is_reversed: bool) -> None:
        """Diffusers, the fleet beside an idle core, pairs; each round in the reverse order of the one before.

        Of two pairs that follow each other the second has the reverse order of the first, too.
        """
        theirs: dict[str, FluxImage] = {}
        beside_idle: list[FleetImage] = []
        pairs: list[dict[str, FleetImage]] = [{} for _ in range(self._pairs)]
        calls: list[Callable[[], None]] = [
            lambda: theirs.update({PLAIN: self._by_diffusers(PLAIN, seed)}),
            lambda: theirs.update({GUIDED: self._by_diffusers(GUIDED, seed)}),
            lambda: beside_idle.append(self._by_fleet(PLAIN, seed)),
        ]
        for i, pair in enumerate(pairs):
            both: list[Callable[[], None]] = [
                partial(self._add_plain, pair, seed),
                partial(self._add_guided, pair, seed),
            ]
            calls += both if i % 2 == 0 else both[::-1]
        for call in reversed(calls) if is_reversed else calls:
            call()
        plain = [beside_idle[0], *(pair[PLAIN] for pair in pairs)]
        for config, images in {PLAIN: plain, GUIDED: [pair[GUIDED] for pair in pairs]}.items():
            if not all(np.array_equal(image.pixels, theirs[config].pixels) for image in images):
                raise CheckFailed(f"{config}, seed {seed}: the fleet's image is not diffusers'")
        for pair in pairs:
            self._add(self._of_pair(pair[PLAIN], pair[GUIDED]))
        self._add(_of_round(beside_idle[0], pairs[0][GUIDED], theirs))

    def _by_fleet(self, config: str, seed: int) -> FleetImage:
        return FleetImage.of(self._owners.fleet.generate(config, seed))

    def _add_plain(self, pair: dict[str, FleetImage], seed: int) -> None:
        self._owners.busy.go(self._every_s)
        pair[PLAIN] = self._by_fleet(PLAIN, seed)
        self._owners.busy.stop()

    def _add_guided(self, pair: dict[str, FleetImage], seed: int) -> None:
        pair[GUIDED] = guided = self._by_fleet(GUIDED, seed)
        self._every_s = guided.loop_s / len(guided.steps)

    def _by_diffusers(self, config: str, seed: int) -> FluxImage:
        self._pin(UNET_CORE)
        image = self._owners.diffusers.generate(config, seed)
        self._pin(CONTROLNET_CORE)
        return image

    def _of_pair(self, beside_busy: FleetImage, guided: FleetImage) -> dict[str, float]:
        steps = guided.steps
        path_s = sum(step.path_s for step in steps)
        return {
            "fleet_s_0c_busy": beside_busy.image_s,
            "fleet_s_1c": guided.image_s,
            "tax_1c": guided.image_s / beside_busy.image_s - 1,
            "base_tax_1c": guided.base_s / beside_busy.base_s - 1,
            "base_s": guided.base_s,
            "controlnet_s": sum(step.controlnet_s for step in steps) / len(steps),
            "path_s": path_s / len(steps),
            "step_s": guided.loop_s / len(steps),
            "bound_share": path_s / guided.loop_s,
            **wait_figures(steps, self._residuals),
        }

    def _add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._samples.setdefault(name, []).append(value)


def _of_round(
    beside_idle: FleetImage, guided: FleetImage, theirs: Mapping[str, FluxImage]
) -> dict[str, float]:
    theirs_s = {
        config: seconds_of(image.seconds, image.steps_s, IMAGE_STEPS) for config, image in theirs.items()
    }
    return {
        "fleet_s_0c": beside_idle.image_s,
        "tax_1c_idle": guided.image_s / beside_idle.image_s - 1,
        "diffusers_s_0c": theirs_s[PLAIN],
        "diffusers_s_1c": theirs_s[GUIDED],
        "diffusers_tax_1c": theirs_s[GUIDED] / theirs_s[PLAIN] - 1,
        "vs_diffusers_one_device": theirs_s[GUIDED] / guided.image_s,
    }
