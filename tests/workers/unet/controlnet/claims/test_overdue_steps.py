"""Steps that no worker without a job takes: workers with a job serve them, a few."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import RedisError

from shared.errors import DeviceLost, WorkerStopping
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.infra.local.waiting import eventually
from tests.workers.running import running, serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    Line,
    ask,
    by_diffusers,
    exact_steps,
    make_job,
    make_line,
    make_server,
    spec,
)
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec as job_spec
from workers.controlnet_serving import sender
from workers.families.base_controlnet import ControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.keys import overdue_key
from workers.transport.step_queue import OVERDUE_S
from workers.unet.controlnet import call_monitor
from workers.unet.controlnet.call_monitor import CallMonitor, Decision
from workers.unet.controlnet.claims.overdue_steps import OverdueSteps
from workers.unet.process.device_turns import DeviceTurns
from workers.unet.process.serving import IdleServing
from workers.unet.worker import UNetWorker


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def test_one_step_is_served_a_look(line: Line) -> None:
    found, served = [False, True, True], list[str]()
    steps = OverdueSteps()
    steps.connect(lambda: found.pop(0), lambda: served.append("step"))
    for _ in range(3):
        steps.look()
        for _ in range(2):
            steps.serve_one()
    assert served == ["step"] * 2


def serve_failing(error: Exception) -> None:
    """Serve a step of others that meets ``error``."""

    def serve() -> None:
        raise error

    steps = OverdueSteps()
    steps.connect(lambda: True, serve)
    steps.look()
    steps.serve_one()


@pytest.mark.parametrize("error", [RedisError("no answer"), ValueError("no entry"), AssertionError()])
def test_a_job_goes_on_whatever_a_step_of_others_meets(error: Exception) -> None:
    serve_failing(error)


@pytest.mark.parametrize("error", [DeviceLost("lost"), WorkerStopping("told to stop")])
def test_what_ends_the_worker_ends_the_job_that_serves_a_step_of_others(error: Exception) -> None:
    with pytest.raises(type(error)):
        serve_failing(error)


def test_a_job_goes_on_after_an_overdue_step_that_cannot_be_read(line: Line) -> None:
    job = make_job(line, spec("edge"))
    step = ask(job.client)
    line.redis.rpush(overdue_key("edge", ""), "no entry")
    line.steps.mark_overdue(step.request, step.request.parts[0])
    server = make_server(line, "edge")
    steps = OverdueSteps()
    steps.connect(server.has_overdue, server.serve_overdue)
    with running(server.sender):
        for _ in range(2):
            steps.look()
            steps.serve_one()
        # Then it has left the list, and the next one is served
        assert not server.has_overdue()
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_step_is_overdue_only_if_nobody_could_serve_it_or_load_its_controlnet(line: Line) -> None:
    def decisions(*, local: bool, served: list[str] | None) -> set[Decision]:
        job = make_job(line, spec("edge"), local=local, residual_timeout_s=60.0)
        job.worker.other_workers.served = served
        request = ask(job.client).request
        now = [0.0]
        monitor = CallMonitor(job.client.session, now=lambda: now[0])
        assert monitor.decide(request, request.parts[0]) is not Decision.MARK_OVERDUE
        now[0] += OVERDUE_S
        return {monitor.decide(request, request.parts[0]) for _ in range(3)}

    assert decisions(local=False, served=None) == {Decision.WAIT}
    assert Decision.MARK_OVERDUE not in decisions(local=True, served=[])
    # What is overdue is marked once in that time
    assert decisions(local=False, served=[]) == {Decision.MARK_OVERDUE, Decision.WAIT}


def test_an_overdue_step_is_served_once_and_leaves_both_lists(line: Line) -> None:
    job = make_job(line, spec("edge"))
    step = ask(job.client)
    [part] = step.request.parts
    server = make_server(line, "edge")
    assert not server.serve_overdue()  # it waits in its queue
    for _ in range(2):
        line.steps.mark_overdue(step.request, part)
    assert server.has_overdue()
    with running(server.sender):
        assert [server.serve_overdue() for _ in range(2)] == [True, False]
    assert not server.has_overdue()
    assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert line.redis.llen(exact_steps(line, "edge")) == 0
    # And one that was claimed meanwhile, or whose job is over, is served by nobody
    late = ask(job.client, 1).request
    line.steps.mark_overdue(late, part)
    job.client.close()
    assert not server.serve_overdue()


def test_a_job_waits_for_no_residuals_of_overdue_steps(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MAX_QUEUED", 1)
    server = make_server(line, "edge")  # which sends nothing yet
    for _ in range(2):
        request = ask(make_job(line, spec("edge")).client).request
        line.steps.mark_overdue(request, request.parts[0])
    assert [server.serve_overdue() for _ in range(2)] == [True, False]
    with running(server.sender):
        assert eventually(server.serve_overdue)


def test_a_server_that_stops_serves_nothing_overdue_nor_what_it_has_not_loaded(line: Line) -> None:
    step = ask(make_job(line, spec("edge")).client)
    line.steps.mark_overdue(step.request, step.request.parts[0])
    assert not make_server(line, "depth").serve_overdue()
    server = make_server(line, "edge")
    server.drain()
    assert not server.serve_overdue()
    assert line.steps.locate(step.request, step.request.parts[0]) == "unserved"


@contextmanager
def busy(worker: UNetWorker, turns: DeviceTurns) -> Iterator[list[str]]:
    """A worker that has a job at any time; yields how its jobs have ended so far."""
    ended, over = list[str](), threading.Event()

    def work() -> None:
        while not over.is_set():
            with turns.take("job"):
                ended.append(run(worker, job_spec(num_inference_steps=8)).status)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert eventually(lambda: ended)
        yield ended
    finally:
        over.set()
        thread.join()


@pytest.fixture
def soon_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a job waits for this."""
    monkeypatch.setattr(call_monitor, "OVERDUE_S", 0.3)


