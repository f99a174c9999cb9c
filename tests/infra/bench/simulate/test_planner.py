import pytest

from infra.bench.simulate.config import FleetConfig, Policy, Traffic
from infra.bench.simulate.planner import find_fewest, make_plan
from tests.infra.bench.simulate.simulated_fleets import MEASURED


@pytest.mark.parametrize("fewest", [2, 3, 7, 64, 99, 100])
@pytest.mark.parametrize("guess", [0, 5, 60, 1000])
def test_the_fewest_that_are_enough_are_found_in_few_tries(fewest: int, guess: int) -> None:
    tried: list[int] = []

    def is_enough(count: int) -> bool:
        tried.append(count)
        return count >= fewest

    assert find_fewest(is_enough, guess, 100) == fewest
    assert all(2 <= count <= 100 for count in tried)
    assert len(set(tried)) <= 15


def test_nothing_is_found_where_nothing_is_enough() -> None:
    assert find_fewest(lambda count: False, 10, 100) is None


@pytest.mark.parametrize("policy", ["elastic", "fixed", "plain"])
def test_a_plan_is_enough_and_one_device_less_is_not(policy: Policy) -> None:
    config = FleetConfig(policy=policy, devices=2, controlnet_devices=int(policy == "fixed"))
    traffic = Traffic(rate_per_s=0.5, duration_s=240.0, warm_up_s=40.0)
    plan = make_plan(MEASURED, config, traffic, p99_s=25.0, most=30)
    assert plan.best is not None
    assert plan.best.outcome.percentile_s(99) <= 25.0
    of_this_kind = [tried for tried in plan.tried if not tried.is_enough]
    assert any(tried.config.devices == plan.best.config.devices - 1 for tried in of_this_kind)


def test_a_p99_that_no_fleet_can_reach_has_no_plan() -> None:
    traffic = Traffic(rate_per_s=0.2, duration_s=100.0, warm_up_s=10.0)
    assert make_plan(MEASURED, FleetConfig(devices=2), traffic, p99_s=0.5, most=8).best is None
