import random
import time
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from shared import keys
from shared.jobs.record import JobEstimate, JobScheduling
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.scheduling.measured_times import KEPT, JobTimes, MeasuredTimes, Quantiles, quantiles_of
from shared.settings import Settings
from tests.api.services import receipt_of
from tests.shared.jobs.records import spec


@pytest.fixture
def measured(control: Redis) -> MeasuredTimes:
    control.flushall()
    return MeasuredTimes(control, lambda model: None)


def device_s(measured: MeasuredTimes, job: JobSpec, **more: Any) -> Quantiles:
    return measured.read(job).device_s(job, **more)


def test_a_job_is_estimated_by_jobs_of_its_shape(measured: MeasuredTimes) -> None:
    small, large = spec(width=64, height=64), spec(width=128, height=128)
    for _ in range(10):
        measured.record(small, JobTimes(step_s=0.1, rest_s=0.3))
        measured.record(large, JobTimes(step_s=0.5, rest_s=0.4))
    assert device_s(measured, small).p50 == pytest.approx(4 * 0.1 + 0.3)
    assert device_s(measured, large.model_copy(update={"num_inference_steps": 8})).p50 == pytest.approx(4.4)


def test_a_shape_that_nobody_has_run_is_estimated_by_its_pixels(measured: MeasuredTimes) -> None:
    measured.record(spec(width=64, height=64), JobTimes(step_s=0.1, rest_s=0.3))
    assert device_s(measured, spec(width=128, height=128)).p50 == pytest.approx(4 * 0.4 + 0.3)


def test_loads_and_patches_count_where_there_will_be_some(measured: MeasuredTimes) -> None:
    measured.record(spec(), JobTimes(step_s=0.1, rest_s=0.3, patch_s=0.25, load_s=20.0))
    lora = {"name": "x", "etag": "y", "size_bytes": 1}
    alone = device_s(measured, spec()).p50
    assert device_s(measured, spec(loras=[lora, lora])).p50 - alone == pytest.approx(0.5)
    assert device_s(measured, spec(), is_loaded=False).p50 - alone == pytest.approx(20)


def test_only_the_latest_times_count(measured: MeasuredTimes, control: Redis) -> None:
    for step_s in [9.0] * KEPT + [0.1] * KEPT:
        measured.record(spec(), JobTimes(step_s=step_s, rest_s=0.0))
    assert device_s(measured, spec()) == pytest.approx((0.4, 0.4))
    assert control.llen(keys.measured("m", "pixel_step")) == KEPT


def test_without_measurements_a_larger_job_still_costs_more(measured: MeasuredTimes) -> None:
    small, large = (device_s(measured, spec(width=px, height=px)).p50 for px in (64, 2048))
    assert 0 < small < large


def test_what_is_no_time_is_not_counted(measured: MeasuredTimes, control: Redis) -> None:
    control.rpush(keys.measured("m", "pixel_step"), "garbage", "nan", "inf")
    measured.record(spec(), JobTimes(step_s=0.1, rest_s=0.0))
    assert device_s(measured, spec()).p50 == pytest.approx(0.4)


@pytest.mark.parametrize("count", range(1, 10))
def test_estimates_are_corrected_once_nine_ratios_are_known(
    count: int, measured: MeasuredTimes, control: Redis
) -> None:
    ratios = [float(n) for n in range(1, count + 1)]
    control.rpush(keys.measured("m", f"{keys.ETA_RATIO}idle"), *ratios)
    found = measured.read(spec()).ratios["idle"]
    assert found == (None if count < 9 else (5.0, 9.0))


def test_one_job_in_ten_is_late_whatever_the_load_becomes(
    measured: MeasuredTimes, control: Redis, servers: Settings
) -> None:
    jobs, noise, late = JobStore(control, servers), random.Random(3), []
    # Given jobs that take ever less of what was estimated, each told by those before it
    for done in range(400):
        ratio = measured.read(spec()).ratios["queued"] or Quantiles(1.0, 2.0)
        took_s = 100 * noise.uniform(0.5, 1.5) * (1 - done / 500)
        succeed(jobs, took_s, 100 * ratio.p90)
        late.append(took_s > 100 * ratio.p90)
    # Then nine of ten of them are in time, and not all
    assert 0.05 < fmean(late) < 0.15


def succeed(jobs: JobStore, took_s: float, p90_s: float) -> None:
    """A job that was estimated to take 100 s has succeeded after ``took_s``."""
    told = JobEstimate(device_seconds=1, queue_position=1, eta_s=100, eta_p90_s=p90_s)
    scheduling = JobScheduling(eta_s=100, eta_kind="queued", estimate=told)
    job_id, _ = jobs.create(spec(), tenant=keys.LOCAL, scheduling=scheduling)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    jobs.redis.hset(keys.job(job_id), "created_at", time.time() - took_s)
    attempt.succeed([], receipt_of(spec()), [])


@given(st.lists(st.floats(0, 100), min_size=10, max_size=200))
def test_quantiles_are_values_that_enough_do_not_exceed(values: list[float]) -> None:
    found = quantiles_of(values)
    assert found is not None
    assert sum(value <= found.p50 for value in values) >= 0.5 * len(values)
    assert sum(value <= found.p90 for value in values) >= 0.9 * len(values)
    assert found.p50 <= found.p90
