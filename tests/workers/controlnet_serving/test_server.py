"""A ControlNet worker's end: what it computes together, and for whom."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.messaging.messages import AttachControlNet
from shared.settings import Settings
from tests.workers.unet.controlnet_jobs import (
    MODELS,
    Line,
    X,
    ask,
    by_diffusers,
    compute,
    make_controlnets,
    make_line,
    make_server,
    spec,
)
from workers.controlnet_serving import server as server_module
from workers.controlnet_serving.server import Server
from workers.families.unet_controlnet import ControlNet
from workers.runtime.model_cache import DeviceMemory, ModelCache
from workers.runtime.watchdog import Watchdog
from workers.transport.protocol import MID, StepResponse
from workers.transport.step_queue import ClaimedStep
from workers.unet.controlnet.step_residuals import StepResiduals


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


@pytest.fixture
def server(line: Line) -> Iterator[Server]:
    """A worker that computes when it is told to."""
    server = make_server(line, "edge", "depth", "colour")
    server._worker = "controlnet1@test"
    return server


def take(server: Server, controlnet: str) -> ClaimedStep:
    ticket = server._steps.pop([controlnet])
    assert ticket is not None
    claimed = server._steps.claim(ticket)
    assert claimed is not None
    return claimed


@pytest.mark.parametrize("first", ["edge", "depth", "colour"])
def test_controlnets_of_a_job_on_one_worker_are_summed_before_they_travel(
    first: str, server: Server, line: Line
) -> None:
    names = ("edge", "depth", "colour")
    controlnets = make_controlnets(line, *(spec(name, conditioning_scale=0.7) for name in names))
    step = ask(controlnets)
    compute(server, [take(server, first)])
    # Then one residual travels for three ControlNets, and its bits are those of diffusers' sum
    answers = line.transport.receive(step._request, 1.0)
    down, mid = by_diffusers(0.7, 0.7, 0.7)
    assert [answer.positions for answer, _ in answers] == [[0, 1, 2]] * (len(down) + 1)
    assert [answer.index for answer, _ in answers] == [-1, *reversed(range(len(down)))]
    for answer, residual in answers:
        assert residual is not None
        assert torch.equal(residual, mid if answer.index == -1 else down[answer.index])
        assert set(answer.hashes) == {0, 1, 2}


def test_a_sum_never_begins_in_the_middle(server: Server, line: Line) -> None:
    # Given a job of three ControlNets of which another worker has taken the first
    controlnets = make_controlnets(line, *(spec(name) for name in ("edge", "depth", "colour")))
    step = ask(controlnets)
    other = make_server(line, "edge")
    first = take(other, "edge")
    # When this worker computes the second and the third
    compute(server, [take(server, "depth")])
    compute(server, [take(server, "colour")])
    compute(other, [first])
    # Then each travels alone, and the sum is diffusers' own
    positions = {tuple(answer.positions) for answer, _ in line.transport.receive(step._request, 1.0)}
    assert positions == {(0,), (1,), (2,)}


def test_a_controlnet_that_is_not_loaded_is_left_to_others(line: Line) -> None:
    server = make_server(line, "edge")
    step = ask(make_controlnets(line, spec("edge"), spec("depth")))
    compute(server, [take(server, "edge")])
    assert {tuple(answer.positions) for answer, _ in line.transport.receive(step._request, 1.0)} == {(0,)}
    assert line.steps.locate(step._request, step._request.parts[1]) == "unserved"


def test_an_attachment_embeds_the_control_image_before_the_first_step(server: Server, line: Line) -> None:
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    server.attach(AttachControlNet(job_id="j", attempt="a", controlnet="depth", image=key, batch=2))
    line.redis.flushall()  # what is embedded needs no image any more
    with server._controlnets.use("depth") as controlnet:
        assert server._inputs.embedded(controlnet, key, 2).shape == (2, 32, 16, 16)
    assert server.sessions.by_controlnet() == {"depth": ["j"]}


def test_what_a_prompt_becomes_in_a_controlnet_is_made_once(server: Server, line: Line) -> None:
    ask(make_controlnets(line, spec("edge")))
    request = take(server, "edge").request
    with server._controlnets.use("edge") as controlnet:
        first = server._inputs.prepared(controlnet, request)
        line.redis.flushall()  # the steps that follow fetch nothing
        later = request.model_copy(update={"step": 1})
        assert server._inputs.prepared(controlnet, later) is first


def test_the_halves_of_a_job_are_one_session(server: Server, line: Line) -> None:
    for half in ("cond", "uncond"):
        ask(make_controlnets(line, spec("edge")))
        work = take(server, "edge")
        of_half = work.request.model_copy(update={"job_id": f"j.{half}"})
        compute(server, [work._replace(request=of_half)])
    assert server.sessions.by_controlnet() == {"edge": ["j"]}


def answers_of(line: Line, step: StepResiduals) -> list[tuple[StepResponse, Tensor]]:
    received = line.transport.receive(step._request, 1.0)
    return [(answer, residual) for answer, residual in received if residual is not None]


def patient(line: Line) -> Line:
    """A line to workers for which no pass is too slow."""
    return make_line(line.redis, line.settings.model_copy(update={"controlnet_batch_delay": 1e9}))


def serve_once(server: Server, controlnet: str = "edge") -> int:
    """One turn of the loop; how many jobs it computed together."""
    work = take(server, controlnet)
    works = [work, *server.gather(work)]
    compute(server, works)
    return len(works)


def test_steps_of_different_jobs_are_computed_in_one_pass_within_a_bound(line: Line) -> None:
    line = patient(line)
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
    # Then each gets its own, of its own shape, to the rounding of the sums
    for (x, t, scale), step in zip(jobs, steps, strict=True):
        down, mid = by_diffusers(scale, x=x, t=t)
        received = answers_of(line, step)
        assert len(received) == len(down) + 1
        for answer, residual in received:
            theirs = mid if answer.index == MID else down[answer.index]
            assert answer.batch == 2
            assert residual.shape == theirs.shape
            assert (residual - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_a_job_that_names_a_controlnet_twice_is_no_company_for_itself(line: Line) -> None:
    line = patient(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1  # measured alone
    ask(make_controlnets(line, spec("edge"), spec("edge", conditioning_scale=0.3), alone=False))
    assert serve_once(server) == 1


@pytest.mark.parametrize(
    "other", [{"alone": True}, {"alone": False, "rows": 4}], ids=["exact", "more rows than are welcome"]
)
def test_what_must_not_or_does_not_fit_is_computed_alone(other: dict[str, Any], line: Line) -> None:
    line = patient(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    assert serve_once(server) == 1
    ask(make_controlnets(line, spec("edge"), alone=False))
    step = ask(make_controlnets(line, spec("edge"), **other), x=X.repeat(other.get("rows", 2) // 2, 1, 1, 1))
    assert [serve_once(server), serve_once(server)] == [1, 1]
    assert {answer.batch for answer, _ in answers_of(line, step)} == {1}


def test_a_large_job_of_one_pass_does_not_keep_small_ones_out_of_the_next(line: Line) -> None:
    line = patient(line)
    server = make_server(line, "edge")
    ask(make_controlnets(line, spec("edge"), alone=False))
    serve_once(server)
    large = make_controlnets(line, spec("edge"), alone=False, rows=16)
    ask(large, x=X.repeat(8, 1, 1, 1))
    small = [ask(make_controlnets(line, spec("edge"), alone=False)) for _ in range(2)]
    assert [serve_once(server), serve_once(server)] == [1, 2]
    assert all(answers_of(line, step) for step in small)


def test_a_step_that_fails_in_company_is_nobody_elses_failure(line: Line) -> None:
    line = patient(line)
    server = make_server(line, "edge")
    good = ask(make_controlnets(line, spec("edge"), alone=False))
    lost = make_controlnets(line, spec("edge"), alone=False)
    lost.session.input_keys = {"embeddings": "nowhere"}
    bad = ask(lost)
    compute(server, [take(server, "edge"), take(server, "edge")])
    assert {answer.batch for answer, _ in answers_of(line, good)} == {1}
    [(answer, residual)] = line.transport.receive(bad._request, 1.0)
    assert (answer.error, residual) == ("inputs_missing", None)


class Watched(ControlNet):
    """Counts what is computed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MODELS[name])
        self.trunks = 0

    def trunk(self, *args: Any) -> list[Tensor]:
        self.trunks += 1
        return super().trunk(*args)


