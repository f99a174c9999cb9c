"""How an attempt ends when a server is away, when it loses its job, or when its clock is wrong."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError

from shared import keys
from shared.errors import (
    AttemptLost,
    DeadlinePassed,
    JobPreempted,
    ModelFailed,
    S3Unavailable,
    WorkerStopping,
)
from shared.jobs.record import JobScheduling
from shared.keys import LOCAL
from shared.storage.object_store import Bucket
from tests.infra.local.waiting import eventually
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.attempt_outcome import report_outcome
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


class Images(Bucket):
    """Calls ``before`` each time an image is stored."""

    before: Callable[[], None]

    def put(self, *args: Any, **options: Any) -> str:
        answer = super().put(*args, **options)
        self.before()
        return answer


def storing(worker: UNetWorker, before: Callable[[], None]) -> UNetWorker:
    images = Images(worker.settings, worker.settings.image_bucket)
    images.before = before
    return dataclasses.replace(worker, images=images)


def stored(worker: UNetWorker, job_id: str) -> list[str]:
    return [stat.key for stat in worker.images.list(keys.images_prefix(job_id))]


@pytest.mark.parametrize("error", [S3Unavailable("S3 does not answer"), ConnectionError("away")])
def test_a_server_that_is_away_costs_no_attempt_that_counts(
    error: Exception, make_worker: MakeWorker
) -> None:
    def fail() -> None:
        raise error

    worker = storing(make_worker(max_attempts=1), fail)
    job_id, _ = worker.jobs.create(spec(num_inference_steps=1), tenant=LOCAL)
    for losses in (1, 2):
        with pytest.raises(type(error)):
            execute_job(worker, job_id, "unet1@test")
        job = worker.jobs.get(job_id)
        assert (job.status, job.attempts, job.infrastructure_losses) == ("queued", losses, losses)


def test_a_job_that_is_deleted_while_it_runs_leaves_no_image(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job_id, _ = worker.jobs.create(spec(num_inference_steps=1), tenant=LOCAL)
    deleting = storing(worker, lambda: worker.jobs.delete(job_id))
    with pytest.raises(AttemptLost):
        _end(deleting, job_id)
    assert stored(worker, job_id) == []
    assert not worker.jobs.redis.exists(keys.job(job_id))


def _end(worker: UNetWorker, job_id: str) -> None:
    if execute_job(worker, job_id, "unet1@test") == "lost":
        raise AttemptLost("as its worker reports")


def test_spans_are_by_the_clock_of_the_jobs_other_times(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 3600)
    job = run(make_worker(), spec(num_inference_steps=1))
    assert job.finished_at is not None
    for span in job.timeline:
        assert job.created_at - 0.01 <= span.start_s <= span.end_s <= job.finished_at + 1, span.name


def test_a_worker_that_stops_hands_its_job_over_and_another_goes_on(make_worker: MakeWorker) -> None:
    # Given a worker that is told to stop while it computes the third step
    stopped, steps = make_worker(max_attempts=1), itertools.count(1)
    job_id, _ = stopped.jobs.create(spec(num_inference_steps=6), tenant=LOCAL)
    with stopped.models.use("emoji-sd") as model:
        model.latents.prepare_preview()
        hook = cast("Any", model).pipe.unet.conv_in.register_forward_pre_hook(
            lambda *_: stopped.stopping.set() if next(steps) == 3 else None
        )
        with pytest.raises(WorkerStopping):
            execute_job(stopped, job_id, "unet1@test")
        hook.remove()
    job = stopped.jobs.get(job_id)
    assert (job.status, job.attempts, job.hand_overs, job.infrastructure_losses) == ("queued", 1, 1, 0)
    # Then the next one computes what is left of it
    execute_job(make_worker(max_attempts=1), job_id, "unet2@test")
    job = stopped.jobs.get(job_id)
    assert job.status == "succeeded"
    assert job.receipt is not None
    assert job.receipt.continued_at == [3]
    # And its timeline shows the first attempt, which is no time in a queue
    first = [(span.name, span.worker) for span in job.timeline[:3]]
    assert first == [("queued", "queue"), ("attempt", "unet1@test"), ("queued", "queue")]
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(job.timeline[:3]))


def learned_by_lease(worker: UNetWorker, job_id: str) -> None:
    """Wait until the job's lease was renewed twice: the first renewal may have begun before."""
    for _ in range(2):
        before = worker.jobs.redis.hget(keys.job(job_id), "renewed_at")
        eventually(lambda seen=before: worker.jobs.redis.hget(keys.job(job_id), "renewed_at") != seen)


