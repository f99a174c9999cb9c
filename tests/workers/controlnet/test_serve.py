"""A ControlNet worker's end: what it computes together, and for whom."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from shared.messages import Attach
from shared.settings import Settings
from tests.workers.unet.net_jobs import Line, ask, by_diffusers, make_line, make_nets, make_server, spec
from workers.controlnet.serve import Server
from workers.residuals.steps import Claimed


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


def take(server: Server, net: str) -> Claimed:
    ticket = server._steps.next([net])
    assert ticket is not None
    claimed = server._steps.claim(ticket)
    assert claimed is not None
    return claimed


@pytest.mark.parametrize("first", ["edge", "depth", "colour"])
def test_nets_of_a_job_on_one_worker_are_summed_before_they_travel(
    first: str, server: Server, line: Line
) -> None:
    names = ("edge", "depth", "colour")
    nets = make_nets(line, *(spec(name, conditioning_scale=0.7) for name in names))
    step = ask(nets)
    server.serve([take(server, first)])
    # Then one residual travels for three nets, and its bits are those of diffusers' sum
    answers = line.transport.receive(step._request, 1.0)
    down, mid = by_diffusers(0.7, 0.7, 0.7)
    assert [answer.positions for answer, _ in answers] == [[0, 1, 2]] * (len(down) + 1)
    assert [answer.index for answer, _ in answers] == [-1, *reversed(range(len(down)))]
    for answer, residual in answers:
        assert residual is not None
        assert torch.equal(residual, mid if answer.index == -1 else down[answer.index])
        assert set(answer.hashes) == {0, 1, 2}


def test_a_sum_never_begins_in_the_middle(server: Server, line: Line) -> None:
    # Given a job of three nets of which another worker has taken the first
    nets = make_nets(line, *(spec(name) for name in ("edge", "depth", "colour")))
    step = ask(nets)
    other = make_server(line, "edge")
    first = take(other, "edge")
    # When this worker computes the second and the third
    server.serve([take(server, "depth")])
    server.serve([take(server, "colour")])
    other.serve([first])
    # Then each travels alone, and the sum is diffusers' own
    positions = {tuple(answer.positions) for answer, _ in line.transport.receive(step._request, 1.0)}
    assert positions == {(0,), (1,), (2,)}


def test_a_net_that_is_not_loaded_is_left_to_others(line: Line) -> None:
    server = make_server(line, "edge")
    step = ask(make_nets(line, spec("edge"), spec("depth")))
    server.serve([take(server, "edge")])
    assert {tuple(answer.positions) for answer, _ in line.transport.receive(step._request, 1.0)} == {(0,)}
    assert line.steps.look(step._request, step._request.parts[1]) == "queued"


def test_an_attachment_embeds_the_control_image_before_the_first_step(server: Server, line: Line) -> None:
    key = line.transport.put_input(torch.rand(1, 3, 64, 64))
    server.attach(Attach(job_id="j", attempt="a", net="depth", image=key, batch=2))
    line.redis.flushall()  # what is embedded needs no image any more
    with server._nets.use("depth") as net:
        assert server._inputs.embedded(net, key, 2).shape == (2, 32, 16, 16)
    assert server.sessions.by_net() == {"depth": ["j"]}
