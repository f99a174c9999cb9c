"""Part ``fairness``: shares of device time, waits beside floods, estimates, and what a release costs.

Jobs are scheduled by the real scripts in a real Redis, on devices that compute in simulated time; the last
figures are of this machine's own time. The share error is the largest difference between a tenant's
share of the device time and what is due to it by its weight, by the latter, while all tenants have jobs
that wait.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from infra.bench.harness.ports import free_ports
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.parts.scheduling.estimated_devices import EstimatedDevices
from infra.bench.parts.scheduling.simulated_devices import (
    MODEL,
    SimulatedDevices,
    SimulatedJob,
    lognormal_s,
)
from infra.local.servers import redis_command, running_process, wait_for_redis
from shared import keys
from shared.redis_clients import control_redis
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

DEVICES = 8
#: Jobs of very different lengths, and estimates that err by a quarter.
JOB_S, JOB_SIGMA, ESTIMATE_SIGMA = 5.0, 0.8, 0.25
MANY_TENANTS, HELD = 200, 10_000
WEIGHTS = {"light": 1.0, "heavy": 3.0}
READY_S = 20.0
BOUNDS = {
    "jain_index_200_tenants": Bound("at_least", 0.98),
    "share_error_weights_1_3": Bound("at_most", 0.05),
    "share_error_flood": Bound("at_most", 0.05),
    "wait_s_p50_beside_floods": Bound("at_most", 2 * JOB_S),
    "kept_p90_share": Bound("at_least", 0.85),
    "kept_p90_share_excess": Bound("at_most", 0.05),
    "commands_of_a_release_10000_held_by_few": Bound("at_most", 1.0),
    "submissions_per_s_10000_held": Bound("at_least", 150),
}
SEED = 13


def measure(quick: bool) -> Measured:
    """Run the scenarios one after the other."""
    with running_redis() as (redis, queue):
        figures: dict[str, float] = {}
        samples: dict[str, list[float]] = {}
        for name, scenario in SCENARIOS.items():
            print(f"  {name}", flush=True)
            scenario(redis, queue, quick, figures, samples)
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Device time of two tenants by weight, over time; and how long jobs took, by their estimates."""
    minutes = [second / 60 for second in result.samples["weights_at_s"]]
    for tenant, weight in WEIGHTS.items():
        left.plot(minutes, result.samples[f"weights_share_{tenant}"], label=f"{tenant}, weight {weight:g}")
        left.axhline(weight / sum(WEIGHTS.values()), linestyle=":", color="gray")
    left.set(xlabel="minutes", ylabel="share of device time", ylim=(0, 1), title="two floods")
    left.legend()
    ratios = sorted(result.samples["time_by_eta_p90"])
    right.plot(ratios, [(i + 1) / len(ratios) for i in range(len(ratios))])
    right.axvline(1, linestyle=":", color="gray")
    right.axhline(0.9, linestyle=":", color="gray")
    right.set(xlabel="time until done / eta_p90_s", ylabel="share of jobs", xlim=(0, 3), title="estimates")


