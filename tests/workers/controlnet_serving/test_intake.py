"""A ControlNet server that shares its device with jobs: what it takes, and what it gives back."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from redis import Redis

from shared.messaging.messages import AttachControlNet
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.running import serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    Line,
    WatchedQueue,
    ask,
    by_diffusers,
    exact_steps,
    load_all,
    load_controlnets,
    make_controlnets,
    make_line,
    spec,
)
from workers.controlnet_serving import sender as sender_module
from workers.controlnet_serving.host import ServerHost, StepTurns
from workers.controlnet_serving.server import ControlNetServer
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.process.device_turns import DeviceTurns


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def make_turns() -> DeviceTurns:
    return DeviceTurns(lambda job_id: nullcontext(), lambda: None)


def make_idle_server(
    line: Line,
    turns: StepTurns,
    *loaded: str,
    controlnets: ModelCache[UNetControlNet] | None = None,
    steps: StepQueue | None = None,
) -> ControlNetServer:
    """The server of a UNet worker that may serve all ControlNets and has loaded some."""
    controlnets = controlnets or load_controlnets()
    load_all(controlnets, *loaded)
    own = make_line(line.redis, line.settings)
    host = ServerHost(turns=turns, loads_for_steps=False)
    names = ["edge", "depth", "colour"]
    return ControlNetServer(names, controlnets, steps or own.steps, own.transport, 0.0, host)


class TurnsAfterPop:
    """Turns that end while a step is being popped: a job comes at that moment."""

    def wait(self, timeout_s: float) -> bool:
        return True

    @contextmanager
    def step(self) -> Iterator[bool]:
        yield False


def test_a_step_that_may_not_be_served_any_more_goes_back_to_the_front(line: Line) -> None:
    first, second = (ask(make_controlnets(line, spec("edge"))).request for _ in range(2))
    server = make_idle_server(line, TurnsAfterPop(), "edge")
    assert server.serve_next(["edge"]) == 0
    # Then both wait as before, nobody has claimed one, and the queue still expires
    assert line.redis.ttl(exact_steps(line, "edge")) > 0
    assert [line.steps.locate(request, request.parts[0]) for request in (first, second)] == ["unserved"] * 2
    queued = line.steps.pop(["edge"])
    assert queued is not None
    assert queued.job_id == first.job_id


def test_only_loaded_controlnets_are_served_and_others_are_left_in_their_queue(line: Line) -> None:
    server = make_idle_server(line, make_turns(), "edge")
    assert server.available_controlnets == ["edge"]
    step = ask(make_controlnets(line, spec("depth")))
    # When another one is loaded, the server serves it, too
    with serving(server, "unet2@test"), server.controlnets.use("depth"):
        assert torch.equal(step.get(MID), by_diffusers(1.0, models=("depth",))[1])


def test_an_evicted_controlnet_is_not_loaded_for_a_step(line: Line) -> None:
    server = make_idle_server(line, make_turns(), "edge")
    request = ask(make_controlnets(line, spec("edge"))).request
    server.controlnets.discard("edge")
    assert server.serve_next(["edge"]) == 0
    assert line.steps.locate(request, request.parts[0]) == "unserved"
    assert server.controlnets.names() == []


class Held(UNetControlNet):
    """Computes a step only once it is ``released``."""

    def __init__(self) -> None:
        super().__init__("edge", MODELS["edge"])
        self.begun, self.released = queue.Queue[None](), threading.Event()

    def features(self, *args: object) -> list[torch.Tensor]:
        self.begun.put(None)
        self.released.wait()
        return super().features(*args)  # type: ignore[arg-type]


class Job(threading.Thread):
    """Takes the device, and keeps it until it ``ends``."""

    def __init__(self, turns: DeviceTurns) -> None:
        super().__init__(daemon=True)
        self._turns = turns
        self.begins, self.ends = threading.Event(), threading.Event()

    def run(self) -> None:
        """See `threading.Thread`."""
        with self._turns.take("job"):
            self.begins.set()
            self.ends.wait()


def test_a_job_waits_for_the_step_under_way_and_nothing_is_popped_while_it_runs(line: Line) -> None:
    turns, held = make_turns(), Held()
    server = make_idle_server(
        line, turns, "edge", controlnets=ModelCache(lambda name: held, DeviceMemory(1 << 30))
    )
    turns.on_job(server.interrupt)
    job = Job(turns)
    with ExitStack() as stack:
        stack.enter_context(serving(server, "unet2@test"))
        stack.callback(held.released.set)
        stack.callback(job.ends.set)
        computed = ask(make_controlnets(line, spec("edge")))
        held.begun.get(timeout=30)
        job.start()
        assert eventually(lambda: not turns.wait(0.0))
        waiting = ask(make_controlnets(line, spec("edge")))
        assert not job.begins.is_set()
        # When the step has been computed, the job begins, and the other step stays in its queue
        held.released.set()
        assert job.begins.wait(30)
        assert torch.equal(computed.get(MID), by_diffusers(1.0)[1])
        assert line.redis.llen(exact_steps(line, "edge")) == 1
        # When the job has ended, that one is served
        job.ends.set()
        assert torch.equal(waiting.get(MID), by_diffusers(1.0)[1])
    job.join()


class HeldSending(ResidualTransport):
    """Sends nothing before it is ``released``."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__([redis], settings)
        self.released = threading.Event()

    def respond(self, *args: Any) -> int:
        """See `ResidualTransport`."""
        self.released.wait()
        return super().respond(*args)