def let_preempt(worker: UNetWorker, job_id: str) -> None:
    """An interactive job has waited for long, and takes the device of a job, which learns of it."""
    urgent, _ = worker.jobs.create(spec(), scheduling=JobScheduling("interactive"), tenant=LOCAL)
    worker.jobs.redis.hset(keys.job(job_id), mapping={"preempted_by": urgent, "first_step_at": 1})
    learned_by_lease(worker, job_id)


def test_a_batch_job_gives_its_device_away_between_two_steps_and_goes_on_later(
    make_worker: MakeWorker,
) -> None:
    worker, steps = make_worker(max_attempts=1), itertools.count(1)
    undisturbed = run(worker, spec(num_inference_steps=6))
    job_id, _ = worker.jobs.create(
        spec(num_inference_steps=6), scheduling=JobScheduling("batch"), tenant=LOCAL
    )

    def preempt(*_: object) -> None:
        if next(steps) == 3:
            let_preempt(worker, job_id)

    # Given that an interactive job needs the device while it computes the third step
    with worker.models.use("emoji-sd") as model:
        hook = cast("Any", model).pipe.unet.conv_in.register_forward_pre_hook(preempt)
        with pytest.raises(JobPreempted):
            execute_job(worker, job_id, "unet1@test")
        hook.remove()
    job = worker.jobs.get(job_id)
    assert (job.status, job.attempts, job.hand_overs, job.infrastructure_losses) == ("queued", 1, 1, 0)
    # When it has its turn again, then it computes the rest, and its image is that of an undisturbed job
    execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert job.receipt is not None
    assert job.receipt.continued_at == [3]
    assert np.array_equal(pixels(worker, job), pixels(worker, undisturbed))


@pytest.mark.parametrize("setting", [{"checkpoint_every_s": 0}, {"checkpoint_bytes": 16}])
def test_a_job_whose_state_cannot_be_stored_keeps_its_device(
    setting: dict[str, Any], make_worker: MakeWorker
) -> None:
    worker, steps = make_worker(**setting), itertools.count(1)
    job_id, _ = worker.jobs.create(
        spec(num_inference_steps=4), scheduling=JobScheduling("batch"), tenant=LOCAL
    )

    def preempt(*_: object) -> None:
        if next(steps) == 2:
            let_preempt(worker, job_id)

    with worker.models.use("emoji-sd") as model:
        hook = cast("Any", model).pipe.unet.conv_in.register_forward_pre_hook(preempt)
        execute_job(worker, job_id, "unet1@test")
        hook.remove()
    assert worker.jobs.get(job_id).status == "succeeded"


def test_a_running_job_is_failed_once_the_deadline_of_its_request_has_passed(
    make_worker: MakeWorker,
) -> None:
    worker, steps = make_worker(), itertools.count(1)
    job_id, _ = worker.jobs.create(
        spec(num_inference_steps=6), scheduling=JobScheduling(deadline_s=3600), tenant=LOCAL
    )

    def pass_time(*_: object) -> None:
        if next(steps) == 2:
            worker.jobs.redis.zadd(keys.DEADLINES, {job_id: 1})
            # The renewal that learns of it is the last one
            eventually(lambda: not any(one.name == "lease" for one in threading.enumerate()))

    with worker.models.use("emoji-sd") as model:
        hook = cast("Any", model).pipe.unet.conv_in.register_forward_pre_hook(pass_time)
        with pytest.raises(DeadlinePassed):
            execute_job(worker, job_id, "unet1@test")
        hook.remove()
    job = worker.jobs.get(job_id)
    assert (job.status, job.error and job.error.code) == ("failed", "deadline_passed")


