import pytest

from infra.bench.parts.latency.tax import CONFIGS, OWNERS, _all_taxes


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
