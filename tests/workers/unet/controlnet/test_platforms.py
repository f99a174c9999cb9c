"""Exact jobs on a fleet of several platforms: who computes their ControlNets, and what the receipt says."""

from typing import Any

import pytest
import torch
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.workers.running import serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    ControlNetJob,
    Line,
    ask,
    by_diffusers,
    exact_steps,
    load_all,
    load_controlnets,
    make_job,
    make_line,
    make_loaded_job,
    make_server,
    results,
    spec,
)
from workers.controlnet_serving.server import ControlNetServer
from workers.devices.streamless import CPUDevice
from workers.transport.step_queue import StepQueue
from workers.unet.controlnet.platforms import PlatformChoice


class OtherCPU(CPUDevice):
    """A device of another platform, which computes on this CPU."""

    def describe(self) -> dict[str, str]:
        return {"gpu": "another"}


OTHER = OtherCPU(torch.device("cpu"))


@pytest.fixture
def line(residual: Redis, control: Redis, servers: Settings) -> Line:
    residual.flushall()
    control.flushdb()
    return make_line(residual, servers)


def make_other_server(line: Line) -> ControlNetServer:
    """A ControlNet worker of another platform that holds ``edge``."""
    controlnets = load_controlnets()
    load_all(controlnets, "edge")
    steps = StepQueue(line.redis, line.settings, OTHER)
    return ControlNetServer(["edge"], controlnets, steps, make_line(line.redis, line.settings).transport, 0.0)


def heartbeat(platform: str, name: str = "controlnet1@a", **changes: Any) -> Heartbeat:
    values = {
        "name": name, "kind": "controlnet", "host": "here", "pid": 1, "device": "cpu", "serves": ["edge"],
        "loaded": ["edge"], "platform": platform, "jobs": [], "utilization": 0.0, "started_at": 0.0,
        "version": "0",
    }  # fmt: skip
    return Heartbeat.model_validate(values | changes)


def other_digest(line: Line) -> str:
    digest = StepQueue(line.redis, line.settings, OTHER).platform_digest
    assert digest != line.steps.platform_digest
    return digest


def first_sum(job: ControlNetJob) -> None:
    """Compute the first residual of a step, and compare it with diffusers'."""
    step = ask(job.client)
    assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_only_workers_of_the_requesters_platform_see_a_step_of_an_exact_job(line: Line) -> None:
    # Given a worker that may not load the ControlNet, and an idle one of each platform
    job = make_job(line, spec("edge"))
    other = make_other_server(line)
    request = ask(job.client).request
    # Then the other one finds nothing, and takes nothing from anybody
    assert other.steps.pop(["edge"]) is None
    assert line.redis.llen(exact_steps(line, "edge")) == 1
    assert line.steps.locate(request, request.parts[0]) == "unserved"
    assert other.steps.claim_call(request, request.parts[0]) is None
    # And one of its own platform takes it
    assert make_server(line, "edge").steps.pop(["edge"]) is not None


def test_a_requester_computes_what_no_worker_of_its_platform_has_taken(line: Line) -> None:
    job = make_loaded_job(line, spec("edge"))
    before = results("edge", "requester")
    with serving(make_other_server(line), "controlnet1@other"):
        first_sum(job)
    assert results("edge", "requester") == before + 1
    [receipt] = job.context.used_controlnets.receipts
    assert receipt.other_platforms == []


def test_bounded_jobs_are_served_by_every_platform_and_their_receipt_names_it(line: Line) -> None:
    job = make_job(line, spec("edge"), alone=False)
    with serving(make_other_server(line), "controlnet1@other") as other:
        first_sum(job)
    [receipt] = job.context.used_controlnets.receipts
    assert receipt.other_platforms == [other.steps.platform]
    assert job.context.used_controlnets.warnings() == []


def test_a_receipt_names_no_platform_that_is_the_base_models(line: Line) -> None:
    for alone in (True, False):
        job = make_job(line, spec("edge"), alone=alone)
        with serving(make_server(line, "edge"), "controlnet1@here"):
            first_sum(job)
        [receipt] = job.context.used_controlnets.receipts
        assert receipt.other_platforms == []


def test_what_only_another_platform_holds_is_computed_there_with_a_warning(
    line: Line, control: Redis
) -> None:
    # Given ControlNet workers of one platform, and a UNet worker of another that may hold none
    publish_heartbeat(control, heartbeat(other_digest(line)), 60)
    job = make_job(line, spec("edge"))
    with serving(make_other_server(line), "controlnet1@other") as other:
        first_sum(job)
    [receipt] = job.context.used_controlnets.receipts
    assert receipt.other_platforms == [other.steps.platform]
    [warning] = job.context.used_controlnets.warnings()
    assert warning.startswith("ControlNet 'edge' was computed on another platform")


class BoundedLooks:
    """What a step that waits calls every half second: it shall not wait for `residual_timeout_s`."""

    def __init__(self, most: int = 20) -> None:
        self._left = most

    def __call__(self) -> None:
        self._left -= 1
        assert self._left, "the step still waits"


