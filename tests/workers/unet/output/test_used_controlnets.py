"""One image has one set of weights of each ControlNet, whoever computes its steps."""

import copy

import pytest
import torch
from redis import Redis

from shared.errors import ControlNetChanged
from shared.settings import Settings
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    ControlNetJob,
    Line,
    ask,
    by_diffusers,
    make_job,
    make_line,
    make_server,
    results,
    spec,
)
from workers.controlnet_serving.server import ControlNetServer
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def make_changed(line: Line) -> ControlNetServer:
    """A worker that holds other weights under the name ``edge``."""
    model = copy.deepcopy(MODELS["edge"])
    model.conv_in.bias.data += 1.0
    cache = ModelCache(lambda name: UNetControlNet(name, model), DeviceMemory(1 << 30), lambda name: 1)
    return make_server(line, "edge", controlnets=cache)


def first_residual(job: ControlNetJob, server: ControlNetServer, step: int) -> torch.Tensor:
    """The first residual of a step that ``server`` is free to serve."""
    asked = ask(job.client, step)
    queued = server.steps.pop(["edge"])
    assert queued is not None
    claimed = server.steps.claim(queued)
    assert claimed is not None
    server.sender.start()
    server.serve([claimed])
    server.sender.stop()
    return asked.get(MID)


def test_two_workers_with_different_weights_do_not_compute_one_image(line: Line) -> None:
    job, server, changed = make_job(line, spec("edge")), make_server(line, "edge"), make_changed(line)
    first_residual(job, server, 0)
    with pytest.raises(ControlNetChanged, match="'edge' has other weights on"):
        first_residual(job, changed, 1)


def test_a_requester_that_holds_the_weights_of_the_steps_before_computes_itself(line: Line) -> None:
    job, server, changed = (
        make_job(line, spec("edge"), local=True),
        make_server(line, "edge"),
        make_changed(line),
    )
    first_residual(job, server, 0)
    with job.worker.controlnets.use("edge"):
        pass
    before = results("edge", "requester")
    assert torch.equal(first_residual(job, changed, 1), by_diffusers(1.0)[1])
    assert results("edge", "requester") == before + 1


def test_a_successor_does_not_go_on_with_other_weights(line: Line) -> None:
    first, successor = (make_job(line, spec("edge")) for _ in range(2))
    server, changed = make_server(line, "edge"), make_changed(line)
    first_residual(first, server, 0)
    successor.context.used_controlnets.go_on(first.context.used_controlnets.receipts)
    with pytest.raises(ControlNetChanged):
        first_residual(successor, changed, 1)
