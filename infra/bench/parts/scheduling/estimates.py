"""How good the estimates are of jobs that come in bursts."""

import random
from statistics import mean

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.scheduling.estimated_devices import EstimatedDevices
from infra.bench.parts.scheduling.scenario import DEVICES, JOB_S, SEED, Scenario, make_jobs


def estimates(scenario: Scenario) -> None:
    """Bursts of several tenants at four fifths of what the devices can do."""
    rng, count = random.Random(SEED), scenario.count(600, 4000)
    devices = EstimatedDevices(scenario.redis, scenario.queue, DEVICES)
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
    p90 = [(job.ended_s - job.at_s) / (job.eta_p90_s or 1.0) for job in counted]
    p50 = [(job.ended_s - job.at_s) / (job.eta_s or 1.0) for job in counted]
    scenario.samples |= {"time_by_eta_p90": p90, "time_by_eta": p50}
    kept = mean(ratio <= 1 for ratio in p90)
    scenario.figures["kept_p90_share"] = kept
    scenario.figures["kept_p90_share_excess"] = max(kept - 0.9, 0.0)
    scenario.figures["kept_p50_share"] = mean(ratio <= 1 for ratio in p50)
