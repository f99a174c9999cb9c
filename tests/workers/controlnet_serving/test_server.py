"""The ControlNet server: which steps it computes together, and for which jobs."""

import copy
import itertools
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import RedisError
from torch import Tensor

from shared.errors import DeviceLost
from shared.jobs.options import Precision
from shared.messaging.messages import AttachControlNet
from shared.redis_clients import residual_servers
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.infra.local.waiting import eventually
from tests.meta_device import META, MetaDevice, NoWaits
from tests.proxy import proxied
from tests.workers.running import running, serving
from tests.workers.transport.transport_ends import received_by
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    Line,
    WatchedQueue,
    X,
    ask,
    by_diffusers,
    claim_next,
    compute,
    load_all,
    load_controlnets,
    make_controlnets,
    make_line,
    make_server,
    spec,
)
from workers.controlnet_serving import server as module
from workers.controlnet_serving import step_computer
from workers.controlnet_serving.host import ServerHost
from workers.controlnet_serving.input_cache import InputCache
from workers.controlnet_serving.server import ControlNetServer
from workers.devices.base import Device
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.transport.pixels import pack_pixels, quotients
from workers.transport.protocol import StepResponse
from workers.transport.step_queue import ClaimedStep, StepQueue
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.controlnet.step_residuals import StepResiduals

#: What scripts call; the other commands are calls of a worker.
WITHIN_SCRIPTS = {"del", "exists", "expire", "get", "hget", "hset", "hsetnx", "llen", "lrem", "rpush", "set"}
CONTROLNETS = ("edge", "depth", "colour")


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


@pytest.fixture
def server(line: Line) -> ControlNetServer:
    """A server that is not started: tests have it serve step by step."""
    return make_server(line, "edge", "depth", "colour")


def test_a_long_forward_pass_ends_between_two_residuals_once_nobody_waits_for_it(
    server: ControlNetServer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_computer, "FORWARD_CHECK_S", 0.0)
    controlnets = make_controlnets(line, spec("edge"))
    ask(controlnets)
    claimed = claim_next(server.steps, "edge")
    computed: list[str] = []
    with ExitStack() as hooks:
        for name, layer in MODELS["edge"].named_modules():
            if name.startswith(("controlnet_mid_block", "controlnet_down_blocks.")):
                hook = layer.register_forward_hook(lambda *_, name=name: computed.append(name))
                hooks.callback(hook.remove)
        # When the job is cancelled while its first residual is computed
        first = MODELS["edge"].controlnet_mid_block.register_forward_hook(lambda *_: controlnets.close())
        hooks.callback(first.remove)
        compute(server, [claimed])
    # Then no other is
    assert computed == ["controlnet_mid_block"]


@pytest.mark.parametrize("first", ["edge", "depth", "colour"])
def test_residuals_of_one_worker_are_summed_before_they_are_sent(
    first: str, server: ControlNetServer, line: Line
) -> None:
    names = ("edge", "depth", "colour")
    controlnets = make_controlnets(line, *(spec(name, conditioning_scale=0.7) for name in names))
    step = ask(controlnets)
    compute(server, [claim_next(server.steps, first)])
    # Then one residual is sent for three ControlNets, with the bits of diffusers' sum
    responses = received_by(line.transport, step.request, 1.0)
    down, mid = by_diffusers(0.7, 0.7, 0.7)
    assert [response.positions for response, _ in responses] == [[0, 1, 2]] * (len(down) + 1)
    assert [response.index for response, _ in responses] == [MID, *reversed(range(len(down)))]
    for response, residual in responses:
        assert residual is not None
        assert torch.equal(residual, mid if response.index == MID else down[response.index])
        assert set(response.used) == {0, 1, 2}


def test_a_sum_always_begins_with_the_first_controlnet(server: ControlNetServer, line: Line) -> None:
    # Given a job of three ControlNets of which another worker has taken the first
    controlnets = make_controlnets(line, *(spec(name) for name in ("edge", "depth", "colour")))
    step = ask(controlnets)
    other = make_server(line, "edge")
    first = claim_next(other.steps, "edge")
    # When this worker computes the second and the third
    compute(server, [claim_next(server.steps, "depth")])
    compute(server, [claim_next(server.steps, "colour")])
    compute(other, [first])
    # Then each is sent alone, so that the sum can be diffusers' own
    positions = {tuple(response.positions) for response, _ in received_by(line.transport, step.request, 1.0)}
    assert positions == {(0,), (1,), (2,)}


