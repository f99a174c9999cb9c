"""What becomes of the samples, and what the figures must reach."""

import pytest

from infra.bench.harness.report import judge
from infra.bench.parts.family.family import BOUNDS, summarize

SAMPLES = {
    "tax_1c": [0.0, 0.01, 0.02, 0.5],
    "base_tax_1c": [0.0, 0.01, 0.02, 0.5],
    "bound_share": [0.9, 0.96, 0.97, 0.98],
    "first_wait_share": [0.01] * 4,
    "later_waits_share": [0.0, 0.0, 0.0, 0.04],
}


def test_a_wait_that_few_steps_have_counts_and_a_tax_that_one_pair_has_does_not() -> None:
    figures = summarize(SAMPLES)
    assert figures["tax_1c"] == pytest.approx(0.015)
    assert figures["tax_1c_low"] == 0.0
    assert figures["tax_1c"] < figures["tax_1c_high"] <= 0.5
    assert figures["later_waits_share"] == pytest.approx(0.01)


def test_steps_that_wait_for_later_residuals_miss_a_target() -> None:
    figures = {f"{name}_flux_mid": value for name, value in summarize(SAMPLES).items()}
    met = {name: target.met for name, target in judge(figures, BOUNDS).items()}
    assert met == {
        "tax_1c_flux_mid": True,
        "bound_share_flux_mid": True,
        "first_wait_share_flux_mid": True,
        "later_waits_share_flux_mid": False,
    }
