"""A job's ControlNets as the UNet worker uses them, over a real residual Redis and a real server thread."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import pytest
import torch
from redis import Redis

from infra.bench.harness.ports import free_ports
from shared.errors import ControlNetFailed, JobCancelled, ResidualTimeout
from shared.redis_clients import residual_servers, without_retries
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.running import serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    Line,
    X,
    ask,
    by_diffusers,
    claim_next,
    make_controlnets,
    make_job,
    make_line,
    make_server,
    spec,
)
from workers.controlnet_serving.server import ControlNetServer
from workers.transport.keys import responses_key
from workers.transport.pixels import quotients
from workers.transport.protocol import StepResponse
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.transport.wire import pack_bytes
from workers.unet.controlnet.call_monitor import CallMonitor, Decision


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


@pytest.fixture
def server(line: Line) -> Iterator[ControlNetServer]:
    with serving(make_server(line, "edge", "depth", "colour")) as server:
        yield server


@pytest.mark.parametrize("shared_memory", ["auto", "off"])
@pytest.mark.parametrize("scales", [(0.8,), (0.8, 0.5), (0.8, 0.5, 0.3)])
def test_residuals_are_summed_as_diffusers_sums_them_over_both_backends(
    scales: tuple[float, ...], shared_memory: str, server: ControlNetServer, line: Line
) -> None:
    names = ("edge", "depth", "colour")[: len(scales)]
    line = make_line(line.redis, line.settings.model_copy(update={"shared_memory": shared_memory}))
    controlnets, context, _ = make_job(
        line, *(spec(name, conditioning_scale=scale) for name, scale in zip(names, scales, strict=True))
    )
    step = ask(controlnets)
    down, mid = by_diffusers(*scales)
    assert torch.equal(step.get(MID), mid)
    for index in reversed(range(len(down))):
        assert torch.equal(step.get(index), down[index])
    step.finish()
    assert "controlnet1@test" in {span.worker for span in context.timeline.spans}
    assert set(controlnets.used) == set(range(len(scales)))


def test_a_control_image_of_8_bits_is_stored_as_bytes_also_a_second_time(line: Line) -> None:
    session = make_controlnets(line, spec("edge"), spec("depth")).session
    session.publish_images([quotients()[torch.arange(256).view(1, 1, 16, 16)], torch.rand(1, 3, 16, 16)])
    for _ in range(2):
        stored = [line.transport.get_input(key).dtype for key in session.image_keys]
        assert stored == [torch.uint8, torch.float32]
        line.redis.flushall()
        session.publish_again()


def test_a_controlnet_is_requested_only_between_its_start_and_end(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge", guidance_start=0.25, guidance_end=0.75))
    asked = [bool(controlnets.calls(i, 4)) for i in range(4)]
    assert asked == [False, True, True, False]


def test_the_time_to_the_first_residual_is_on_the_timeline(server: ControlNetServer, line: Line) -> None:
    controlnets, context, _ = make_job(line, spec("edge"))
    for i in range(2):
        ask(controlnets, i).get(MID)
    assert [span.name for span in context.timeline.spans].count("wait for the first of edge") == 1


def test_inputs_that_the_server_lost_are_published_again(server: ControlNetServer, line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    line.redis.flushall()
    assert torch.equal(ask(controlnets).get(MID), by_diffusers(1.0)[1])


def test_a_step_that_the_server_lost_is_sent_again(line: Line) -> None:
    # Given a step that was sent when nobody held the ControlNet
    controlnets = make_controlnets(line, spec("edge"))
    step = ask(controlnets)
    # When the residual Redis loses everything, and a worker comes
    line.redis.flushall()
    with serving(make_server(line, "edge")):
        # Then the step is computed all the same
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_residual_server_that_has_lost_a_step_is_noticed_at_the_first_check(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    step = ask(controlnets)
    [part] = step.request.parts
    monitor = CallMonitor(controlnets.session)
    assert monitor.decide(step.request, part) is Decision.WAIT
    line.redis.flushall()
    assert monitor.decide(step.request, part) is Decision.REQUEST_AGAIN


def test_a_worker_that_died_with_the_step_costs_one_lease(line: Line) -> None:
    short = make_line(line.redis, line.settings.model_copy(update={"controlnet_lease_s": 0.2}))
    controlnets = make_controlnets(short, spec("edge"), residual_timeout_s=60.0, residual_attempts=9)
    step = ask(controlnets)
    claim_next(short.steps, "edge")  # a worker claimed it and died
    with serving(make_server(short, "edge"), "controlnet2@test"):
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_without_any_worker_the_attempt_ends_with_a_reason(line: Line) -> None:
    step = ask(make_controlnets(line, spec("nobody"), residual_timeout_s=0.05), 3)
    with pytest.raises(ResidualTimeout, match=r"'nobody'.*step 3"):
        step.get(MID)


def test_a_controlnet_that_nobody_serves_is_computed_here_bit_by_bit(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a job of three ControlNets, of which a living worker serves the middle one
    specs = [spec(name, conditioning_scale=0.7) for name in ("edge", "depth", "colour")]
    controlnets, context, _ = make_job(line, *specs, local=True, residual_timeout_s=60.0)
    down, mid = by_diffusers(0.7, 0.7, 0.7)
    caplog.set_level("INFO")
    with serving(make_server(line, "depth")):
        for i in range(2):  # the second time without waiting
            step = ask(controlnets, i)
            assert torch.equal(step.get(MID), mid)
            assert all(torch.equal(step.get(j), down[j]) for j in reversed(range(len(down))))
            step.finish()
    workers = {span.name: span.worker for span in context.timeline.spans}
    assert workers["controlnet edge"] == workers["controlnet colour"] == "unet1@test"
    assert set(controlnets.used) == {0, 1, 2}
    # And the log names each of them once, not at each step; the other one, if its worker was slow
    said = [record for record in caplog.records if record.message == "ControlNet is loaded"]
    named = [record.__dict__["controlnet"] for record in said]
    assert {"colour", "edge"} <= set(named)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("positions", [[], [7], [0, 7]])
def test_a_response_of_a_controlnet_that_was_not_requested_is_dropped(
    positions: list[int], server: ControlNetServer, line: Line
) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    step = ask(controlnets)
    stray = StepResponse(index=MID, positions=positions, retry=0, start_s=0, end_s=0, worker="", error="none")
    line.redis.lpush(responses_key(step.request), pack_bytes(stray.model_dump()))
    assert torch.equal(step.get(MID), by_diffusers(1.0)[1])


def test_a_step_of_a_busy_controlnet_waits_in_the_queue(line: Line) -> None:
    # Given a worker that lives and is busy with another job's step for longer than a step may wait
    server = make_server(line, "edge")
    controlnets = make_controlnets(line, spec("edge"), residual_timeout_s=0.1, residual_attempts=1)
    server.steps.renew(["edge"])
    step = ask(controlnets)
    with ThreadPoolExecutor(1) as waiting:
        residual = waiting.submit(step.get, MID)
        with pytest.raises(TimeoutError):
            residual.result(0.8)
        # Then the step is still computed
        with serving(server):
            assert torch.equal(residual.result(), by_diffusers(1.0)[1])


def test_a_worker_that_comes_back_is_used_again(line: Line) -> None:
    # Given a step that was computed here, as nobody served it
    controlnets, context, _ = make_job(line, spec("edge"), local=True, residual_timeout_s=60.0)
    first = ask(controlnets)
    first.get(MID)
    # When a worker has already taken the next step
    step = ask(controlnets, 1)
    with serving(make_server(line, "edge")):
        assert eventually(lambda: not line.steps.find_unclaimed(step.request, step.request.parts))
        # Then its residuals are used
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    for asked in (first, step):
        asked.finish()
    spans = [span.worker for span in context.timeline.spans if span.name == "controlnet edge"]
    assert spans == ["unet1@test", "controlnet1@test"]


def test_a_job_outlives_its_residual_server(line: Line) -> None:
    controlnets, _, worker = make_job(line, spec("edge"), local=True, residual_timeout_s=0.2)
    [port] = free_ports(1)
    url = {"residual_redis_url": (f"redis://127.0.0.1:{port}/0",)}
    gone = without_retries(residual_servers(line.settings.model_copy(update=url))[0])
    worker.steps, worker.transport = StepQueue(gone, line.settings), ResidualTransport([gone], line.settings)
    assert torch.equal(ask(controlnets).get(MID), by_diffusers(1.0)[1])


def test_a_step_that_cannot_be_computed_fails_with_the_workers_reason(
    server: ControlNetServer, line: Line
) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    with pytest.raises(ControlNetFailed, match=r"controlnet1@test.*channels"):
        ask(controlnets, x=X[:, :3]).get(MID)
    # And the worker goes on with the next.
    assert torch.equal(ask(controlnets, 1).get(MID), by_diffusers(1.0)[1])


@pytest.mark.parametrize("local", [False, True])
def test_a_first_controlnet_with_global_pooling_needs_guess_mode(local: bool, line: Line) -> None:
    # Given ControlNets of which the web could not know that they pool
    wait = {"residual_timeout_s": 0.2 if local else 60.0}  # nobody serves them, or somebody does
    with nullcontext() if local else serving(make_server(line, "edge", "pooled")):
        first = make_controlnets(line, spec("pooled"), spec("edge"), local=local, **wait)
        with pytest.raises(ControlNetFailed, match=r"'pooled' .*guess_mode"):
            ask(first).get(MID)
        # Then a later one that pools does no more than that
        second = make_controlnets(line, spec("edge"), spec("pooled"), local=local, **wait)
        expected = by_diffusers(1.0, 1.0, models=("edge", "pooled"))[1]
        assert torch.equal(ask(second).get(MID), expected)


def test_a_cancelled_job_does_not_wait_for_its_residuals(line: Line) -> None:
    def cancelled() -> None:
        raise JobCancelled("the job was cancelled")

    controlnets = make_controlnets(line, spec("nobody"), check=cancelled)
    with pytest.raises(JobCancelled):
        ask(controlnets).get(MID)


def test_steps_of_many_jobs_are_served_at_once(server: ControlNetServer, line: Line) -> None:
    mid = by_diffusers(1.0)[1]
    equal: list[bool] = []

    def work() -> None:
        controlnets = make_controlnets(line, spec("edge"))
        for i in range(3):
            equal.append(torch.equal(ask(controlnets, i).get(MID), mid))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert equal == [True] * 12
    assert len(server.recent_jobs.jobs()) >= 4


def test_jobs_of_two_controlnets_on_two_workers_never_deadlock(
    line: Line,
) -> None:
    # Given eight clients whose jobs want the same two ControlNets, in one order or in the other
    mids = {
        names: by_diffusers(1.0, 1.0, models=names)[1] for names in (("edge", "depth"), ("depth", "edge"))
    }

    def run(i: int) -> bool:
        names = ("edge", "depth") if i % 2 else ("depth", "edge")
        controlnets = make_controlnets(line, *map(spec, names), residual_timeout_s=60.0)
        equal = [torch.equal(ask(controlnets, step, 2).get(MID), mids[names]) for step in range(2)]
        controlnets.close()
        return all(equal)

    with ExitStack() as stack:
        for i in range(2):
            stack.enter_context(serving(make_server(line, "edge", "depth"), f"controlnet{i}@test"))
        clients = stack.enter_context(ThreadPoolExecutor(8))
        assert all(clients.map(run, range(12)))
    left = [key for key in line.redis.scan_iter("*") if b"job" in key and b"responses" not in key]
    assert left == []


def test_every_key_of_a_step_expires(server: ControlNetServer, line: Line) -> None:
    ask(make_controlnets(line, spec("edge"))).get(MID)
    left = list(line.redis.scan_iter("*"))
    assert left
    assert [key for key in left if line.redis.pttl(key) < 0 and line.redis.exists(key)] == []
