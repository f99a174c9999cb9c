import pytest

from infra.bench.simulate.goodput import Attainment, attainment, goodput, measure_rates


def falling(limit: float) -> dict[float, Attainment]:
    """Attainment that falls from 1 to 0 between ``limit`` and twice that, by rate."""

    def attain(rate: float) -> Attainment:
        share = min(max(2 - rate / limit, 0.0), 1.0)
        return {1.5: share / 2, 2.0: share, 3.0: 1.0}

    return measure_rates(attain, 1.0, tries=9)


@pytest.mark.parametrize("limit", [0.05, 0.7, 1.0, 6.0])
def test_rates_close_in_on_the_one_at_which_nine_of_ten_jobs_are_in_time(limit: float) -> None:
    measured = falling(limit)
    assert len(measured) == 9
    assert goodput(measured, 2.0) == pytest.approx(1.1 * limit, rel=0.02)


def test_a_fleet_that_is_good_enough_at_no_rate_has_no_goodput() -> None:
    assert goodput(falling(1.0), 1.5) == 0.0


def test_a_fleet_that_is_good_enough_at_all_rates_has_at_least_the_highest() -> None:
    measured = falling(1.0)
    assert goodput(measured, 3.0) == max(measured)


def test_between_two_rates_attainment_falls_evenly() -> None:
    shares = {1.0: {2.0: 1.0}, 2.0: {2.0: 0.8}, 3.0: {2.0: 0.1}}
    assert goodput(shares, 2.0) == pytest.approx(1.5)


def test_attainment_counts_jobs_by_their_own_latency_alone() -> None:
    assert attainment([3.0, 8.0, 100.0], [2.0, 4.0, 50.0]) == pytest.approx({1.5: 1 / 3, 2.0: 1.0, 3.0: 1.0})
