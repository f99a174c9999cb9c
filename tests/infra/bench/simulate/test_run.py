"""The simulation against closed forms, and what holds for every fleet."""

from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from infra.bench.simulate.config import FleetConfig, Policy, Traffic
from infra.bench.simulate.outcome import Outcome
from infra.bench.simulate.run import simulate
from infra.bench.simulate.traffic import SimulatedJob, make_traffic
from tests.infra.bench.simulate.simulated_fleets import IDEAL, MEASURED, one_after_another, run

FLEETS: dict[Policy, dict[str, Any]] = {
    "elastic": {"devices": 4},
    "fixed": {"devices": 4, "controlnet_devices": 1},
    "plain": {"devices": 4},
}
POLICIES = list(FLEETS)


def simulated(policy: Policy, rate_per_s: float = 0.4, **traffic: Any) -> Outcome:
    config = FleetConfig(policy=policy, **FLEETS[policy])
    times = {"duration_s": 400.0, "warm_up_s": 50.0}
    return simulate(MEASURED, config, Traffic(rate_per_s=rate_per_s, **{**times, **traffic}))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_device_is_an_m_d_1_queue(load: float) -> None:
    service_s = IDEAL.alone_s(50, 0, 0)
    outcome = run(one_after_another(load / service_s, 20_000), policy="plain")
    waited_s = fmean(outcome.latencies_s) - service_s
    assert waited_s == pytest.approx(load * service_s / (2 * (1 - load)), rel=0.06)  # Pollaczek-Khinchine


@pytest.mark.parametrize("policy", ["elastic", "plain"])
@pytest.mark.parametrize("controlnets", [(), (3,), (0, 5)])
def test_a_job_on_one_device_takes_as_long_as_alone_in_diffusers(
    policy: Policy, controlnets: tuple[int, ...]
) -> None:
    outcome = run([SimulatedJob(at_s=2.0, model=1, controlnets=controlnets)], policy=policy)
    assert outcome.latencies_s == pytest.approx([IDEAL.alone_s(50, len(controlnets), 0)])


@pytest.mark.parametrize("config", [{"policy": "elastic"}, {"policy": "fixed", "controlnet_devices": 1}])
def test_on_two_devices_a_controlnet_runs_beside_the_encoder(config: dict[str, Any]) -> None:
    job = SimulatedJob(at_s=0.0, model=0, controlnets=(2,))
    outcome = run([job], devices=2, split=False, **config)
    encoder_s = IDEAL.encoder_share * IDEAL.unet_s
    step_s = max(encoder_s, IDEAL.controlnet_s) + IDEAL.unet_s - encoder_s
    assert outcome.latencies_s == pytest.approx([IDEAL.text_s + 50 * step_s + IDEAL.vae_s])
    assert outcome.steps_by_others == 1


def test_two_idle_devices_compute_a_branch_each_once_the_second_has_prepared() -> None:
    outcome = run([SimulatedJob(at_s=0.0, model=0)], devices=2)
    alone_s, split_s = IDEAL.unet_s, IDEAL.one_branch_share * IDEAL.unet_s
    [latency_s] = outcome.latencies_s
    # The first step is alone: its follower encodes the prompt meanwhile.
    assert latency_s == pytest.approx(IDEAL.text_s + alone_s + 49 * split_s + IDEAL.vae_s)
    assert outcome.activities["follow"] > 0.4


def test_a_lora_that_is_late_is_waited_for_before_its_deadline_step() -> None:
    measured = replace(IDEAL, lora_bytes=(1e9, 1e9), lora_parse_bytes_per_s=1e12, lora_prepare_s=0.0)
    outcome = run([SimulatedJob(at_s=0.0, model=0, loras=(7,))], measured, s3_bytes_per_s=1e8)
    fetch_s, after_s = 10.0 + 1e9 / 1e12, 40 * IDEAL.unet_s + IDEAL.vae_s
    assert outcome.latencies_s == pytest.approx([fetch_s + IDEAL.lora_patch_s + after_s])
    assert outcome.loras_found["s3"] == 1


def test_a_lora_is_found_in_the_weights_by_the_next_job_of_the_same_kind() -> None:
    jobs = [SimulatedJob(at_s=at_s, model=0, loras=(7,)) for at_s in (0.0, 100.0)]
    cold_s, warm_s = run(jobs, replace(IDEAL, lora_parse_bytes_per_s=1e9)).latencies_s
    assert cold_s == pytest.approx(warm_s + IDEAL.lora_patch_s)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rate_per_s", [0.3, 3.0])