@pytest.mark.usefixtures("soon_overdue")
def test_a_job_whose_worker_may_hold_no_controlnet_ends_though_all_others_have_jobs(
    make_worker: Callable[..., UNetWorker],
) -> None:
    # Given a worker that holds the ControlNet and always has a job, and one that may hold none
    holder = make_worker(serve_controlnets=False)
    with holder.controlnets.use("edge"):
        pass
    wanted = job_spec(controlnets=[control(holder)], num_inference_steps=2)
    alone = run(holder, wanted)
    pure = replace(make_worker(serve_controlnets=False, residual_timeout_s=20.0), served_controlnets=[])
    turns = DeviceTurns(lambda job_id: nullcontext(), lambda: None, jobs_wait=lambda: True)
    idle_serving = IdleServing(holder, turns)
    with busy(holder, turns) as ended, serving(idle_serving, "unet2@test"):
        job = run(pure, wanted)
    # Then its steps are served between those of the other's jobs, with the same bits
    assert np.array_equal(pixels(pure, job), pixels(holder, alone))
    assert {span.worker for span in job.timeline if span.name == "controlnet edge"} == {"unet2@test"}
    assert set(ended) == {"succeeded"}


@pytest.mark.usefixtures("soon_overdue")
def test_a_job_ends_whose_controlnet_no_worker_has_loaded_and_only_a_busy_one_may_hold(
    make_worker: Callable[..., UNetWorker], controlnets: ModelCache[ControlNet]
) -> None:
    def load(name: str) -> ControlNet:
        with controlnets.use(name) as loaded:
            return loaded

    # Given a worker that always has a job and has loaded no ControlNet, and one that may hold none
    loads: ModelCache[ControlNet] = ModelCache(load, DeviceMemory(1 << 40), lambda name: 1)
    alone = make_worker(serve_controlnets=False)
    wanted = job_spec(controlnets=[control(alone)], num_inference_steps=2)
    busy_one = replace(make_worker(serve_controlnets=False), controlnets=loads, served_controlnets=["edge"])
    pure = replace(make_worker(serve_controlnets=False, residual_timeout_s=20.0), served_controlnets=[])
    turns = DeviceTurns(lambda job_id: nullcontext(), lambda: None, jobs_wait=lambda: True)
    serving = IdleServing(busy_one, turns)
    with busy(busy_one, turns) as ended:
        serving.start("unet2@test")
        job = run(pure, wanted)
    serving.stop()
    # Then the busy one loads it beside its jobs, and serves each step between those of its own
    assert loads.names() == ["edge"]
    assert np.array_equal(pixels(pure, job), pixels(alone, run(alone, wanted)))
    assert {span.worker for span in job.timeline if span.name == "controlnet edge"} == {"unet2@test"}
    assert set(ended) == {"succeeded"}


def test_the_time_of_a_step_has_no_steps_of_others_in_it(make_worker: Callable[..., UNetWorker]) -> None:
    # Given a device on which a step of another job takes 1000 s
    now, steps = [0.0], OverdueSteps()
    device = FakeDevice(now=lambda: now[0])

    def serve() -> None:
        device.finish()
        now[0] += 1000.0

    steps.connect(lambda: True, serve)
    steps.look()
    worker = replace(make_worker(serve_controlnets=False), device=device, overdue_steps=steps)

    def reported_s() -> float:
        return REGISTRY.get_sample_value("swift_step_duration_seconds_sum", {"model": "emoji-sd"}) or 0.0

    before = reported_s()
    assert run(worker, job_spec(num_inference_steps=2)).status == "succeeded"
    assert now == [1000.0]
    assert reported_s() == before