def test_a_controlnet_that_is_not_loaded_is_left_to_other_workers(line: Line) -> None:
    server = make_server(line, "edge")
    step = ask(make_controlnets(line, spec("edge"), spec("depth")))
    compute(server, [claim_next(server.steps, "edge")])
    received = received_by(line.transport, step.request, 1.0)
    assert {tuple(response.positions) for response, _ in received} == {(0,)}
    assert line.steps.locate(step.request, step.request.parts[1]) == "unserved"


def test_an_attachment_embeds_the_control_image_before_the_first_step(
    server: ControlNetServer, line: Line
) -> None:
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    server.attach(AttachControlNet(job_id="j", attempt="a", controlnet="depth", image=key, batch=2))
    line.redis.flushall()  # an embedded image is not fetched again
    with server.controlnets.use("depth") as controlnet:
        assert server.inputs.embedded(controlnet, key, 2).shape == (2, 32, 16, 16)
    assert server.recent_jobs.by_controlnet() == {"depth": ["j"]}


def test_a_control_image_of_bytes_is_embedded_with_the_bits_of_its_floats(
    server: ControlNetServer, line: Line
) -> None:
    pixels = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(3))
    floats = quotients()[pixels]
    keys = [line.transport.put_input(image) for image in (floats, pack_pixels(floats))]
    with server.controlnets.use("edge") as controlnet:
        embedded = [server.inputs.embedded(controlnet, key, 2) for key in keys]
    assert torch.equal(*embedded)
    assert server.inputs.fetch(keys[1]).nbytes == floats.nbytes // 4


def test_inputs_are_bounded_on_the_host_and_on_the_device_by_themselves(line: Line) -> None:
    # Given a cache with space for two images on the host, and for one on the device
    image = torch.zeros(1, 3, 64, 64)
    with load_controlnets().use("edge") as controlnet:
        embedded_bytes = controlnet.embed(image, 2).nbytes
        inputs = InputCache(line.transport, 2 * image.nbytes, embedded_bytes)
        keys = [line.transport.put_input(image + k) for k in range(2)]
        first = [inputs.embedded(controlnet, key, 2) for key in keys]
        # When both were embedded and the server has lost them
        line.redis.flushall()
        # Then both images are still on the host, and one of what was made of them on the device
        assert inputs.embedded(controlnet, keys[1], 2) is first[1]
        again = inputs.embedded(controlnet, keys[0], 2)
    assert again is not first[0]
    assert torch.equal(again, first[0])


def test_a_prompt_is_prepared_once_for_all_steps(server: ControlNetServer, line: Line) -> None:
    ask(make_controlnets(line, spec("edge")))
    request = claim_next(server.steps, "edge").request
    with server.controlnets.use("edge") as controlnet:
        first = server.inputs.prepared(controlnet, request)
        line.redis.flushall()  # later steps fetch nothing
        later = request.model_copy(update={"step": 1})
        assert server.inputs.prepared(controlnet, later) is first


def test_the_branches_of_a_job_are_one_session(server: ControlNetServer, line: Line) -> None:
    for branch in ("cond", "uncond"):
        ask(make_controlnets(line, spec("edge")))
        step = claim_next(server.steps, "edge")
        of_branch = step.request.model_copy(update={"job_id": f"j.{branch}"})
        compute(server, [step._replace(request=of_branch)])
    assert server.recent_jobs.by_controlnet() == {"edge": ["j"]}


def residuals_of(line: Line, step: StepResiduals) -> list[tuple[StepResponse, Tensor]]:
    received = received_by(line.transport, step.request, 1.0)
    return [(response, residual) for response, residual in received if residual is not None]


def with_any_batch(line: Line) -> Line:
    """A line to servers for which no forward pass is too slow."""
    return make_line(line.redis, line.settings.model_copy(update={"controlnet_batch_delay": 1e9}))


