"""What a UNet worker does for other workers' jobs while it has none."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from redis import Redis

from shared import keys
from shared.messaging.messages import AttachControlNet
from shared.registry.workers import Heartbeat, live_workers, publish_heartbeat, remove_worker
from tests.infra.local.waiting import eventually
from tests.workers.running import serving
from workers.families.base_controlnet import ControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.process.device_turns import DeviceTurns
from workers.unet.process.serving import IdleServing
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
NAME = "unet2@test"


@pytest.fixture
def worker(make_worker: MakeWorker, controlnets: ModelCache[ControlNet]) -> UNetWorker:
    """An idle worker that has loaded no ControlNet yet."""

    def load(name: str) -> ControlNet:
        with controlnets.use(name) as loaded:
            return loaded

    own = ModelCache(load, DeviceMemory(1 << 40), lambda name: 1)
    return replace(make_worker(serve_controlnets=False), controlnets=own, served_controlnets=["edge"])


def make_turns() -> DeviceTurns:
    return DeviceTurns(lambda job_id: nullcontext(), lambda: None)


def attachment(worker: UNetWorker, controlnet: str = "edge") -> AttachControlNet:
    key = worker.transport.put_input(torch.rand(1, 3, 64, 64))
    return AttachControlNet(job_id="j", attempt="a", controlnet=controlnet, image=key, batch=2)


def test_a_worker_that_starts_loads_a_controlnet_that_no_controlnet_worker_has(
    worker: UNetWorker, control: Redis
) -> None:
    for other in live_workers(control):  # of other tests
        remove_worker(control, other.name)
    with serving(IdleServing(worker, make_turns()), NAME):
        assert eventually(lambda: worker.controlnets.names() == ["edge"])


def test_a_worker_beside_a_controlnet_worker_loads_what_it_is_asked_to_prepare(
    worker: UNetWorker, control: Redis
) -> None:
    beside = Heartbeat(
        name="controlnet9@test", kind="controlnet", host="here", pid=1, device="cpu", serves=["edge"],
        loaded=[], jobs=[], utilization=0.0, started_at=0.0, version="0",
    )  # fmt: skip
    publish_heartbeat(control, beside, 60)
    turns = make_turns()
    with serving(IdleServing(worker, turns), NAME) as idle:
        # While a job computes, nothing is loaded, whoever asks
        with turns.take("job"):
            idle.attach(attachment(worker))
            idle.attach(attachment(worker, "unknown"))
            assert worker.controlnets.names() == []
        # After it, what was asked for meanwhile is
        assert eventually(lambda: worker.controlnets.names() == ["edge"])
        # Once it is loaded, the control image of a job is embedded ahead, and the job is shown
        idle.attach(attachment(worker))
        assert eventually(lambda: idle.attached_jobs() == {"edge": ["j"]})
    remove_worker(control, "controlnet9@test")


def test_a_load_ahead_that_fails_unexpectedly_keeps_no_later_one_from_being_made(worker: UNetWorker) -> None:
    errors = [PermissionError("the folder of the weights"), PermissionError("still")]

    def estimate(name: str) -> int:
        if errors:
            raise errors.pop()
        return 1

    def load(name: str) -> ControlNet:
        with worker.controlnets.use(name) as loaded:
            return loaded

    broken = replace(worker, controlnets=ModelCache(load, DeviceMemory(1 << 40), estimate))
    with serving(IdleServing(broken, make_turns()), NAME):
        assert eventually(lambda: broken.controlnets.names() == ["edge"])
    assert not errors


def test_an_attachment_never_waits_however_many_there_are(worker: UNetWorker) -> None:
    idle = IdleServing(worker, make_turns())  # not started: nobody takes them
    message = attachment(worker)
    asked = threading.Thread(target=lambda: [idle.attach(message) for _ in range(100)])
    asked.start()
    asked.join(30)
    assert not asked.is_alive()


def test_dispatch_is_told_while_a_worker_serves(worker: UNetWorker, control: Redis) -> None:
    control.delete(keys.serving(NAME))
    with serving(IdleServing(worker, make_turns()), NAME):
        with worker.activity.serve:
            assert eventually(lambda: bool(control.exists(keys.serving(NAME))))
        assert control.pttl(keys.serving(NAME)) > 0
