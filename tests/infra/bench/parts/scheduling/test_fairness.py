from collections.abc import Iterator

import pytest
from redis import Redis

from infra.bench.harness.report import judge
from infra.bench.parts.scheduling.fairness import (
    BOUNDS,
    SCENARIOS,
    jain_index,
    running_redis,
    share_error,
)
from shared.scheduling.fair_queue import FairQueue

#: The others measure this machine, too.
SIMULATED = [name for name in SCENARIOS if name != "release cost"]


@pytest.fixture(scope="module")
def own_redis() -> Iterator[tuple[Redis, FairQueue]]:
    with running_redis() as found:
        yield found


@pytest.mark.parametrize("name", SIMULATED)
def test_tenants_get_what_is_due_to_them(name: str, own_redis: tuple[Redis, FairQueue]) -> None:
    figures: dict[str, float] = {}
    SCENARIOS[name](*own_redis, True, figures, {})
    print(figures)
    bounds = {figure: bound for figure, bound in BOUNDS.items() if figure in figures}
    assert all(target.met for target in judge(figures, bounds).values()), figures


def test_jains_index_is_one_only_where_all_have_as_much() -> None:
    assert jain_index([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain_index([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_the_share_error_is_that_of_the_worst_tenant_by_what_is_due_to_it() -> None:
    assert share_error({"a": 25.0, "b": 75.0}, {"a": 1.0, "b": 3.0}) == pytest.approx(0)
    assert share_error({"a": 50.0, "b": 50.0}, {"a": 1.0, "b": 3.0}) == pytest.approx(1)
    assert share_error({"a": 100.0}, {"a": 1.0, "b": 1.0}) == pytest.approx(1)