def test_the_times_of_a_job_are_noted_for_estimates_of_others(make_worker: MakeWorker) -> None:
    worker = make_worker()
    for key in worker.jobs.redis.scan_iter(keys.measured("*", "*")):
        worker.jobs.redis.delete(key)
    job = run(worker, spec(num_inference_steps=3))
    assert job.receipt is not None
    measured = worker.measured_times.read(job.receipt.spec)
    estimated = measured.device_s(job.receipt.spec).p50
    assert job.started_at is not None
    assert job.finished_at is not None
    assert 0 < estimated <= job.finished_at - job.started_at
    # One of twice the steps takes longer, and none of the time was for steps alone
    longer = job.receipt.spec.model_copy(update={"num_inference_steps": 6})
    assert estimated < measured.device_s(longer).p50 < 2 * estimated


def test_a_worker_that_stops_waits_for_no_residuals_that_do_not_come(make_worker: MakeWorker) -> None:
    # Given a job whose fourth step is the first with a ControlNet, and a fleet where nobody can compute that
    alone = dataclasses.replace(make_worker(serve_controlnets=False), served_controlnets=[])
    wanted = spec(num_inference_steps=6, controlnets=[control(alone, guidance_start=0.5)])
    job_id, _ = alone.jobs.create(wanted, tenant=LOCAL)
    steps = itertools.count(1)
    # When its worker is told to stop in that step
    with alone.models.use("emoji-sd") as model:
        hook = cast("Any", model).pipe.unet.conv_in.register_forward_pre_hook(
            lambda *_: alone.stopping.set() if next(steps) == 4 else None
        )
        with pytest.raises(WorkerStopping):
            execute_job(alone, job_id, "unet1@test")
        hook.remove()
    # Then the job is handed over with the state before the step
    assert alone.jobs.get(job_id).hand_overs == 1
    serving = make_worker()
    execute_job(serving, job_id, "unet2@test")
    job = alone.jobs.get(job_id)
    assert job.receipt is not None
    assert job.receipt.continued_at == [3]
    assert np.array_equal(pixels(serving, job), pixels(serving, run(serving, wanted)))


def test_a_worker_that_stops_hands_over_a_job_whose_model_is_being_loaded(make_worker: MakeWorker) -> None:
    stopping, end = threading.Event(), threading.Event()

    def download(name: str) -> BaseModel:
        stopping.set()
        assert end.wait(60)
        raise ModelFailed("its process has ended")

    worker = make_worker(max_attempts=1)
    models = ModelCache(download, DeviceMemory(1 << 40, stopping=stopping))
    stopped = dataclasses.replace(worker, models=models, stopping=stopping)
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    with pytest.raises(WorkerStopping):
        execute_job(stopped, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert (job.status, job.hand_overs, job.infrastructure_losses) == ("queued", 1, 0)
    # And the load that goes on is known: the process ends without waiting for it
    assert models.memory.has_given_up_load
    assert not models.failed()
    end.set()


def test_a_worker_that_stops_finishes_a_job_whose_loop_is_over(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job_id, _ = worker.jobs.create(spec(num_inference_steps=1), tenant=LOCAL)
    assert execute_job(worker, job_id, "unet1@test", worker.stopping.set) == "succeeded"


def test_a_worker_that_stops_begins_no_step(make_worker: MakeWorker) -> None:
    worker = make_worker()
    worker.stopping.set()
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    with pytest.raises(WorkerStopping):
        execute_job(worker, job_id, "unet1@test")
    assert worker.jobs.get(job_id).hand_overs == 1


def test_each_attempt_counts_the_time_that_the_job_waited_for_it(make_worker: MakeWorker) -> None:
    def waited_s() -> float:
        return REGISTRY.get_sample_value("swift_queue_wait_seconds_sum", {"model": "emoji-sd"}) or 0.0

    # Given a job that waited for 1000 s, and was handed over at once
    worker = make_worker()
    before_s = waited_s()
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    worker.jobs.redis.hset(keys.job(job_id), "created_at", worker.jobs.now() - 1000)
    for _ in range(2):
        attempt = worker.jobs.claim(job_id, "unet1@test")
        assert attempt is not None
        with report_outcome(attempt):
            attempt.hand_over()
    # Then its second attempt has waited since then, and not since it was accepted
    assert 1000 <= waited_s() - before_s < 2000
