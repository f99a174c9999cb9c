"""One image has one set of weights of each ControlNet, whoever computes its steps."""

import copy

import pytest
import torch
from redis import Redis

from shared.errors import ControlNetChanged, ReceiptMismatch
from shared.jobs.receipt import ControlNetReceipt, Receipt, WorkerReceipt
from shared.settings import Settings
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
    load_all,
    make_job,
    make_line,
    make_loaded_job,
    make_server,
    results,
    spec,
)
from tests.workers.unet.specs import spec as job_spec
from workers.controlnet_serving.server import ControlNetServer
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.output.replay import Replay


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def changed_controlnets() -> ModelCache[UNetControlNet]:
    """Other weights under the name ``edge``."""
    model = copy.deepcopy(MODELS["edge"])
    model.conv_in.bias.data += 1.0
    return ModelCache(lambda name: UNetControlNet(name, model), DeviceMemory(1 << 30), lambda name: 1)


def make_changed(line: Line) -> ControlNetServer:
    """A worker that holds other weights under the name ``edge``."""
    return make_server(line, "edge", controlnets=changed_controlnets())


def first_residual(job: ControlNetJob, server: ControlNetServer, step: int) -> torch.Tensor:
    """The first residual of a step that ``server`` is free to serve."""
    asked = ask(job.client, step)
    compute(server, [claim_next(server.steps, "edge")])
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
    load_all(job.worker.controlnets, "edge")
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


def make_mixed(line: Line, **changes: float) -> ControlNetJob:
    """A job whose first step another worker has computed, and whose worker has then loaded other weights."""
    job = make_job(line, spec("edge"), local=True, controlnets=changed_controlnets(), **changes)
    first_residual(job, make_server(line, "edge"), 0)
    load_all(job.worker.controlnets, "edge")
    return job


def test_a_requester_with_other_weights_leaves_all_steps_to_the_worker_of_the_first(line: Line) -> None:
    job, server = make_mixed(line), make_server(line, "edge")
    before = results("edge", "requester"), results("edge", "local")
    with serving(server):
        for step, served in enumerate((None, []), start=1):
            job.worker.other_workers.served = served
            asked = ask(job.client, step)
            assert asked.request.held == []
            assert torch.equal(asked.get(MID), by_diffusers(1.0)[1])
    assert (results("edge", "requester"), results("edge", "local")) == before


def test_a_job_begins_anew_if_only_its_requester_is_left_with_other_weights(line: Line) -> None:
    short_s = {"residual_timeout_s": 0.3}  # after as long a helper that is gone serves no more
    short = make_line(line.redis, line.settings.model_copy(update=short_s))
    job = make_mixed(short, **short_s)
    with pytest.raises(ControlNetChanged, match="this worker has other weights"):
        ask(job.client, 1).get(MID)


def replayed(sha256: str) -> Replay:
    """Of a receipt whose ControlNet had these weights."""
    worker = WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={}, engine="eager")
    used = ControlNetReceipt(name="edge", sha256=sha256)
    return Replay(
        Receipt(
            spec=job_spec(controlnets=[spec("edge")]),
            model_sha256="",
            scheduler_config={},
            controlnets=[used],
            loras=[],
            worker=worker,
        )
    )


def test_a_requester_that_holds_the_weights_of_the_receipt_computes_itself(line: Line) -> None:
    replay = replayed(UNetControlNet("edge", MODELS["edge"]).sha256)
    job, changed = make_loaded_job(line, spec("edge"), replay=replay), make_changed(line)
    before = results("edge", "requester")
    assert torch.equal(first_residual(job, changed, 0), by_diffusers(1.0)[1])
    assert results("edge", "requester") == before + 1
    # And one that has no weights, or other ones, refuses the job
    with pytest.raises(ReceiptMismatch):
        first_residual(make_job(line, spec("edge"), replay=replay), changed, 0)
    mixed = make_loaded_job(line, spec("edge"), replay=replay, controlnets=changed_controlnets())
    with pytest.raises(ReceiptMismatch):
        first_residual(mixed, changed, 0)
