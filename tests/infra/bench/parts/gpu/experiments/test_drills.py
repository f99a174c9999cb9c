"""Experiments that need a fleet for minutes, over one that answers at once."""

from pathlib import Path

import pytest

from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.drills import lose_device
from infra.bench.parts.gpu.experiments.lora import measure_cold
from infra.bench.parts.gpu.experiments.trace import replay_ours
from infra.bench.workloads.trace_jobs import TraceJob
from tests.infra.bench.parts.gpu.experiments.instant_fleet import STEP_S, instant_fleet


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(quick=True, folder=tmp_path, device="cpu")


def test_the_drill_for_a_lost_device_tells_who_took_the_job(context: Context, tmp_path: Path) -> None:
    fleet = instant_fleet(context, tmp_path)
    lose_device(context, fleet, "eager", fleet.generate("eager", 1))
    assert context.failures == []
    figures = context.figures
    assert (figures["drill_lost_device"], figures["drill_lost_device_other_took_it"]) == (1.0, 1.0)


def test_cold_loras_are_held_against_jobs_without_one(context: Context, tmp_path: Path) -> None:
    instant_fleet(context, tmp_path)
    measure_cold(context)
    steps = context.size.steps
    assert context.figures["tax_0c1l_cold"] == pytest.approx(STEP_S / (STEP_S * steps + 0.2))
    assert context.figures["lora_blocked_ms"] == pytest.approx(1e3 * STEP_S)
    assert context.figures["lora_cold_step"] == 2.0


def test_a_trace_counts_from_each_jobs_arrival_to_its_stored_image(context: Context, tmp_path: Path) -> None:
    fleet = instant_fleet(context, tmp_path)
    stream = [TraceJob(at_s, "an apple", seed, [("edge", 1.0)], []) for seed, at_s in enumerate((0.0, 0.1))]
    latencies, took_s = replay_ours(fleet, stream, 2)
    # Each job takes two steps and the VAE from when it was submitted
    assert all(latency >= 2 * STEP_S + 0.2 for latency in latencies)
    assert took_s >= 0.1 + latencies[1]
