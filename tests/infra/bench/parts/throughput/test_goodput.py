import pytest

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.throughput.goodput import BURSTY, CVS, _chosen, compare
from infra.bench.simulate.goodput import Attainment


def curve(limit: float) -> dict[float, Attainment]:
    """All jobs are in time up to ``limit``, none at twice that."""
    return {limit: {1.5: 1.0, 2.0: 1.0, 3.0: 1.0}, 2 * limit: {1.5: 0.0, 2.0: 0.0, 3.0: 0.0}}


def test_goodputs_of_both_fleets_are_held_against_each_other() -> None:
    figures = compare({1.0: curve(0.5)}, {1.0: curve(0.1)})
    assert figures["goodput_k2_cv1"] == pytest.approx(0.55)
    assert figures["naive_goodput_k1_5_cv1"] == pytest.approx(0.11)
    assert figures["goodput_vs_naive_k2"] == pytest.approx(5.0)
    assert "burst_vs_naive" not in figures


def test_bursts_are_compared_at_one_coefficient_of_variation() -> None:
    ours, theirs = {1.0: curve(1.0), BURSTY: curve(0.8)}, {1.0: curve(0.5), BURSTY: curve(0.1)}
    figures = compare(ours, theirs)
    assert figures["goodput_vs_naive_k2"] == pytest.approx(2.0)
    assert figures["burst_vs_naive"] == pytest.approx(8.0)


def test_a_plain_fleet_that_is_never_good_enough_counts_with_its_lowest_rate() -> None:
    never = {0.25: {1.5: 0.2, 2.0: 0.5, 3.0: 0.6}}
    assert compare({1.0: curve(1.0)}, {1.0: never})["goodput_vs_naive_k2"] == pytest.approx(4.4)


def test_bursts_alone_can_be_measured() -> None:
    figures = compare({BURSTY: curve(0.8)}, {BURSTY: curve(0.1)})
    assert figures["burst_vs_naive"] == pytest.approx(8.0)
    assert "goodput_vs_naive_k2" not in figures


def test_arrivals_are_named_by_their_coefficient_of_variation() -> None:
    assert _chosen(["cv8", "cv1"], CVS) == [8.0, 1.0]
    assert _chosen([], CVS) == list(CVS)
    with pytest.raises(CheckFailed, match="no arrivals cv3; there are cv1, cv2, cv4, cv8"):
        _chosen(["cv3"], CVS)
