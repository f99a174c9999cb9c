"""Whose turn it is, and what is held against what."""

from typing import Any, cast

import numpy as np
import pytest

from infra.bench.baselines.diffusers_addons import PeerImage
from infra.bench.baselines.diffusers_flux import DiffusersFlux
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.family.family import Owners, Rounds
from infra.bench.parts.family.guided_step import StepParts
from infra.bench.workloads.addon_jobs import Addons, FinishedJob

PARTS = StepParts([0.5, 0.5], [0.25], 0.0)


class Instant:
    """As a fleet, as diffusers and as a busy core: notes whose turn it is; images are of one grey."""

    def __init__(self, turns: list[str], name: str, grey: int = 100) -> None:
        self._turns, self._name, self._grey = turns, name, grey

    def generate(self, config: str, seed: int) -> Any:
        self._turns.append(f"{self._name} {config}")
        pixels = np.full((2, 2, 3), self._grey, np.uint8)
        seconds = {"0c0l": 2.0, "1c0l": 3.0}[config]
        if self._name == "diffusers":
            return PeerImage(seconds, pixels)
        is_slowed = self._turns[-2:-1] == ["go 1.0"]
        job_s = 2.5 if is_slowed else seconds
        job = {"timeline": [{"name": "wait for residuals", "start_s": 0.5, "end_s": 0.75, "residual": 0}]}
        return FinishedJob(job_s=job_s, loop_s=2.0, unpatch_s=0.0, job=job, pixels=pixels)

    def go(self, every_s: float) -> None:
        self._turns.append(f"go {every_s}")

    def stop(self) -> list[float]:
        self._turns.append("stop")
        return []


def make_rounds(turns: list[str], pins: list[int], grey: int = 100) -> Rounds:
    fleet = cast("Addons", Instant(turns, "fleet"))
    diffusers = cast("DiffusersFlux", Instant(turns, "diffusers", grey))
    busy = cast("BackgroundProcess", Instant(turns, "busy"))
    return Rounds(Owners(fleet, diffusers, busy, lambda: PARTS), 2, pin=pins.append)


def test_each_round_has_the_reverse_order_of_the_one_before() -> None:
    turns: list[str] = []
    pins: list[int] = []
    samples = make_rounds(turns, pins).alternate(2, warm_ups=1)
    beside_busy = ["go 1.0", "fleet 0c0l", "stop"]
    forth = ["diffusers 0c0l", "diffusers 1c0l", "fleet 0c0l", *beside_busy, "fleet 1c0l"]
    back = ["fleet 1c0l", *beside_busy, "fleet 0c0l", "diffusers 1c0l", "diffusers 0c0l"]
    assert turns == back + forth + back
    assert {len(values) for values in samples.values()} == {2}
    # And diffusers has the base model's core, whenever its turn is
    assert pins == [UNET_CORE, CONTROLNET_CORE] * 2 * 3


def test_a_tax_is_held_against_a_job_beside_a_core_as_busy() -> None:
    samples = make_rounds([], []).alternate(1, warm_ups=0)
    assert samples["tax_1c"] == [pytest.approx(3.0 / 2.5 - 1)]
    assert samples["tax_1c_idle"] == [pytest.approx(0.5)]
    assert samples["busy_neighbour"] == [pytest.approx(0.25)]
    assert samples["diffusers_tax_1c"] == [pytest.approx(0.5)]
    assert samples["bound_share"] == [pytest.approx(1.0)]  # two steps of 1 s in a loop of 2 s
    assert samples["wait_share_0"] == [0.5]  # of two steps


def test_an_image_that_is_not_diffusers_does_not_count() -> None:
    with pytest.raises(CheckFailed, match="0c0l, seed 1000: the fleet's image is not diffusers'"):
        make_rounds([], [], grey=99).alternate(1, warm_ups=0)
