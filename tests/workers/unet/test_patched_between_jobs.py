"""Patches that a job leaves in the weights serve the next job that uses them, and reach no other."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import ControlNetFailed, WorkerStopping
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.keys import LOCAL
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from tests.workers.unet.test_job import by_diffusers, control, pixels, run, upload
from workers.families.base import BaseModel
from workers.runtime.model_cache import ModelCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
EXACT = LoraLoading(mode="exact")
OUTLINE = EMOJI / "loras" / "outline.safetensors"  # trains the text encoder too
TWEMOJI = EMOJI / "loras" / "twemoji.safetensors"


@pytest.fixture(autouse=True)
def emoji(models: ModelCache[BaseModel]) -> Iterator[BaseModel]:
    """The embedded model, as if no job had been before."""
    with models.use("emoji-sd") as model:
        model.patcher.restore()
        yield model
        model.patcher.restore()


def writes(job: Job) -> list[str]:
    """The spans of a job in which weights were written."""
    return [span.name for span in job.timeline if span.name.partition(" ")[0] in ("patch", "unpatch")]


@pytest.mark.parametrize("loading", [EXACT, LoraLoading()], ids=["exact", "bounded"])
def test_a_job_that_uses_what_is_patched_already_writes_no_weights(
    make_worker: MakeWorker, loading: LoraLoading
) -> None:
    worker = make_worker()
    ref = upload(worker, OUTLINE)
    first = run(worker, spec(loras=[ref], lora_loading=EXACT))
    again = run(worker, spec(loras=[ref], lora_loading=loading))
    assert writes(first) == [f"patch {ref.name}"]
    assert writes(again) == []
    assert again.receipt is not None
    assert [lora.step for lora in again.receipt.loras] == [0]
    assert np.array_equal(pixels(worker, again), pixels(worker, first))


def test_a_job_without_loras_removes_earlier_patches_and_equals_diffusers(
    make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    worker = make_worker()
    run(worker, spec(loras=[upload(worker, OUTLINE)], lora_loading=EXACT))
    plain = run(worker, spec())
    assert writes(plain) == ["unpatch"]
    assert np.array_equal(pixels(worker, plain), by_diffusers(models, controlnets, spec())[0])


def test_another_lora_replaces_an_earlier_patch_in_one_pass(make_worker: MakeWorker) -> None:
    worker = make_worker()
    wanted = spec(loras=[upload(worker, TWEMOJI, 0.8)], lora_loading=EXACT)
    alone = run(worker, wanted)
    run(worker, spec(loras=[upload(worker, OUTLINE)], lora_loading=EXACT))
    after = run(worker, wanted)
    assert writes(after) == [f"patch {wanted.loras[0].name}"]
    assert np.array_equal(pixels(worker, after), pixels(worker, alone))


def test_after_a_failed_job_no_patch_is_left(make_worker: MakeWorker, emoji: BaseModel) -> None:
    base = [weight.clone() for weight in emoji.pipe.unet.parameters()]
    worker = make_worker()
    ref = upload(worker, OUTLINE)
    wanted = spec(loras=[ref], lora_loading=EXACT, controlnets=[control(worker, "sd2-net")])  # another's
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    with pytest.raises(ControlNetFailed):
        execute_job(worker, job_id, "unet1@test")
    assert writes(worker.jobs.get(job_id)) == [f"patch {ref.name}"]
    assert all(torch.equal(*both) for both in zip(emoji.pipe.unet.parameters(), base, strict=True))


def test_a_worker_that_stops_loses_no_time_with_restoring_weights(
    make_worker: MakeWorker, emoji: BaseModel
) -> None:
    worker = make_worker()
    ref = upload(worker, OUTLINE)
    job_id, _ = worker.jobs.create(spec(loras=[ref], lora_loading=EXACT), tenant=LOCAL)
    hook = emoji.pipe.unet.conv_in.register_forward_pre_hook(lambda *_: worker.stopping.set())
    try:
        with pytest.raises(WorkerStopping):
            execute_job(worker, job_id, "unet1@test")
    finally:
        hook.remove()
    assert [sha256 for sha256, _ in emoji.patcher.patched] != []
