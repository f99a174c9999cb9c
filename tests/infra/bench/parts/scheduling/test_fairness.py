from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from infra.bench.harness.report import judge
from infra.bench.parts.scheduling.fairness import BOUNDS, SCENARIOS
from infra.bench.parts.scheduling.held_submissions import hold
from infra.bench.parts.scheduling.release_cost import TENANTS
from infra.bench.parts.scheduling.scenario import Scenario, running_scenario
from infra.bench.parts.scheduling.shares import jain_index, share_error
from shared import keys
from shared.settings import Settings
from tests.workers.unet.specs import spec

#: The others measure this machine, too.
SIMULATED = [name for name in SCENARIOS if name != "release cost"]


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Scenario]:
    with running_scenario(is_quick=True) as found:
        yield found


@pytest.mark.parametrize("name", SIMULATED)
def test_tenants_get_what_is_due_to_them(name: str, own_redis: Scenario) -> None:
    scenario = replace(own_redis, figures={}, samples={})
    SCENARIOS[name](scenario)
    print(scenario.figures)
    bounds = {figure: bound for figure, bound in BOUNDS.items() if figure in scenario.figures}
    assert all(target.met for target in judge(scenario.figures, bounds).values()), scenario.figures


def test_submissions_are_measured_beside_jobs_of_many_tenants(control: Redis, servers: Settings) -> None:
    control.flushall()
    hold(control, servers, spec(), TENANTS + 1)
    held = [control.zcard(keys.held("emoji-sd", f"t{n}")) for n in range(TENANTS)]
    assert sum(held) == TENANTS  # one was released
    assert control.zcard(keys.held_tenants("emoji-sd")) == TENANTS


def test_jains_index_is_one_only_where_all_have_as_much() -> None:
    assert jain_index([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain_index([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_the_share_error_is_that_of_the_worst_tenant_by_what_is_due_to_it() -> None:
    assert share_error({"a": 25.0, "b": 75.0}, {"a": 1.0, "b": 3.0}) == pytest.approx(0)
    assert share_error({"a": 50.0, "b": 50.0}, {"a": 1.0, "b": 3.0}) == pytest.approx(1)
    assert share_error({"a": 100.0}, {"a": 1.0, "b": 1.0}) == pytest.approx(1)