def test_no_job_waits_for_residuals_that_cannot_be_sent(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "MAX_QUEUED", 1)
    # Given a worker that has served steps whose residuals no server takes, and steps that wait
    turns, controlnets = make_turns(), load_controlnets()
    load_all(controlnets, "edge")
    transport = HeldSending(line.redis, line.settings)
    steps, host = StepQueue(line.redis, line.settings), ServerHost(turns=turns, loads_for_steps=False)
    server = ControlNetServer(["edge"], controlnets, steps, transport, 0.0, host)
    turns.on_job(server.interrupt)
    job = Job(turns)
    with ExitStack() as stack:
        stack.enter_context(serving(server, "unet2@test"))
        stack.callback(transport.released.set)
        stack.callback(job.ends.set)
        asked = [ask(make_controlnets(line, spec("edge"), residual_timeout_s=60.0)) for _ in range(4)]
        assert eventually(lambda: line.redis.llen(exact_steps(line, "edge")) < len(asked))
        # When a job comes, then it begins at once
        job.start()
        assert job.begins.wait(30)
        job.ends.set()
        job.join()
        # And all steps are answered once residuals are taken
        transport.released.set()
        for step in asked:
            assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_job_that_comes_ends_the_wait_for_a_step(line: Line) -> None:
    # Given a server that waits for steps
    turns, steps = make_turns(), WatchedQueue(line.redis, line.settings)
    server = make_idle_server(line, turns, "edge", steps=steps)
    turns.on_job(server.interrupt)
    with serving(server, "unet2@test"):
        assert eventually(lambda: steps.is_waiting)
        # When a job comes, and a step after it
        with turns.take("job"):
            assert eventually(lambda: not steps.is_waiting)
            request = ask(make_controlnets(line, spec("edge"))).request
            # Then the step is not taken, or goes back at once if the server had just begun to wait anew
            assert eventually(lambda: line.steps.locate(request, request.parts[0]) == "unserved")


def test_a_server_that_is_told_to_stop_takes_no_step_that_comes_later(line: Line) -> None:
    server = make_idle_server(line, make_turns(), "edge")
    with serving(server, "unet2@test"):
        server.drain()
    request = ask(make_controlnets(line, spec("edge"))).request
    assert line.steps.locate(request, request.parts[0]) == "unserved"


def test_an_evicted_controlnet_is_not_loaded_for_an_attachment(line: Line) -> None:
    server = make_idle_server(line, make_turns())
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    server.attach(AttachControlNet(job_id="j", attempt="a", controlnet="edge", image=key, batch=2))
    assert (server.controlnets.names(), server.inputs.device_bytes()) == ([], 0)


def test_an_attachment_embeds_nothing_while_a_job_computes(line: Line) -> None:
    turns = make_turns()
    server = make_idle_server(line, turns, "edge")
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    message = AttachControlNet(job_id="j", attempt="a", controlnet="edge", image=key, batch=2)
    with turns.take("job"):
        server.attach(message)
        assert server.inputs.device_bytes() == 0
    server.attach(message)
    assert server.inputs.device_bytes() > 0