def test_no_job_is_lost_and_every_second_of_a_device_counts_once(policy: Policy, rate_per_s: float) -> None:
    jobs = list(make_traffic(Traffic(rate_per_s=rate_per_s, duration_s=100.0, warm_up_s=0.0)))
    outcome = run(jobs, MEASURED, policy=policy, **FLEETS[policy])
    assert outcome.finished == outcome.submitted == len(jobs)
    assert sum(outcome.activities.values()) == pytest.approx(1.0)
    assert all(latency_s > 0 for latency_s in outcome.latencies_s)
    assert all(job.at_s <= job.started_s < job.ended_s for job in jobs)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_outcome_and_another_one_another(policy: Policy) -> None:
    first, again, other = (simulated(policy, duration_s=200.0, seed=seed) for seed in (1, 1, 2))
    assert first.latencies_s == again.latencies_s
    assert first.events == again.events
    assert first.latencies_s != other.latencies_s


def test_a_large_fleet_is_simulated_the_same_every_time() -> None:
    config = FleetConfig(devices=100)
    traffic = Traffic(rate_per_s=12.0, duration_s=30.0, warm_up_s=5.0)
    first, again = (simulate(MEASURED, config, traffic, 10) for _ in range(2))
    assert first.latencies_s == again.latencies_s
    assert first.events == again.events


def test_jobs_that_have_not_ended_count_as_late() -> None:
    outcome = simulated("plain", rate_per_s=20.0)
    assert outcome.finished < outcome.submitted
    assert outcome.attainment(1e9) == pytest.approx(outcome.finished / outcome.submitted)
    assert outcome.percentile_s(99) == float("inf")


def test_elastic_devices_are_ahead_of_both_others_at_saturation() -> None:
    elastic, fixed, plain = (simulated(policy, rate_per_s=2.0).images_per_s for policy in POLICIES)
    assert elastic > 1.3 * plain
    assert elastic > fixed


def test_elastic_devices_that_are_idle_are_as_fast_as_fixed_roles() -> None:
    elastic, fixed = (simulated(policy, rate_per_s=0.05).percentile_s(50) for policy in ("elastic", "fixed"))
    assert elastic <= 1.02 * fixed


def test_at_saturation_nothing_is_sent_and_without_load_nearly_everything() -> None:
    assert simulated("elastic", rate_per_s=4.0).steps_by_others < 0.05
    jobs = list(make_traffic(Traffic(rate_per_s=0.05, duration_s=400.0, warm_up_s=0.0)))
    assert run(jobs, MEASURED, devices=8).steps_by_others > 0.9
    assert simulated("fixed").steps_by_others == 1


@pytest.mark.parametrize("rate_per_s", [0.4, 0.7])
def test_five_steps_at_a_time_give_nearly_the_same_figures(rate_per_s: float) -> None:
    config = FleetConfig(policy="elastic", devices=8)
    traffic = Traffic(rate_per_s=2 * rate_per_s, duration_s=600.0, warm_up_s=100.0)
    fine, coarse = (simulate(MEASURED, config, traffic, coarseness) for coarseness in (1, 5))
    assert coarse.percentile_s(50) == pytest.approx(fine.percentile_s(50), rel=0.05)
    assert coarse.images_per_s == pytest.approx(fine.images_per_s, rel=0.02)


def test_memory_for_fewer_models_than_there_are_costs_loads() -> None:
    jobs = list(make_traffic(Traffic(rate_per_s=0.2, duration_s=400.0, warm_up_s=0.0)))
    ample, scarce = (
        run([replace(job) for job in jobs], MEASURED, devices=2, memory_bytes=gb * 1e9) for gb in (72, 20)
    )
    assert scarce.loads > ample.loads
    assert scarce.percentile_s(50) > ample.percentile_s(50)


def test_a_memory_that_holds_no_job_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a base model and 3 ControlNets take 16\.6 GB"):
        run([], memory_bytes=16e9)


def test_workers_that_take_jobs_of_loaded_models_first_load_less() -> None:
    jobs = list(make_traffic(Traffic(rate_per_s=0.4, duration_s=600.0, warm_up_s=0.0)))
    in_turn, loaded_first = (
        run([replace(job) for job in jobs], MEASURED, devices=2, memory_bytes=20e9, loaded_first=is_on)
        for is_on in (False, True)
    )
    assert loaded_first.loads < in_turn.loads / 2
    assert loaded_first.images_per_s > in_turn.images_per_s


def test_an_idle_device_loads_a_model_for_a_job_after_three_loads_but_not_before() -> None:
    # Given two devices with memory for one base model each, the second of which is idle
    load_s = IDEAL.model_bytes / IDEAL.model_load_bytes_per_s
    for steps, is_left in ((50, True), (2000, False)):
        first = SimulatedJob(at_s=0.0, model=0, steps=steps)
        second = SimulatedJob(at_s=1.0, model=0)
        other = SimulatedJob(at_s=0.0, model=1, steps=1)
        jobs = [first, other, second]
        run(jobs, devices=2, memory_bytes=17e9, split=False)
        waited_s = second.started_s - second.at_s
        assert waited_s == pytest.approx(first.ended_s - 1.0 if is_left else 3 * load_s)
