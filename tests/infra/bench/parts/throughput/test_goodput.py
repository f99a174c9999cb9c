import pytest

from infra.bench.parts.throughput.goodput import compare
from infra.bench.simulate.goodput import Attainment


def curve(limit: float) -> dict[float, Attainment]:
    """All jobs are in time up to ``limit``, none at twice that."""
    return {limit: {1.5: 1.0, 2.0: 1.0, 3.0: 1.0}, 2 * limit: {1.5: 0.0, 2.0: 0.0, 3.0: 0.0}}


def test_goodputs_are_given_for_devices_that_do_not_sleep_longer() -> None:
    figures = compare({1.0: curve(0.5)}, {1.0: curve(0.1)}, stretch=6.0)
    assert figures["goodput_k2_cv1"] == pytest.approx(6 * 0.55)
    assert figures["naive_goodput_k1_5_cv1"] == pytest.approx(6 * 0.11)
    assert figures["goodput_vs_naive_k2"] == pytest.approx(5.0)
    assert "burst_vs_naive" not in figures


def test_bursts_are_compared_at_the_largest_coefficient_of_variation() -> None:
    ours, theirs = {1.0: curve(1.0), 8.0: curve(0.8)}, {1.0: curve(0.5), 8.0: curve(0.1)}
    figures = compare(ours, theirs, stretch=1.0)
    assert figures["goodput_vs_naive_k2"] == pytest.approx(2.0)
    assert figures["burst_vs_naive"] == pytest.approx(8.0)


def test_a_plain_fleet_that_is_never_good_enough_counts_with_its_lowest_rate() -> None:
    never = {0.25: {1.5: 0.2, 2.0: 0.5, 3.0: 0.6}}
    assert compare({1.0: curve(1.0)}, {1.0: never}, 1.0)["goodput_vs_naive_k2"] == pytest.approx(4.4)
