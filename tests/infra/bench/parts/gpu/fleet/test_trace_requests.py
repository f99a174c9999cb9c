"""What a trace of the GPU's work says: how busy it was, and where it waited."""

import pytest

from infra.bench.parts.gpu.fleet.trace_requests import busy_share, gaps_ms, merge

MS = 1_000_000
KERNELS = [(0, 2 * MS), (1 * MS, 3 * MS), (5 * MS, 6 * MS), (9 * MS, 12 * MS)]


def test_kernels_that_overlap_are_busy_once() -> None:
    assert merge(KERNELS) == [(0, 3 * MS), (5 * MS, 6 * MS), (9 * MS, 12 * MS)]


def test_the_busy_share_counts_only_what_is_within_the_window() -> None:
    assert busy_share(KERNELS, 0, 10 * MS) == pytest.approx(0.5)
    assert busy_share([], 0, 10 * MS) == 0


def test_gaps_are_before_between_and_after_kernels() -> None:
    assert gaps_ms(KERNELS, 0, 10 * MS) == [2.0, 3.0]
    assert gaps_ms(KERNELS, 4 * MS, 8 * MS) == [1.0, 2.0]
    assert gaps_ms([], 0, 4 * MS) == [4.0]