def test_a_step_goes_to_another_platform_once_nobody_of_its_own_lives(line: Line, control: Redis) -> None:
    # Given a ControlNet worker of the job's platform that is alive by its heartbeat and serves nothing
    publish_heartbeat(control, heartbeat(line.steps.platform_digest), 60)
    job = make_job(line, spec("edge"), residual_timeout_s=60.0, check=BoundedLooks())
    job.worker.live_workers = LiveWorkersCache(control, cache_s=0.0)
    step = ask(job.client)
    # When it is gone, and one of another platform lives
    publish_heartbeat(control, heartbeat(other_digest(line)), 60)
    with serving(make_other_server(line), "controlnet1@other") as other:
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
        # Then the other steps go there at once
        assert ask(job.client, 1).request.parts[0].platform == other.steps.platform_digest


def test_a_step_is_not_left_to_a_worker_of_its_platform_that_loads_nothing(
    line: Line, control: Redis
) -> None:
    # Given a UNet worker of the job's platform that may load the ControlNet, and has no memory for it
    unable = heartbeat(
        line.steps.platform_digest, "unet2@a", kind="unet", serves=["model"], loaded=[],
        served_controlnets=["edge"],
    )  # fmt: skip
    publish_heartbeat(control, unable, 60)
    publish_heartbeat(control, heartbeat(other_digest(line)), 60)
    job = make_job(line, spec("edge"), residual_timeout_s=60.0, check=BoundedLooks())
    step = ask(job.client)
    assert step.request.parts[0].platform == line.steps.platform_digest
    with serving(make_other_server(line), "controlnet1@other"):
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert job.context.used_controlnets.warnings()


class FlakyWorkers(LiveWorkersCache):
    """The live workers; while it is away nobody knows."""

    is_away = False

    def read(self) -> list[Heartbeat]:
        if self.is_away:
            raise RedisConnectionError
        return super().read()


def test_a_failed_reading_of_the_registry_decides_nothing(line: Line, control: Redis) -> None:
    publish_heartbeat(control, heartbeat("b"), 60)
    workers = FlakyWorkers(control, cache_s=0.0)
    chosen = PlatformChoice("own", workers, "unet1@a")
    workers.is_away = True
    assert chosen.choose("edge", is_held=False) == "own"
    assert not chosen.is_misplaced("edge", "own", is_late=True)
    assert not chosen.choose_another("edge", "own")
    workers.is_away = False
    assert chosen.is_misplaced("edge", "own", is_late=False)
    assert chosen.choose("edge", is_held=False) == "b"


def test_while_nobody_serves_a_controlnet_each_step_chooses_again(line: Line, control: Redis) -> None:
    chosen = PlatformChoice("own", LiveWorkersCache(control, cache_s=0.0), "unet1@a")
    assert chosen.choose("edge", is_held=False) == "own"
    publish_heartbeat(control, heartbeat("b"), 60)
    assert chosen.choose("edge", is_held=False) == "b"
    # And then it stays, as the steps before were computed there
    publish_heartbeat(control, heartbeat("own", "controlnet2@a"), 60)
    assert chosen.choose("edge", is_held=False) == "b"


def choice(control: Redis, *heartbeats: Heartbeat) -> PlatformChoice:
    for one in heartbeats:
        publish_heartbeat(control, one, 60)
    return PlatformChoice("own", LiveWorkersCache(control), "unet1@a")


@pytest.mark.usefixtures("line")
def test_the_own_platform_is_chosen_wherever_it_can_compute(control: Redis) -> None:
    others = [heartbeat("a", "controlnet1@a"), heartbeat("own", "controlnet2@a")]
    assert choice(control, *others).choose("edge", is_held=False) == "own"
    control.flushdb()
    assert choice(control, others[0]).choose("edge", is_held=True) == "own"
    # Also where nobody can
    assert choice(control, heartbeat("")).choose("depth", is_held=False) == "own"


@pytest.mark.usefixtures("line")
def test_every_job_chooses_the_same_other_platform_until_nobody_there_computes(control: Redis) -> None:
    chosen = choice(control, *(heartbeat(name, f"controlnet-{name}@a") for name in ("c", "b", "d")))
    assert chosen.choose("edge", is_held=False) == "b"
    for before, name in (("b", "c"), ("c", "d")):
        assert chosen.choose_another("edge", before)
        assert chosen.choose("edge", is_held=False) == name
    assert not chosen.choose_another("edge", "d")


def test_a_gpus_platform_does_not_depend_on_its_hosts_processor(line: Line) -> None:
    gpu = StepQueue(line.redis, line.settings, FakeDevice()).platform
    cpu = line.steps.platform
    older = {"processor": "x86_64 DEFAULT"}
    assert gpu.model_copy(update=older).digest == gpu.digest
    assert cpu.model_copy(update=older).digest != cpu.digest
    assert cpu.model_copy(update={"threads": cpu.threads + 1}).digest != cpu.digest
