"""Percentiles."""

import pytest

from infra.bench.harness.samples import percentile


def test_a_percentile_is_a_sample_that_was_measured() -> None:
    samples = [40.0, 10.0, 30.0, 20.0]
    assert [percentile(samples, p) for p in (0, 25, 50, 51, 99, 100)] == [10, 10, 20, 30, 40, 40]


def test_the_99th_of_a_thousand_leaves_ten_above_it() -> None:
    assert percentile(list(range(1000)), 99) == 989


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)