def serve_once(server: ControlNetServer, controlnet: str = "edge") -> int:
    """Serve the oldest step; how many jobs were computed together."""
    with running(server.sender):
        return server.serve_next([controlnet])


def test_steps_of_different_jobs_share_a_forward_pass_and_keep_their_residuals(line: Line) -> None:
    line = with_any_batch(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1  # measured alone
    # Given two jobs whose latents, timesteps and scales differ
    jobs = [(X, 501, 1.0), (X.flip(0) * 0.5, 21, 0.3)]
    steps = [
        ask(make_controlnets(line, spec("edge", conditioning_scale=scale), alone=False), x=x, t=float(t))
        for x, t, scale in jobs
    ]
    assert serve_once(server) == 2
    # Then each job gets its own residuals, up to the rounding of float sums
    for (x, t, scale), step in zip(jobs, steps, strict=True):
        down, mid = by_diffusers(scale, x=x, t=t)
        received = residuals_of(line, step)
        assert len(received) == len(down) + 1
        for response, residual in received:
            theirs = mid if response.index == MID else down[response.index]
            assert response.batch == 2
            assert residual.shape == theirs.shape
            assert (residual - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_two_parts_of_one_job_never_share_a_forward_pass(line: Line) -> None:
    line = with_any_batch(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1  # measured alone
    ask(make_controlnets(line, spec("edge"), spec("edge", conditioning_scale=0.3), alone=False))
    assert serve_once(server) == 1


@pytest.mark.parametrize(
    "other", [{"alone": True}, {"alone": False, "rows": 4}], ids=["exact", "too many rows"]
)
def test_a_step_that_may_not_be_batched_or_does_not_fit_is_computed_alone(
    other: dict[str, Any], line: Line
) -> None:
    line = with_any_batch(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1
    ask(make_controlnets(line, spec("edge"), alone=False))
    step = ask(make_controlnets(line, spec("edge"), **other), x=X.repeat(other.get("rows", 2) // 2, 1, 1, 1))
    assert [serve_once(server), serve_once(server)] == [1, 1]
    assert {response.batch for response, _ in residuals_of(line, step)} == {1}


def test_small_jobs_are_batched_although_a_large_one_came_before_them(line: Line) -> None:
    line = with_any_batch(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    serve_once(server)
    large = make_controlnets(line, spec("edge"), alone=False, rows=16)
    ask(large, x=X.repeat(8, 1, 1, 1))
    small = [ask(make_controlnets(line, spec("edge"), alone=False)) for _ in range(2)]
    assert [serve_once(server), serve_once(server)] == [1, 2]
    assert all(residuals_of(line, step) for step in small)


def test_a_step_that_fails_in_a_batch_fails_alone(line: Line) -> None:
    line = with_any_batch(line)
    server = make_server(line, "edge")
    good = ask(make_controlnets(line, spec("edge"), alone=False))
    lost = make_controlnets(line, spec("edge"), alone=False)
    lost.session.input_keys = {"embeddings": "nowhere"}
    bad = ask(lost)
    compute(server, [claim_next(server.steps, "edge"), claim_next(server.steps, "edge")])
    assert {response.batch for response, _ in residuals_of(line, good)} == {1}
    [(response, residual)] = received_by(line.transport, bad.request, 1.0)
    assert (response.error, residual) == ("inputs_missing", None)


class Counting(UNetControlNet):
    """Counts its forward passes."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MODELS[name])
        self.forwards = 0

    def features(self, *args: Any) -> list[Tensor]:
        self.forwards += 1
        return super().features(*args)


def long_ago(step: ClaimedStep) -> ClaimedStep:
    """The step as if it had been claimed long before it can be computed."""
    return step._replace(claimed_at=0.0)


def test_a_step_is_not_computed_if_its_job_has_gone_on_since_the_claim(line: Line) -> None:
    controlnets, controlnet = make_controlnets(line, spec("edge")), Counting("edge")
    server = make_server(line, "edge", controlnets=ModelCache(lambda name: controlnet, DeviceMemory(1 << 30)))
    ask(controlnets)
    step = claim_next(server.steps, "edge")
    controlnets.close()
    compute(server, [long_ago(step)])
    assert controlnet.forwards == 0


def test_a_claimed_step_is_computed_also_if_it_was_sent_again(server: ControlNetServer, line: Line) -> None:
    # Given a step that is sent again because of another ControlNet, while this worker has claimed its part
    step = ask(make_controlnets(line, spec("edge"), spec("depth")))
    claimed = claim_next(server.steps, "edge")
    line.steps.send(step.request.model_copy(update={"retry": 1}), X)
    compute(server, [long_ago(claimed)])
    assert {tuple(response.positions) for response, _ in residuals_of(line, step)} == {(0,)}


def test_a_job_that_is_past_its_step_gets_no_residuals_of_a_shared_pass(line: Line) -> None:
    server = make_server(line, "edge")
    gone, kept = (make_controlnets(line, spec("edge"), alone=False) for _ in range(2))
    steps = [ask(controlnets) for controlnets in (gone, kept)]
    batch = [claim_next(server.steps, "edge"), claim_next(server.steps, "edge")]
    gone.close()
    compute(server, batch)
    assert received_by(line.transport, steps[0].request, 0.01) == []
    down, mid = by_diffusers(1.0)
    received = {response.index: residual for response, residual in residuals_of(line, steps[1])}
    assert torch.allclose(received[MID], mid, atol=1e-5)
    assert len(received) == len(down) + 1


class OneJob:
    """Turns of a worker that has a job while ``is_busy``."""

    def __init__(self) -> None:
        self.is_busy = False
        self.free = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        if self.is_busy:
            self.free.wait(0.01)
        return not self.is_busy

    @contextmanager
    def step(self) -> Iterator[bool]:
        yield not self.is_busy


def test_the_seconds_of_a_step_are_reported_while_a_job_that_came_after_it_computes(line: Line) -> None:
    # Given a step that was submitted and a job that has the device since
    device, turns, activity = FakeDevice(), OneJob(), DeviceActivity()
    controlnets = load_controlnets()
    load_all(controlnets, "edge")
    own = make_line(line.redis, line.settings, device)
    host = ServerHost(turns=turns, activity=activity)
    server = ControlNetServer(["edge"], controlnets, own.steps, own.transport, 0.0, host)
    ask(make_controlnets(line, spec("edge")))
    assert server.serve_next(["edge"]) == 1
    turns.is_busy = True
    submitted_s = activity.serve.spans(0.0)
    with serving(server, "unet2@test"):
        # When the device has computed it
        device.finish()
        # Then its seconds are known, though no step is served any more
        assert eventually(lambda: activity.serve.spans(0.0) != submitted_s)
        assert turns.is_busy


class Hangs(OneJob):
    """Turns of a device that never ends what it has begun."""

    def wait(self, timeout_s: float) -> bool:
        return self.free.wait()


def test_a_worker_that_stops_while_its_device_hangs_ends_with_the_watchdog(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, hangs = list[str](), Hangs()
    watchdog = Watchdog(600, end=ends.append)
    host = ServerHost(turns=hangs, watchdog=watchdog)
    own = make_line(line.redis, line.settings)
    server = ControlNetServer(["edge"], load_controlnets(), own.steps, own.transport, 0.0, host)
    with running(watchdog), serving(server, "unet2@test"):
        with monkeypatch.context() as patch:
            patch.setattr(module, "STOP_S", 0.2)
            server.stop()
        hangs.free.set()
    assert [end.startswith("a step of a ControlNet did not end") for end in ends] == [True]


@pytest.mark.parametrize("where", ["queue", "residuals"])
def test_a_worker_that_stops_while_redis_is_silent_is_not_taken_for_one_that_hangs(
    where: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, controlnets = list[str](), load_controlnets()
    with ExitStack() as stack:
        stack.enter_context(controlnets.use("edge"))
        proxy = stack.enter_context(proxied(line.settings.residual_redis_port))
        url = f"redis://127.0.0.1:{proxy.port}/0"
        changes = {"residual_redis_url": (url,), "shared_memory": "off", "controlnet_lease_s": 60.0}
        settings = line.settings.model_copy(update=changes)
        far = make_line(residual_servers(settings)[0], settings)
        end = far if where == "queue" else line
        # Given a server that waits for a step, or that sends residuals, over connections that are dead
        watchdog = stack.enter_context(running(Watchdog(600, end=ends.append)))
        steps, host = WatchedQueue(end.redis, end.settings), ServerHost(watchdog=watchdog)
        server = ControlNetServer(["edge"], controlnets, steps, far.transport, 0.0, host)
        stack.enter_context(serving(server, "unet2@test"))
        stack.callback(proxy.close)  # what waits goes on
        ask(make_controlnets(line, spec("edge"), residual_timeout_s=60.0)).get(MID)
        if where == "queue":
            assert eventually(lambda: steps.is_waiting)
        proxy.silence()
        if where == "residuals":
            ask(make_controlnets(line, spec("edge")))
            assert eventually(lambda: server.sender.waits_for_redis)
        # When it is told to stop, then it does not end as one whose device hangs
        with monkeypatch.context() as patch:
            patch.setattr(module, "STOP_S", 0.2)
            server.stop()
        assert ends == []


def test_a_step_is_submitted_while_the_device_computes_the_one_before(line: Line) -> None:
    # Given a device that has computed nothing yet, and steps of three jobs
    device = FakeDevice(now=itertools.count(100.0, 3.0).__next__)
    server = make_server(line, "edge", device=device)
    labels, name = {"controlnet": "edge"}, "swift_controlnet_step_duration_seconds_sum"
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    steps = [ask(make_controlnets(line, spec("edge"))) for _ in range(3)]
    # When two are served
    assert [server.serve_next(["edge"]) for _ in range(2)] == [1, 1]
    # Then both are submitted, nobody has waited for the device, and no time is known
    assert not [entry for entry in device.log if entry.startswith(("wait", "synchronize"))]
    assert (REGISTRY.get_sample_value(name, labels) or 0.0) == before
    # And a third is submitted once the first is computed: its time is that of the work
    assert server.serve_next(["edge"]) == 1
    assert len([entry for entry in device.log if entry.startswith("wait")]) == 1
    assert (REGISTRY.get_sample_value(name, labels) or 0.0) > before
    # And every job gets its residuals
    with running(server.sender):
        pass
    down, mid = by_diffusers(1.0)
    for step in steps:
        received = residuals_of(line, step)
        assert len(received) == len(down) + 1
        for response, residual in received:
            assert torch.equal(residual, mid if response.index == MID else down[response.index])
            assert response.start_s < response.end_s


def test_residuals_that_a_device_has_not_computed_yet_leave_as_one_message(line: Line) -> None:
    # Given a device that is behind what is submitted to it
    device = FakeDevice()
    device.ends_together = True
    server = make_server(line, "edge", device=device)
    step = ask(make_controlnets(line, spec("edge")))
    line.redis.config_resetstat()
    # When a step is served while the sender waits for residuals
    with running(server.sender):
        assert server.serve_next(["edge"]) == 1
    # Then all of them were published together
    assert line.redis.info("commandstats")["cmdstat_rpush"]["calls"] == 1
    assert len(residuals_of(line, step)) == 1 + len(MODELS["edge"].controlnet_down_blocks)


@pytest.mark.parametrize("precision", ["exact", "float16", "int8"])
def test_nothing_that_a_step_calls_waits_for_the_device(line: Line, precision: Precision) -> None:
    # Given a ControlNet worker and a UNet worker whose tensors nobody may read or copy but by the device
    device = MetaDevice()
    device.leave_cpu()
    on_device = UNetControlNet("edge", copy.deepcopy(MODELS["edge"]).to(META), "of no weights")
    controlnets = ModelCache(lambda name: on_device, DeviceMemory(1 << 40))
    server = make_server(line, "edge", controlnets=controlnets, device=device)
    reader = make_line(line.redis, line.settings, device).transport
    for jobs in (1, 2):  # the first prepares the inputs, too
        steps = [
            ask(make_controlnets(line, spec("edge"), alone=jobs == 1, precision=precision))
            for _ in range(jobs)
        ]
        step = steps[-1]
        # When a step is computed, alone or with another job's, and its residuals are sent and received
        claimed = [claim_next(server.steps, "edge") for _ in range(jobs)]
        with NoWaits(device):
            server.serve(claimed)
        with running(server.sender):
            pass
        with NoWaits(device):
            received = received_by(reader, step.request)
        # Then nothing waited but for copies that were submitted, and they arrived on the device
        assert [response.error for response, _ in received] == [None] * len(on_device.order)
        assert {tensor.device.type for _, tensor in received if tensor is not None} == {"meta"}


@pytest.mark.parametrize("shared_memory", ["auto", "off"])
def test_a_gpu_serves_steps_one_after_another_without_a_wait(
    shared_memory: str, line: Line, cuda: Device
) -> None:
    # Given a ControlNet on the GPU, and what it computes by itself for three steps
    line = make_line(line.redis, line.settings.model_copy(update={"shared_memory": shared_memory}), cuda)
    on_gpu = UNetControlNet("edge", copy.deepcopy(MODELS["edge"]).to(cuda.torch_device))
    server = make_server(
        line, "edge", controlnets=ModelCache(lambda name: on_gpu, DeviceMemory(1 << 40)), device=cuda
    )
    xs = [X * (1 + k) for k in range(3)]
    controlnets = [make_controlnets(line, spec("edge", conditioning_scale=0.5)) for _ in xs]
    wanted = []
    for client, x in zip(controlnets, xs, strict=True):
        embeddings = line.transport.get_input(client.session.input_keys["embeddings"])
        prepared = on_gpu.prepare({"embeddings": embeddings})
        image = line.transport.get_input(client.session.image_keys[0]).to(cuda.torch_device)
        t = torch.full((len(x),), 501.0, device=cuda.torch_device)
        forward = on_gpu.forward(x.to(cuda.torch_device), t, prepared, on_gpu.embed(image, len(x)))
        wanted.append({index: on_gpu.scale(one, index, 0.5, guess_mode=False) for index, one in forward})
    # When they are served while the sender sends, the later ones with torch's own guard
    steps = []
    with running(server.sender):
        for k, (client, x) in enumerate(zip(controlnets, xs, strict=True)):
            steps.append(ask(client, x=x))
            torch.cuda.set_sync_debug_mode("error" if k else "default")
            try:
                assert server.serve_next(["edge"]) == 1
            finally:
                torch.cuda.set_sync_debug_mode("default")
    # Then every residual arrives on the GPU with the same bits, and with the times of the device
    for step, expected in zip(steps, wanted, strict=True):
        received = []
        while len(received) < len(expected):
            received += received_by(line.transport, step.request)
        for response, residual in received:
            assert residual is not None
            assert torch.equal(residual, expected[response.index])
            assert response.start_s < response.end_s


class Hanging(UNetControlNet):
    """A ControlNet whose device hangs until ``released``."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MODELS[name])
        self.released = threading.Event()

    def features(self, *args: Any) -> list[Tensor]:
        self.released.wait()
        return super().features(*args)

    def embed(self, *args: Any) -> Tensor:
        self.released.wait()
        return super().embed(*args)


@pytest.mark.parametrize("where", ["step", "attachment"])
def test_a_device_that_hangs_ends_the_worker_and_frees_its_steps(where: str, line: Line) -> None:
    # Given a worker whose device does not return from a step, or from an attachment
    line = make_line(
        line.redis, line.settings.model_copy(update={"residual_timeout_s": 0.2, "controlnet_lease_s": 0.3})
    )
    controlnet, reasons = Hanging("edge"), queue.Queue[str]()
    watchdog = Watchdog(0.0, end=reasons.put)
    own = make_line(line.redis, line.settings)
    controlnets = ModelCache(lambda name: controlnet, DeviceMemory(1 << 30))
    server = ControlNetServer(
        ["edge"], controlnets, own.steps, own.transport, 0.0, ServerHost(watchdog=watchdog)
    )
    controlnets_of_job = make_controlnets(line, spec("edge"), residual_attempts=100)
    attach = AttachControlNet(
        job_id="job", attempt="a", controlnet="edge", image=controlnets_of_job.session.image_keys[0], batch=2
    )
    with ExitStack() as stack:
        stack.enter_context(running(watchdog))
        if where == "attachment":
            threading.Thread(target=server.attach, args=[attach], daemon=True).start()
        stack.enter_context(serving(server))
        stack.callback(controlnet.released.set)
        step = ask(controlnets_of_job)
        # Then the process would end, with this reason
        assert "a step of ControlNet 'edge' did not come back" in reasons.get(timeout=30)
        # And another worker computes what this one had claimed
        stack.enter_context(serving(make_server(line, "edge"), "controlnet2@test"))
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


class Failing(UNetControlNet):
    """Fails with ``error`` in forward passes of at least ``rows`` rows, so many times."""

    def __init__(self, error: Exception, rows: int = 1, times: int = 1000) -> None:
        super().__init__("edge", MODELS["edge"])
        self.batches: list[int] = []
        self._error, self._rows, self._times = error, rows, times

    def features(self, x: Tensor, *args: Any) -> list[Tensor]:
        self.batches.append(len(x))
        if len(x) >= self._rows and self._times:
            self._times -= 1
            raise self._error
        return super().features(x, *args)


def make_failing_server(line: Line, controlnet: UNetControlNet) -> tuple[ControlNetServer, DeviceLoss]:
    device = FakeDevice()
    loss = DeviceLoss(device, end=lambda why: None)
    controlnets = ModelCache(lambda name: controlnet, DeviceMemory(1 << 30, device))
    own = make_line(line.redis, line.settings)
    return ControlNetServer(
        ["edge"], controlnets, own.steps, own.transport, 1e9, ServerHost(device_loss=loss)
    ), loss


def test_a_step_whose_worker_could_not_reach_redis_is_computed_at_the_next_try(line: Line) -> None:
    controlnet = Failing(RedisError("the server is loading"), times=1)
    server, _ = make_failing_server(line, controlnet)
    step = ask(make_controlnets(line, spec("edge")))
    with serving(server):
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert controlnet.batches == [2, 2]


class WithoutBatches(StepQueue):
    """Redis does not answer when steps of other jobs are looked for."""

    def collect_batch(self, *args: Any) -> Any:
        """See `StepQueue`."""
        raise RedisError("no answer")


def test_a_claimed_step_is_computed_alone_if_redis_does_not_answer_for_others(line: Line) -> None:
    own = make_line(line.redis, line.settings)
    steps = WithoutBatches(line.redis, line.settings)
    server = ControlNetServer(["edge"], load_controlnets(), steps, own.transport, 1e9)
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1  # measured alone
    first, _ = (ask(make_controlnets(line, spec("edge"), alone=False)) for _ in range(2))
    assert serve_once(server) == 1
    assert residuals_of(line, first)


LOST = torch.AcceleratorError("CUDA error: device-side assert triggered")
FULL = torch.OutOfMemoryError("CUDA out of memory")


def test_a_lost_device_is_answered_for_every_job_and_computes_nothing_more(line: Line) -> None:
    controlnet = Failing(LOST)
    server, loss = make_failing_server(line, controlnet)
    steps = [ask(make_controlnets(line, spec("edge"), alone=False)) for _ in range(2)]
    compute(server, [claim_next(server.steps, "edge"), claim_next(server.steps, "edge")])
    for step in steps:
        [(response, residual)] = line.transport.receive(step.request, 1.0)
        assert (response.error, residual) == ("device_lost", None)
    assert controlnet.batches == [4]
    # Then a step that was taken already is answered, too, and not computed
    late = ask(make_controlnets(line, spec("edge")))
    compute(server, [claim_next(server.steps, "edge")])
    assert line.transport.receive(late.request, 1.0)[0][0].error == "device_lost"
    assert (controlnet.batches, loss.is_lost) == ([4], True)


def test_a_server_whose_device_is_lost_ends_and_another_computes_its_steps(line: Line) -> None:
    server, loss = make_failing_server(line, Failing(LOST))
    attach = AttachControlNet(job_id="job", attempt="a", controlnet="edge", image="image", batch=2)
    with serving(server):
        step = ask(make_controlnets(line, spec("edge"), residual_attempts=9))
        eventually(lambda: loss.is_lost)
        with serving(make_server(line, "edge"), "controlnet2@test"):
            assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
        with pytest.raises(DeviceLost):
            server.attach(attach)


def test_an_attachment_on_a_device_that_is_lost_says_so(line: Line) -> None:
    class LosesDevice(UNetControlNet):
        def embed(self, *args: Any) -> Tensor:
            raise LOST

    server, loss = make_failing_server(line, LosesDevice("edge", MODELS["edge"]))
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    with pytest.raises(DeviceLost):
        server.attach(AttachControlNet(job_id="j", attempt="a", controlnet="edge", image=key, batch=2))
    assert loss.is_lost


def test_a_batch_that_does_not_fit_is_computed_one_by_one_and_not_tried_again(line: Line) -> None:
    controlnet = Failing(FULL, rows=4)
    server, loss = make_failing_server(line, controlnet)
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1  # measured alone
    for served, batches in ((2, [2, 4, 2, 2]), (1, [2, 4, 2, 2, 2])):
        steps = [ask(make_controlnets(line, spec("edge"), alone=False)) for _ in range(2)]
        assert (serve_once(server), controlnet.batches) == (served, batches)
    assert {response.batch for step in steps[:1] for response, _ in residuals_of(line, step)} == {1}
    assert not loss.is_lost
    server.controlnets.memory.models.check()


def test_a_step_that_does_not_fit_is_tried_once_more_with_nothing_idle_on_the_device(line: Line) -> None:
    server, _ = make_failing_server(line, Failing(FULL, times=1))
    step = ask(make_controlnets(line, spec("edge")))
    compute(server, [claim_next(server.steps, "edge")])
    assert residuals_of(line, step)
    device = server.controlnets.memory.device
    assert isinstance(device, FakeDevice)
    assert "release cached" in device.log


def test_a_step_that_never_fits_is_answered_with_what_takes_the_memory(line: Line) -> None:
    controlnet = Failing(FULL)
    server, _ = make_failing_server(line, controlnet)
    step = ask(make_controlnets(line, spec("edge")))
    compute(server, [claim_next(server.steps, "edge")])
    [(response, residual)] = line.transport.receive(step.request, 1.0)
    assert (response.error, residual, controlnet.batches) == ("device_full", None, [2, 2])
    assert "no model is loaded" in response.detail
    server.controlnets.memory.models.check()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_step_is_asked_for_claimed_and_answered_in_few_calls(
    count: int, server: ControlNetServer, line: Line
) -> None:
    def run_step(controlnets: ControlNetClient, step: int) -> None:
        asked, received = ask(controlnets, step), 0
        assert server.serve_next(CONTROLNETS) == 1
        while received < 1 + len(MODELS["edge"].controlnet_down_blocks):
            received += len(received_by(line.transport, asked.request))

    def calls_of_step() -> dict[str, int]:
        controlnets = make_controlnets(line, *(spec(name) for name in CONTROLNETS[:count]))
        for warm_up in range(2):
            run_step(controlnets, warm_up)
        line.redis.config_resetstat()
        run_step(controlnets, 2)
        stats = line.redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): of_name["calls"] for name, of_name in stats.items()}
        sent = {name: number for name, number in calls.items() if name not in WITHIN_SCRIPTS}
        # The request is one call, and so is each claim; the serving worker's wait for a request is another
        waits = sent.pop("blmpop")
        headers = sent.pop("evalsha") - 1 - count
        # Residuals of so small a model are published as they are computed, all that are there in one message
        assert 1 <= waits <= headers <= 1 + len(MODELS["edge"].controlnet_down_blocks)
        # Whether the job is still at the step is asked where it may have waited: see `_drop_superseded`
        sent.pop("mget", 0)
        return sent

    # The server counts everybody's calls: those of a thread that another test has left may fall into a step
    with running(server.sender):
        counts = [calls_of_step() for _ in range(3)]
    assert {"blpop": 1, "lpop": 1, "config|resetstat": 1} in counts