@contextmanager
def running_redis() -> Iterator[tuple["Redis", FairQueue]]:
    """A control Redis of its own, with what is on it."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), redis_url=f"redis://127.0.0.1:{port}/0", redis_port=port)
        command = redis_command(port, Path(home), persistent=True)
        with running_process(command, cwd=Path(home), env={}, log=Path(home) / "redis.log"):
            wait_for_redis(settings.redis_url, READY_S)
            redis = control_redis(settings)
            yield redis, FairQueue(redis, settings)


def jain_index(values: Sequence[float]) -> float:
    """Jain, Chiu and Hawe (1984): 1 where all values are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def share_error(used: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The largest relative difference between what a tenant got and what is due to it."""
    total, total_weight = sum(used.values()), sum(weights.values())
    return max(
        abs(used.get(tenant, 0.0) / total * total_weight / weight - 1) for tenant, weight in weights.items()
    )


def make_jobs(rng: random.Random, tenant: str, at_s: Sequence[float], **more: Any) -> list[SimulatedJob]:
    """Jobs that are submitted at these moments."""
    jobs = []
    for moment in at_s:
        device_s = lognormal_s(rng, JOB_S, JOB_SIGMA)
        estimated_s = lognormal_s(rng, device_s, ESTIMATE_SIGMA)
        jobs.append(SimulatedJob(tenant, moment, device_s, estimated_s, **more))
    return jobs


def backlogged_s(count: int) -> float:
    """While a tenant of so many jobs has some that wait, also if it were given all devices."""
    return 0.8 * count * JOB_S / DEVICES


def set_weight(redis: "Redis", tenant: str, weight: float) -> None:
    """As an admin."""
    redis.hset(keys.tenant(tenant), "weight", weight)


def _by_time(*jobs: Sequence[SimulatedJob]) -> list[SimulatedJob]:
    return sorted((job for some in jobs for job in some), key=lambda job: job.at_s)


def _flood(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """One tenant submits thousands of jobs at once; another one comes a minute later with as many."""
    rng, count = random.Random(SEED), 500 if quick else 3000
    devices, until_s = SimulatedDevices(redis, queue, DEVICES), backlogged_s(count)
    first, second = make_jobs(rng, "first", [0.0] * count), make_jobs(rng, "second", [60.0] * count)
    devices.run(_by_time(first, second), until_s)
    used = devices.used_s(60.0 + 4 * JOB_S, until_s)
    figures["share_error_flood"] = share_error(used, {"first": 1.0, "second": 1.0})


def _weights(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """Two floods, one of which weighs three times as much."""
    rng, count = random.Random(SEED), 1500 if quick else 4000
    devices = SimulatedDevices(redis, queue, DEVICES)
    for tenant, weight in WEIGHTS.items():
        set_weight(redis, tenant, weight)
    until_s = backlogged_s(count)
    devices.run(_by_time(*(make_jobs(rng, tenant, [0.0] * count) for tenant in WEIGHTS)), until_s)
    figures["share_error_weights_1_3"] = share_error(devices.used_s(0.0, until_s), WEIGHTS)
    moments = [until_s * (i + 1) / 50 for i in range(50)]
    samples["weights_at_s"] = moments
    for tenant in WEIGHTS:
        by_then = [devices.used_s(0.0, moment) for moment in moments]
        samples[f"weights_share_{tenant}"] = [used[tenant] / sum(used.values()) for used in by_then]


def _many_tenants(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """Floods of very different sizes by 200 tenants, in any order."""
    rng, least = random.Random(SEED), 20 if quick else 60
    devices = SimulatedDevices(redis, queue, DEVICES)
    tenants = [f"t{n}" for n in range(MANY_TENANTS)]
    jobs = [job for n, one in enumerate(tenants) for job in make_jobs(rng, one, [0.0] * (least + n % 20))]
    rng.shuffle(jobs)
    until_s = MANY_TENANTS * backlogged_s(least)
    devices.run(jobs, until_s)
    used = devices.used_s(0.0, until_s)
    samples["used_s_by_200_tenants"] = [used.get(tenant, 0.0) for tenant in tenants]
    figures["jain_index_200_tenants"] = jain_index(samples["used_s_by_200_tenants"])
    figures["share_error_200_tenants"] = share_error(used, dict.fromkeys(tenants, 1.0))


def _interactive(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """A tenant with a job now and then, alone, and beside floods of three others."""
    for name, floods in (("alone", 0), ("beside_floods", 3)):
        rng, count = random.Random(SEED), 300 if quick else 1500
        devices = SimulatedDevices(redis, queue, DEVICES)
        every_s = 2 * JOB_S
        until_s = backlogged_s(count)
        own = make_jobs(rng, "modest", [every_s * i for i in range(1, int(until_s / every_s))])
        others = [make_jobs(rng, f"flood{n}", [0.0] * count) for n in range(floods)]
        devices.run(_by_time(own, *others), until_s)
        waits = [job.started_s - job.at_s for job in devices.ended if job.tenant == "modest"]
        samples[f"wait_s_{name}"] = waits
        figures[f"wait_s_p50_{name}"] = median(waits)
        figures[f"wait_s_p95_{name}"] = percentile(waits, 95)


def _estimates(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """Bursts of several tenants at four fifths of what the devices can do: how good the estimates are."""
    rng, count = random.Random(SEED), 600 if quick else 4000
    devices = EstimatedDevices(redis, queue, DEVICES)
    gap_s = JOB_S / DEVICES / 0.8
    moments, moment = [], 0.0
    for _ in range(count):
        moment += rng.gammavariate(0.25, gap_s / 0.25)  # gaps with a coefficient of variation of 2
        moments.append(moment)
    jobs = [job for at_s in moments for job in make_jobs(rng, f"t{rng.randrange(5)}", [at_s])]
    devices.run(jobs, until_s=float("inf"))
    if len(devices.ended) < count:
        raise CheckFailed(f"{count - len(devices.ended)} jobs have not ended")
    counted = [
        job for job in jobs[count // 5 :] if job.eta_s and job.eta_p90_s
    ]  # once there is something known
    samples["time_by_eta_p90"] = [(job.ended_s - job.at_s) / (job.eta_p90_s or 1.0) for job in counted]
    samples["time_by_eta"] = [(job.ended_s - job.at_s) / (job.eta_s or 1.0) for job in counted]
    kept = mean(ratio <= 1 for ratio in samples["time_by_eta_p90"])
    figures["kept_p90_share"] = kept
    figures["kept_p90_share_excess"] = max(kept - 0.9, 0.0)
    figures["kept_p50_share"] = mean(ratio <= 1 for ratio in samples["time_by_eta"])


def _release_cost(
    redis: "Redis",
    queue: FairQueue,
    quick: bool,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    """What one take and its release cost with few jobs held, and with 10,000 of 200 tenants."""
    devices = SimulatedDevices(redis, queue, 1)
    devices.free = 0  # nothing is taken by itself
    for n in range(6):
        devices.submit(SimulatedJob(f"t{n % 2}", 0.0, 1.0, 1.0))
    few = _commands_of_release(redis, queue)
    begin = time.perf_counter()
    for n in range(HELD):
        devices.submit(SimulatedJob(f"t{n % MANY_TENANTS}", 0.0, 1.0, 1.0))
    figures["submissions_per_s_10000_held"] = HELD / (time.perf_counter() - begin)
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


#: What is measured, in this order.
SCENARIOS = {
    "flood": _flood,
    "weights": _weights,
    "many tenants": _many_tenants,
    "interactive": _interactive,
    "estimates": _estimates,
    "release cost": _release_cost,
}
