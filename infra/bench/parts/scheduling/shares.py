"""Shares of device time: floods, weights, hundreds of tenants, and a modest tenant beside floods.

The share error is the largest difference between a tenant's share of the device time and what is due to it
by its weight, by the latter, while all tenants have jobs that wait.
"""

import random
from collections.abc import Mapping, Sequence
from statistics import median

from infra.bench.harness.samples import percentile
from infra.bench.parts.scheduling.scenario import (
    DEVICES,
    JOB_S,
    SEED,
    Scenario,
    backlogged_s,
    by_time,
    make_jobs,
)
from infra.bench.parts.scheduling.simulated_devices import SimulatedDevices
from shared import keys

MANY_TENANTS = 200
WEIGHTS = {"light": 1.0, "heavy": 3.0}


def flood(scenario: Scenario) -> None:
    """One tenant submits thousands of jobs at once; another one comes a minute later with as many."""
    rng, count = random.Random(SEED), scenario.count(500, 3000)
    devices, until_s = SimulatedDevices(scenario.redis, scenario.queue, DEVICES), backlogged_s(count)
    first, second = make_jobs(rng, "first", [0.0] * count), make_jobs(rng, "second", [60.0] * count)
    devices.run(by_time(first, second), until_s)
    used = devices.used_s(60.0 + 4 * JOB_S, until_s)
    scenario.figures["share_error_flood"] = share_error(used, {"first": 1.0, "second": 1.0})


def weights(scenario: Scenario) -> None:
    """Two floods, one of which weighs three times as much."""
    rng, count = random.Random(SEED), scenario.count(1500, 4000)
    devices = SimulatedDevices(scenario.redis, scenario.queue, DEVICES)
    for tenant, weight in WEIGHTS.items():
        scenario.redis.hset(keys.tenant(tenant), "weight", weight)  # as an admin
    until_s = backlogged_s(count)
    devices.run(by_time(*(make_jobs(rng, tenant, [0.0] * count) for tenant in WEIGHTS)), until_s)
    scenario.figures["share_error_weights_1_3"] = share_error(devices.used_s(0.0, until_s), WEIGHTS)
    moments = [until_s * (i + 1) / 50 for i in range(50)]
    scenario.samples["weights_at_s"] = moments
    for tenant in WEIGHTS:
        by_then = [devices.used_s(0.0, moment) for moment in moments]
        scenario.samples[f"weights_share_{tenant}"] = [used[tenant] / sum(used.values()) for used in by_then]


def many_tenants(scenario: Scenario) -> None:
    """Floods of very different sizes by 200 tenants, in any order."""
    rng, least = random.Random(SEED), scenario.count(20, 60)
    devices = SimulatedDevices(scenario.redis, scenario.queue, DEVICES)
    tenants = [f"t{n}" for n in range(MANY_TENANTS)]
    jobs = [job for n, one in enumerate(tenants) for job in make_jobs(rng, one, [0.0] * (least + n % 20))]
    rng.shuffle(jobs)
    until_s = MANY_TENANTS * backlogged_s(least)
    devices.run(jobs, until_s)
    used = devices.used_s(0.0, until_s)
    shares = [used.get(tenant, 0.0) for tenant in tenants]
    scenario.samples["used_s_by_200_tenants"] = shares
    scenario.figures["jain_index_200_tenants"] = jain_index(shares)
    scenario.figures["share_error_200_tenants"] = share_error(used, dict.fromkeys(tenants, 1.0))


def interactive(scenario: Scenario) -> None:
    """A tenant with a job now and then, alone, and beside floods of three others."""
    for name, floods in (("alone", 0), ("beside_floods", 3)):
        rng, count = random.Random(SEED), scenario.count(300, 1500)
        devices = SimulatedDevices(scenario.redis, scenario.queue, DEVICES)
        every_s = 2 * JOB_S
        until_s = backlogged_s(count)
        own = make_jobs(rng, "modest", [every_s * i for i in range(1, int(until_s / every_s))])
        others = [make_jobs(rng, f"flood{n}", [0.0] * count) for n in range(floods)]
        devices.run(by_time(own, *others), until_s)
        waits = [job.started_s - job.at_s for job in devices.ended if job.tenant == "modest"]
        scenario.samples[f"wait_s_{name}"] = waits
        scenario.figures[f"wait_s_p50_{name}"] = median(waits)
        scenario.figures[f"wait_s_p95_{name}"] = percentile(waits, 95)


def jain_index(values: Sequence[float]) -> float:
    """Jain, Chiu and Hawe (1984): 1 where all values are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def share_error(used: Mapping[str, float], due: Mapping[str, float]) -> float:
    """The largest relative difference between what a tenant got and what is due to it, by these weights."""
    total, total_weight = sum(used.values()), sum(due.values())
    return max(
        abs(used.get(tenant, 0.0) / total * total_weight / weight - 1) for tenant, weight in due.items()
    )
