"""What the scripts of the scheduler cost with 10,000 held jobs of 200 tenants."""

import time
from typing import TYPE_CHECKING, Any

from infra.bench.parts.scheduling.scenario import Scenario
from infra.bench.parts.scheduling.simulated_devices import MODEL, SimulatedDevices, SimulatedJob
from shared.scheduling.fair_queue import FairQueue

if TYPE_CHECKING:
    from redis import Redis

TENANTS, HELD = 200, 10_000


def release_cost(scenario: Scenario) -> None:
    """What one take and its release cost with few jobs held, and with 10,000 of 200 tenants."""
    redis, queue, figures = scenario.redis, scenario.queue, scenario.figures
    devices = SimulatedDevices(redis, queue, 1)
    devices.free = 0  # nothing is taken by itself
    for n in range(6):
        devices.submit(SimulatedJob(f"t{n % 2}", 0.0, 1.0, 1.0))
    few = _commands_of_release(redis, queue)
    begin = time.perf_counter()
    for n in range(HELD):
        devices.submit(SimulatedJob(f"t{n % TENANTS}", 0.0, 1.0, 1.0))
    figures["script_submissions_per_s_10000_held"] = HELD / (time.perf_counter() - begin)
    many = _commands_of_release(redis, queue)
    figures["commands_of_a_release_10000_held"] = many
    figures["commands_of_a_release_10000_held_by_few"] = many / few
    begin, count = time.perf_counter(), 1000
    for _ in range(count):
        redis.rpop(f"unet.{MODEL}")
        queue.release([MODEL])
    figures["releases_per_s_10000_held"] = count / (time.perf_counter() - begin)


def _commands_of_release(redis: "Redis", queue: FairQueue) -> int:
    before = _count_commands(redis)
    redis.rpop(f"unet.{MODEL}")
    queue.release([MODEL])
    return _count_commands(redis) - before


def _count_commands(redis: "Redis") -> int:
    stats: Any = redis.info("commandstats")
    return sum(one["calls"] for one in stats.values())