def test_a_step_is_not_begun_if_its_job_has_moved_on_since_the_claim(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CURRENT_STEP_CACHE_S", 0.0)
    controlnets, controlnet = make_controlnets(line, spec("edge")), Watched("edge")
    server = make_server(line, "edge", controlnets=ModelCache(lambda name: controlnet, DeviceMemory(1 << 30)))
    ask(controlnets)
    work = take(server, "edge")
    controlnets.close()
    compute(server, [work])
    assert controlnet.trunks == 0


def test_a_step_that_is_asked_for_again_is_still_worth_computing(
    server: Server, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a step that is sent again for the sake of another ControlNet, while this worker holds its part
    monkeypatch.setattr(server_module, "CURRENT_STEP_CACHE_S", 0.0)
    step = ask(make_controlnets(line, spec("edge"), spec("depth")))
    work = take(server, "edge")
    line.steps.send(step._request.model_copy(update={"retry": 1}), X)
    compute(server, [work])
    assert {tuple(answer.positions) for answer, _ in answers_of(line, step)} == {(0,)}


def test_a_job_that_has_moved_on_gets_no_residuals_of_a_shared_pass(line: Line) -> None:
    server = make_server(line, "edge")
    gone, kept = (make_controlnets(line, spec("edge"), alone=False) for _ in range(2))
    steps = [ask(controlnets) for controlnets in (gone, kept)]
    works = [take(server, "edge"), take(server, "edge")]
    gone.close()
    compute(server, works)
    assert line.transport.receive(steps[0]._request, 0.01) == []
    down, mid = by_diffusers(1.0)
    received = {answer.index: residual for answer, residual in answers_of(line, steps[1])}
    assert torch.allclose(received[MID], mid, atol=1e-5)
    assert len(received) == len(down) + 1


class Hanging(ControlNet):
    """A ControlNet whose device comes back only when ``released``."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MODELS[name])
        self.released = threading.Event()

    def trunk(self, *args: Any) -> list[Tensor]:
        self.released.wait()
        return super().trunk(*args)

    def embed(self, *args: Any) -> Tensor:
        self.released.wait()
        return super().embed(*args)


@pytest.mark.parametrize("where", ["step", "attachment"])
def test_a_device_that_hangs_ends_the_worker_and_keeps_no_step(where: str, line: Line) -> None:
    # Given a worker in whose device a step, or an attachment, does not come back
    line = make_line(
        line.redis, line.settings.model_copy(update={"residual_wait_s": 0.2, "controlnet_lease_s": 0.3})
    )
    controlnet, whys = Hanging("edge"), queue.Queue[str]()
    watchdog = Watchdog(0.0, end=whys.put)
    own = make_line(line.redis, line.settings)
    controlnets = ModelCache(lambda name: controlnet, DeviceMemory(1 << 30))
    server = Server(["edge"], controlnets, own.steps, own.transport, 0.0, watchdog)
    asked = make_controlnets(line, spec("edge"), residual_sends=9)
    watchdog.start()
    if where == "attachment":
        attach = AttachControlNet(
            job_id="job", attempt="a", controlnet="edge", image=asked.session.image_keys[0], batch=2
        )
        threading.Thread(target=server.attach, args=[attach], daemon=True).start()
    server.start("controlnet1@test")
    step = ask(asked)
    # Then the process would end, and says why
    assert "a step of ControlNet 'edge' did not come back" in whys.get(timeout=30)
    # And another worker gets what this one had claimed
    other = make_server(line, "edge")
    other.start("controlnet2@test")
    assert torch.equal(step.mid(), by_diffusers(1.0)[1])
    controlnet.released.set()
    other.stop()
    server.stop()
    watchdog.stop()
