"""Which ControlNets a UNet worker loads, and when: at a job's start, while it is idle, and for a step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from redis import Redis

from shared.errors import ModelFailed
from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from tests.workers.running import serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    ControlNetJob,
    Line,
    ask,
    by_diffusers,
    claim_next,
    compute,
    make_job,
    make_line,
    make_loaded_job,
    make_server,
    results,
    spec,
)
from tests.workers.unet.jobs import control as controlnet
from tests.workers.unet.jobs import run
from tests.workers.unet.specs import spec as job_spec
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.load_controlnet import load_controlnet
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.controlnet.attach import find_unloaded
from workers.unet.controlnet.call_monitor import CallMonitor, Decision
from workers.unet.controlnet.residency import MAX_WANTED, ControlNetResidency
from workers.unet.worker import UNetWorker

SIZE_BYTES = UNetControlNet("edge", MODELS["edge"]).weight_bytes


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def make_cache(places: int, loads: list[str] | None = None) -> ModelCache[UNetControlNet]:
    """A memory for so many ControlNets; ``loads`` notes which are loaded."""

    def load(name: str) -> UNetControlNet:
        if loads is not None:
            loads.append(name)
        return UNetControlNet(name, MODELS[name])

    return ModelCache(load, DeviceMemory(places * SIZE_BYTES), lambda name: SIZE_BYTES)


def test_an_idle_worker_downloads_nothing() -> None:
    sizes, loads, downloads = {"edge": 0}, list[str](), list[str]()

    def load(name: str) -> UNetControlNet:
        loads.append(name)
        return UNetControlNet(name, MODELS[name])

    # Given a hub id whose files are not here
    cache = ModelCache(load, DeviceMemory(SIZE_BYTES), lambda name: sizes[name], downloads.append)
    residency = ControlNetResidency(cache, ["edge"])
    residency.wanted("edge")
    assert not residency.load_next()
    # A job that begins has it loaded
    assert residency.load_for_job("edge")
    assert eventually(cache.names) == ["edge"]
    cache.discard("edge")
    # And files that are here are read while the worker is idle
    assert not residency.load_next()
    sizes["edge"] = SIZE_BYTES
    assert residency.load_next()
    assert loads == ["edge", "edge"]
    assert downloads == ["edge"]  # of the job


def test_an_idle_worker_loads_what_was_lately_wanted_and_evicts_nothing() -> None:
    loads: list[str] = []
    controlnets = make_cache(2, loads)
    residency = ControlNetResidency(controlnets, ["edge", "depth", "colour"])
    assert not residency.load_next()
    # Given three that were wanted, the latest first, and one that it may not hold
    for name in ("edge", "depth", "colour", "edge", "pooled"):
        residency.wanted(name)
    # Then those that fit are loaded
    assert [residency.load_next() for _ in range(3)] == [True, True, False]
    assert loads == ["edge", "colour"]
    # And the third once there is place
    controlnets.discard("edge")
    residency.wanted("depth")
    assert residency.load_next()
    assert controlnets.names() == ["colour", "depth"]


def test_what_was_wanted_is_remembered_of_so_many_controlnets() -> None:
    controlnets = make_cache(1)
    names = ["edge", *(f"other{i}" for i in range(MAX_WANTED))]
    residency = ControlNetResidency(controlnets, names)
    for name in names:
        residency.wanted(name)
    for name in names[1:]:
        controlnets.mark_failed(name, "no file")
    assert not residency.load_next()


def test_a_worker_that_may_hold_none_loads_none() -> None:
    controlnets = make_cache(2)
    residency = ControlNetResidency(controlnets, [])
    residency.wanted("edge")
    assert not residency.load_next()
    assert not residency.load_for_job("edge")
    assert not residency.load_for_step("edge")
    assert (residency.may_hold("edge"), residency.can_load("edge")) == (False, False)


def make_waiting(line: Line, expected_s: float) -> tuple[ControlNetJob, Any]:
    """A step that waits for a ControlNet whose load takes so long, as measured."""
    job = make_job(line, spec("edge"), local=True, residual_timeout_s=60.0)
    job.worker.controlnets.memory.load_times.record((job.worker.controlnets, "edge"), 1, expected_s)
    return job, ask(job.client)


def test_a_step_waits_for_a_holder_as_long_as_the_load_takes(line: Line) -> None:
    job, step = make_waiting(line, 3600.0)
    [part] = step.request.parts
    monitor = CallMonitor(job.client.session)
    assert monitor.decide(step.request, part) is Decision.WAIT
    # When a holder takes it, its residuals are used, and nothing is loaded
    with serving(make_server(line, "edge")):
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert job.worker.controlnets.names() == []


def test_a_step_that_has_waited_so_long_has_its_controlnet_loaded_and_claimed(line: Line) -> None:
    job, step = make_waiting(line, 0.0)
    [part] = step.request.parts
    monitor = CallMonitor(job.client.session)
    assert monitor.decide(step.request, part) is Decision.LOAD
    assert job.worker.residency.load_for_step("edge")
    assert eventually(lambda: monitor.decide(step.request, part)) in (Decision.WAIT, Decision.CLAIM)
    assert eventually(lambda: monitor.decide(step.request, part) is Decision.CLAIM)
    assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_holder_that_claims_during_the_load_serves_and_the_load_stays(line: Line) -> None:
    job, step = make_waiting(line, 0.0)
    assert job.worker.residency.load_for_step("edge")
    server = make_server(line, "edge")
    claimed = claim_next(server.steps, "edge")
    assert eventually(job.worker.controlnets.names) == ["edge"]
    # Then what is loaded meanwhile computes nothing of this step
    compute(server, [claimed])
    before = results("edge", "requester")
    assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert results("edge", "requester") == before


def test_a_controlnet_of_a_job_stays_loaded_between_its_steps(line: Line) -> None:
    # Given a worker with place for one ControlNet, which a job has used
    controlnets = make_cache(1)
    job = make_loaded_job(line, spec("edge"), controlnets=controlnets)
    ask(job.client).get(MID)
    # When another one is wanted for a step, it finds no place before the job is over
    job.worker.residency.load_for_step("depth")
    assert eventually(lambda: not job.worker.residency.is_loading("depth"))
    assert controlnets.names() == ["edge"]
    job.client.close()
    with controlnets.use("depth"):
        assert controlnets.names() == ["depth"]


def test_a_job_of_more_controlnets_than_fit_loads_one_after_another(line: Line) -> None:
    controlnets = make_cache(1)
    job = make_job(
        line, spec("edge"), spec("depth"), local=True, controlnets=controlnets, residual_timeout_s=60.0
    )
    for name in ("edge", "depth"):
        controlnets.memory.load_times.record((controlnets, name), 1, 0.0)
    for step in range(2):
        assert torch.equal(ask(job.client, step).get(MID), by_diffusers(1.0, 1.0)[1])
    assert len(controlnets.names()) == 1


def test_a_controlnet_that_cannot_be_loaded_ends_the_attempt_with_its_reason(line: Line) -> None:
    def load(name: str) -> UNetControlNet:
        raise ModelFailed(f"{name} is cut off")

    controlnets = ModelCache(load, DeviceMemory(1 << 30), lambda name: 1)
    job = make_job(line, spec("edge"), local=True, controlnets=controlnets, residual_timeout_s=0.7)
    with pytest.raises(ModelFailed, match="edge is cut off"):
        ask(job.client).get(MID)


def test_a_worker_that_serves_after_a_load_has_failed_here_is_used(line: Line) -> None:
    job = make_job(line, spec("edge"), local=True, residual_timeout_s=60.0)
    job.worker.controlnets.mark_failed("edge", "cut off")
    step = ask(job.client)
    monitor = CallMonitor(job.client.session)
    assert monitor.decide(step.request, step.request.parts[0]) is Decision.WAIT
    with serving(make_server(line, "edge")):
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_job_loads_what_no_worker_has_loaded_beside_its_prompt(
    make_worker: Callable[..., UNetWorker], models: ModelCache[BaseModel]
) -> None:
    # Given a worker that has not loaded its job's ControlNet, whose load is expected to take very long
    worker = make_worker(serve_controlnets=False)
    worker = dataclasses.replace(worker, controlnets=ModelCache(load_edge, DeviceMemory(1 << 40)))
    worker.controlnets.memory.load_times.record((worker.controlnets, "edge"), 1, 3600.0)
    # When nobody else has, then the job does not wait for that
    job = run(worker, job_spec(controlnets=[controlnet(worker)], num_inference_steps=2))
    assert job.status == "succeeded"
    assert [span.worker for span in job.timeline if span.name == "controlnet edge"] == ["unet1@test"] * 2
    # And nothing of it is in use any more
    assert worker.controlnets.memory.models.evict_idle() == 1


def load_edge(name: str) -> ControlNet:
    return load_controlnet(name, str(EMOJI / "controlnets" / name), "float32", "cpu")


def heartbeat(**changes: Any) -> Heartbeat:
    values = {
        "name": "controlnet9@test", "kind": "controlnet", "host": "here", "pid": 1, "device": "cpu",
        "serves": ["rare-edge", "rare-depth"], "loaded": ["rare-edge", "rare-depth"],
        "jobs": [], "utilization": 0.0, "started_at": 0.0, "version": "0",
    }  # fmt: skip
    return Heartbeat.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "unloaded"),
    [
        ({}, {"nobody"}),
        ({"loaded": ["rare-depth"]}, {"nobody", "rare-edge"}),
        ({"load_errors": {"rare-edge": "no file"}}, {"nobody", "rare-edge"}),
        ({"unavailable_reasons": ["hung"]}, {"nobody", "rare-edge", "rare-depth"}),
        ({"kind": "unet"}, {"nobody", "rare-edge", "rare-depth"}),
        (
            {
                "kind": "unet",
                "served_controlnets": ["rare-edge", "rare-depth"],
                "loaded_controlnets": ["rare-edge"],
            },
            {"nobody", "rare-depth"},
        ),
        (
            {
                "kind": "unet",
                "served_controlnets": ["rare-edge"],
                "loaded_controlnets": ["rare-edge"],
                "jobs": ["j"],
            },
            {"nobody", "rare-edge", "rare-depth"},
        ),
        ({"jobs": ["j"]}, {"nobody"}),
        ({"name": "unet1@test"}, {"nobody", "rare-edge", "rare-depth"}),
    ],
    ids=[
        "alive",
        "has not loaded one",
        "cannot load one",
        "unavailable",
        "pure UNet worker",
        "UNet worker has loaded one",
        "UNet worker has loaded one and computes a job of its own",
        "ControlNet worker serves a job",
        "the job's own",
    ],
)
def test_heartbeats_tell_which_controlnets_no_worker_serves_now(
    changes: dict[str, Any], unloaded: set[str], control: Redis
) -> None:
    publish_heartbeat(control, heartbeat(**changes), ttl_s=60)
    names = ["rare-edge", "rare-depth", "nobody"]
    assert set(find_unloaded(LiveWorkersCache(control), names, "unet1@test")) == unloaded
    remove_worker(control, changes.get("name", "controlnet9@test"))
