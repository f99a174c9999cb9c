"""Percentiles, and how sure a median is."""

import pytest

from infra.bench.harness.samples import median_interval, percentile


def test_a_percentile_is_a_sample_that_was_measured() -> None:
    samples = [40.0, 10.0, 30.0, 20.0]
    assert [percentile(samples, p) for p in (0, 25, 50, 51, 99, 100)] == [10, 10, 20, 30, 40, 40]


def test_the_99th_of_a_thousand_leaves_ten_above_it() -> None:
    assert percentile(list(range(1000)), 99) == 989


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_the_more_samples_the_surer_is_their_median() -> None:
    few = median_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    many = median_interval([1.0, 2.0, 3.0, 4.0, 5.0] * 20)
    assert few[0] < many[0] <= 3.0 <= many[1] < few[1]


def test_equal_samples_have_no_doubt() -> None:
    assert median_interval([0.25] * 4) == (0.25, 0.25)
