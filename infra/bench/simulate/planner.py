"""How many devices of each kind a fleet needs for a given traffic and a given p99 of latency."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from infra.bench.simulate.config import FleetConfig, Traffic
from infra.bench.simulate.measurements import Measurements
from infra.bench.simulate.outcome import Outcome
from infra.bench.simulate.run import simulate

#: With policy `fixed`, shares of the devices that serve ControlNets alone: the planner takes the best.
CONTROLNET_SHARES = (0.2, 0.3, 0.4)


class Tried(NamedTuple):
    """A fleet that was simulated, and whether it is good enough."""

    config: FleetConfig
    outcome: Outcome
    is_enough: bool


class Plan(NamedTuple):
    """The smallest fleet that is good enough, if one is, and all that were tried for it."""

    best: Tried | None
    tried: list[Tried]


def make_plan(
    measured: Measurements, config: FleetConfig, traffic: Traffic, *, p99_s: float, most: int
) -> Plan:
    """The fewest devices, up to ``most``, with which 99 % of jobs end within ``p99_s``; by bisection."""
    plans = [_plan_one(measured, one, traffic, p99_s, most) for one in _mixes(config)]
    best = min(
        (plan.best for plan in plans if plan.best is not None),
        key=lambda tried: (tried.config.devices, tried.outcome.percentile_s(99)),
        default=None,
    )
    return Plan(best, [tried for plan in plans for tried in plan.tried])


def _mixes(config: FleetConfig) -> Iterator[Callable[[int], FleetConfig]]:
    """How a fleet of so many devices is made up: in one way, or by fixed roles in several."""
    for share in CONTROLNET_SHARES if config.policy == "fixed" else (0.0,):
        yield lambda devices, share=share: replace(  # type: ignore[misc]
            config, devices=devices, controlnet_devices=min(_at_least_one(share * devices), devices - 1)
        )


def _at_least_one(count: float) -> int:
    return max(round(count), 1) if count else 0


def _plan_one(
    measured: Measurements, make: Callable[[int], FleetConfig], traffic: Traffic, p99_s: float, most: int
) -> Plan:
    tried: dict[int, Tried] = {}

    def is_enough(devices: int) -> bool:
        if devices not in tried:
            config = make(devices)
            outcome = simulate(measured, config, traffic)
            tried[devices] = Tried(config, outcome, outcome.percentile_s(99) <= p99_s)
        return tried[devices].is_enough

    fewest = find_fewest(is_enough, _first_guess(measured, traffic), most)
    return Plan(None if fewest is None else tried[fewest], [tried[devices] for devices in sorted(tried)])


def find_fewest(is_enough: Callable[[int], bool], guess: int, most: int) -> int | None:
    """The smallest number from 2 to ``most`` that is enough, if more always is; ``None`` if none is.

    Doubles ``guess``, or takes half of it, until the answer lies between two numbers; then bisects.
    """
    high = min(max(guess, 2), most)
    while not is_enough(high):
        if high == most:
            return None
        high = min(2 * high, most)
    low = high
    while low > 2 and is_enough(low):
        high, low = low, max(low // 2, 2)
    if is_enough(low):
        return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _first_guess(measured: Measurements, traffic: Traffic) -> int:
    """As many as a plain job with one ControlNet keeps busy."""
    return round(traffic.rate_per_s * measured.alone_s(traffic.steps, min(traffic.controlnets, 1), 0))
