import random
from collections import Counter
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest

from infra.bench.workloads.addon_mix import LORA_COVERAGE, TraceLoras, ZipfChoice, arrivals


@pytest.mark.parametrize("cv", [1.0, 2.0, 4.0])
def test_arrivals_come_at_their_rate_with_their_coefficient_of_variation(cv: float) -> None:
    times = [0.0, *islice(arrivals(random.Random(1), 5.0, cv), 60_000)]
    gaps = [after - before for before, after in pairwise(times)]
    assert fmean(gaps) == pytest.approx(0.2, rel=0.05)
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.06)


@pytest.mark.parametrize("service", [0, 1])
def test_the_most_popular_loras_take_the_trace_s_share_of_calls(service: int) -> None:
    rng, loras = random.Random(2), TraceLoras(service)
    calls = Counter(rank for _ in range(20_000) for rank in loras.choose(rng, 1))
    for count, share in LORA_COVERAGE[service]:
        assert sum(calls[rank] for rank in range(count)) / 20_000 == pytest.approx(share, abs=0.015)


def test_one_request_asks_for_different_things_and_for_no_more_than_there_are() -> None:
    rng = random.Random(3)
    assert sorted(ZipfChoice(2).choose(rng, 3)) == [0, 1]
    assert len(set(TraceLoras(0).choose(rng, 40))) == 40
