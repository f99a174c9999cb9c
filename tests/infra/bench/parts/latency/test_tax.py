from typing import Any, cast

import numpy as np
import pytest

from infra.bench.baselines.diffusers_addons import DiffusersAddons, PeerImage
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.latency.tax import CONFIGS, OWNERS, _all_taxes, _Rounds
from infra.bench.workloads.addon_jobs import Addons, FinishedJob


def _samples() -> dict[str, list[float]]:
    seconds = {f"{owner}_s_{config}": [1.0, 2.0] for owner in OWNERS for config in CONFIGS}
    return seconds | {"busy_s_0c0l": [1.0, 2.0]}


def test_a_tax_is_held_against_the_plain_job_of_the_same_round() -> None:
    samples = _samples() | {"fleet_s_1c0l": [1.1, 2.1], "diffusers_s_1c0l": [1.5, 2.8]}
    taxes = _all_taxes(samples)
    assert taxes["tax_1c0l"] == pytest.approx([0.1, 0.05])
    assert taxes["diffusers_tax_1c0l"] == pytest.approx([0.5, 0.4])
    assert taxes["fixed_tax_1c0l"] == pytest.approx([0.0, 0.0])


def test_beside_a_busy_core_a_tax_is_held_against_a_plain_job_beside_one() -> None:
    samples = _samples() | {"fleet_s_1c0l": [1.1, 2.2], "busy_s_0c0l": [1.05, 2.2]}
    taxes = _all_taxes(samples)
    assert taxes["busy_neighbour"] == pytest.approx([1.05, 1.1])
    assert taxes["tax_busy_1c0l"] == pytest.approx([1.1 / 1.05 - 1, 0.0])


def test_a_workload_without_a_second_fleet_has_the_taxes_of_one() -> None:
    samples = {
        name: seconds for name, seconds in _samples().items() if not name.startswith(("fixed", "busy"))
    }
    taxes = _all_taxes(samples)
    assert taxes["tax_1c1l"] == pytest.approx([0.0, 0.0])
    assert not any("fixed" in name or "busy" in name for name in taxes)


class InstantOwner:
    """As a fleet and as diffusers: notes whose turn it is, and generates images of one grey."""

    def __init__(self, name: str, turns: list[str], grey: int = 100) -> None:
        self._name, self._turns, self._grey = name, turns, grey

    def generate(self, config: str, seed: int, **changes: Any) -> Any:
        if not changes:
            self._turns.append(f"{self._name} {config}")
        pixels = np.full((2, 2, 3), self._grey, np.uint8)
        if self._name == "diffusers":
            return PeerImage(1.0, pixels)
        job = {"receipt": {"loras": []}}
        return FinishedJob(job_s=1.0, loop_s=1.0, unpatch_s=0.0, job=job, pixels=pixels)


class Neighbour:
    """A busy core: notes when it is."""

    def __init__(self, turns: list[str]) -> None:
        self._turns = turns

    def go(self) -> None:
        self._turns.append("busy")

    def stop(self) -> list[float]:
        self._turns.append("idle")
        return []


def make_rounds(turns: list[str], pins: list[int], **greys: int) -> _Rounds:
    owners = {name: InstantOwner(name, turns, greys.get(name, 100)) for name in OWNERS}
    fleets = {name: cast("Addons", owners[name]) for name in ("fleet", "fixed")}
    baseline = cast("DiffusersAddons", owners["diffusers"])
    neighbour = cast("BackgroundProcess", Neighbour(turns))
    return _Rounds(fleets, baseline, neighbour, 20, pin=pins.append)


def test_each_round_has_the_reverse_order_of_the_one_before() -> None:
    turns: list[str] = []
    pins: list[int] = []
    samples = make_rounds(turns, pins).alternate(3, warm_ups=0)
    order, beside_busy = ["diffusers", "fleet", "fixed"], ["busy", "fixed 0c0l", "idle"]
    forth = [f"{owner} {config}" for config in CONFIGS for owner in order] + beside_busy
    back = beside_busy + [f"{owner} {config}" for config in CONFIGS for owner in reversed(order)]
    assert turns == forth + back + forth
    assert {len(values) for values in samples.values()} == {3}
    # And diffusers has the UNet's core, whenever its turn is
    assert pins == [UNET_CORE, CONTROLNET_CORE] * 3 * len(CONFIGS)


def test_an_image_that_is_not_diffusers_does_not_count() -> None:
    with pytest.raises(CheckFailed, match="0c0l, seed 1000: the image of fixed is not diffusers'"):
        make_rounds([], [], fixed=99).alternate(1, warm_ups=0)
