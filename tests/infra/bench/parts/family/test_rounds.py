"""Whose turn it is, and what is held against what."""

from typing import Any, cast

import numpy as np
import pytest

from infra.bench.baselines.diffusers_flux import DiffusersFlux, FluxImage
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.family.rounds import Owners, Rounds
from infra.bench.workloads.addon_jobs import Addons, FinishedJob
from tests.infra.bench.parts.family.timelines import span, timeline

#: Of a step with the ControlNet, which takes 2 s: for an eighth of it the base model waits.
GUIDED = [span("controlnet edge", 0.25, 1.0), span("wait for residuals", 0.5, 0.75, 0)]


class Instant:
    """As a fleet, as diffusers and as a busy core: notes whose turn it is; images are of one grey."""

    def __init__(self, turns: list[str], name: str, grey: int = 100) -> None:
        self._turns, self._name, self._grey = turns, name, grey

    def generate(self, config: str, seed: int) -> Any:
        self._turns.append(f"{self._name} {config}")
        pixels = np.full((2, 2, 3), self._grey, np.uint8)
        if self._name == "diffusers":
            step_s = {"0c0l": 1.0, "1c0l": 2.5}[config]
            return FluxImage(2 * step_s + 1.0, [step_s] * 2, pixels)
        is_slowed = self._turns[-2:-1] == ["go 2.0"]
        step_s = 2.0 if config == "1c0l" else 1.6 if is_slowed else 1.0
        steps = [GUIDED if config == "1c0l" else []] * 2
        job = {"id": "1", "timeline": timeline(steps, step_s=step_s)}
        return FinishedJob(job_s=2 * step_s + 1.0, loop_s=2 * step_s, unpatch_s=0.0, job=job, pixels=pixels)

    def go(self, every_s: float) -> None:
        self._turns.append(f"go {every_s}")

    def stop(self) -> list[float]:
        self._turns.append("stop")
        return []


def make_rounds(turns: list[str], pins: list[int], *, pairs: int = 1, grey: int = 100) -> Rounds:
    fleet = cast("Addons", Instant(turns, "fleet"))
    diffusers = cast("DiffusersFlux", Instant(turns, "diffusers", grey))
    busy = cast("BackgroundProcess", Instant(turns, "busy"))
    return Rounds(Owners(fleet, diffusers, busy), pairs, residuals=2, pin=pins.append)


def test_each_round_has_the_reverse_order_of_the_one_before_and_each_pair_as_well() -> None:
    turns: list[str] = []
    pins: list[int] = []
    samples = make_rounds(turns, pins, pairs=2).alternate(2)
    beside_busy = ["go 2.0", "fleet 0c0l", "stop"]
    pairs = [*beside_busy, "fleet 1c0l", "fleet 1c0l", *beside_busy]
    first = ["diffusers 0c0l", "diffusers 1c0l", "fleet 0c0l", *pairs]
    second = [*pairs, "fleet 0c0l", "diffusers 1c0l", "diffusers 0c0l"]
    assert turns == ["fleet 1c0l", *first, *second]
    assert len(samples["tax_1c"]) == len(samples["bound_share"]) == 4
    assert len(samples["tax_1c_idle"]) == len(samples["diffusers_tax_1c"]) == 2
    # And diffusers has the base model's core, whenever its turn is
    assert pins == [UNET_CORE, CONTROLNET_CORE] * 2 * 2


def test_a_tax_is_that_of_an_image_of_sixteen_steps_beside_a_core_as_busy() -> None:
    samples = make_rounds([], []).alternate(1)
    assert samples["fleet_s_1c"] == [pytest.approx(16 * 2.0 + 1.0)]
    assert samples["tax_1c"] == [pytest.approx(33.0 / (16 * 1.6 + 1.0) - 1)]
    # The base model computes for 2 s but a wait of 0.25 s
    assert samples["base_tax_1c"] == [pytest.approx(1.75 / 1.6 - 1)]
    assert samples["tax_1c_idle"] == [pytest.approx(33.0 / 17.0 - 1)]
    assert samples["diffusers_tax_1c"] == [pytest.approx(41.0 / 17.0 - 1)]
    assert samples["vs_diffusers_one_device"] == [pytest.approx(41.0 / 33.0)]


def test_a_critical_path_is_held_against_the_steps_of_its_own_job() -> None:
    samples = make_rounds([], []).alternate(1)
    assert samples["step_s"] == [pytest.approx(2.0)]
    # The ControlNet begins after a quarter of a second, and within that its residual is there
    assert samples["path_s"] == [pytest.approx(0.5 + 1.25)]
    assert samples["bound_share"] == [pytest.approx(1.75 / 2.0)]
    assert samples["first_wait_share"] == [pytest.approx(0.125)]
    assert samples["later_waits_share"] == [0.0]
    assert (samples["wait_share_0"], samples["wait_share_1"]) == ([1.0], [0.0])


def test_an_image_that_is_not_diffusers_does_not_count() -> None:
    with pytest.raises(CheckFailed, match="0c0l, seed 1000: the fleet's image is not diffusers'"):
        make_rounds([], [], grey=99).alternate(1)
