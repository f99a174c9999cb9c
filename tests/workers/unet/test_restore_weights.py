"""LoRAs that cannot be taken back reach no other job, nor through text encoders that models share."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.catalog.entries import ModelEntry
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from tests.fake_device import FakeDevice
from tests.tiny_models import EMOJI
from tests.workers.lora.patchers import device_writer
from tests.workers.unet.embeddings.apart import Apart
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec as job_spec
from workers.families.base import BaseModel
from workers.lora.lora_weights import LoraWeights
from workers.lora.memory import LoraMemory
from workers.lora.patch import Patcher
from workers.runtime.pinned_lru import Pinned
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
OUTLINE = EMOJI / "loras" / "outline.safetensors"  # trains the text encoder, too
EXACT, LATE = LoraLoading(mode="exact"), LoraLoading(max_async_steps=1)
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
pytestmark = pytest.mark.usefixtures("pristine")


class FailsToRestore(Patcher):
    """Writes weights where they are, as on a GPU; the first ``failures`` restores fail."""

    def __init__(self, model: BaseModel, failures: int) -> None:
        writer = device_writer(model.lora_parts, FakeDevice())
        super().__init__(model.lora_parts, model.layer_scales, writer=writer)
        self.failures = failures

    def restore(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ValueError("cannot be restored")
        super().restore()


class LateMemory(LoraMemory):
    """Hands LoRAs over when it is told to."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.may_go_on = threading.Event()

    @contextmanager
    def use(self, key: str, load: Callable[[], LoraWeights]) -> Iterator[Pinned[LoraWeights]]:
        with super().use(key, load) as pinned:
            self.may_go_on.wait()
            yield pinned


def spec(**changes: Any) -> JobSpec:
    return job_spec(num_inference_steps=2, **changes)


@pytest.fixture
def apart() -> Apart:
    """Two models with the same text encoder."""
    entry = ModelEntry(source="emoji/model")
    return Apart(Path("infra/catalog.toml").resolve(), {"emoji-sd": entry, "other": entry})


@pytest.fixture
def whole(make_worker: MakeWorker) -> UNetWorker:
    """Holds models with their text encoders."""
    return make_worker()


@pytest.fixture
def worker(whole: UNetWorker, apart: Apart) -> UNetWorker:
    prompts = PromptEncoder(text_encoders=apart.text_encoders, memory_bytes=0)
    return dataclasses.replace(whole, models=apart.models, prompts=prompts)


@contextmanager
def failing_forward(apart: Apart, error: Exception, *, at: int = 1) -> Iterator[None]:
    """Within the block the loaded UNet fails at a step of its first job."""
    passes: list[int] = []

    def fail(*_: object) -> None:
        passes.append(len(passes))
        if len(passes) == at + 1:
            raise error

    with apart.models.use("emoji-sd") as model:
        unet: Any = model.parts["unet"]
        hook = unet.mid_block.register_forward_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def fail_to_restore(apart: Apart, failures: int) -> None:
    with apart.models.use("emoji-sd") as model:
        model.patcher = FailsToRestore(model, failures)


def fail_job(worker: UNetWorker, wanted: JobSpec) -> None:
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    with pytest.raises(ValueError, match=r"cannot be restored|a bug"):
        execute_job(worker, job_id, "unet1@test")
    assert worker.jobs.get(job_id).status == "failed"


def check_plain_jobs(worker: UNetWorker, whole: UNetWorker) -> None:
    """Jobs without LoRAs, of both models, are those of models that never had one."""
    wanted = pixels(whole, run(whole, spec()))
    for model in ("other", "emoji-sd"):
        assert np.array_equal(pixels(worker, run(worker, spec(model=model))), wanted)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_restore_that_fails_after_a_jobs_last_step(
    worker: UNetWorker, whole: UNetWorker, apart: Apart, failures: int
) -> None:
    lora = upload(whole, OUTLINE)
    fail_to_restore(apart, failures)
    fail_job(worker, spec(loras=[lora], lora_loading=EXACT))
    # Then weights that a second try has not restored either are loaded anew, those of all parts
    is_restored = failures == 1
    assert (apart.models.names() == ["emoji-sd"]) == is_restored
    assert bool(apart.text_encoders_loaded()) == is_restored
    check_plain_jobs(worker, whole)
    # And the LoRA is written into them as into others
    wanted = spec(loras=[lora], lora_loading=EXACT)
    assert np.array_equal(pixels(worker, run(worker, wanted)), pixels(whole, run(whole, wanted)))


def test_a_restore_that_fails_after_another_error(
    worker: UNetWorker, whole: UNetWorker, apart: Apart
) -> None:
    fail_to_restore(apart, 1)
    with failing_forward(apart, ValueError("a bug")):
        fail_job(worker, spec(loras=[upload(whole, OUTLINE)], lora_loading=EXACT))
    assert apart.models.names() == []
    assert apart.text_encoders_loaded() == []
    check_plain_jobs(worker, whole)


def test_a_job_that_is_generated_once_more_begins_with_pristine_weights(
    worker: UNetWorker, whole: UNetWorker, apart: Apart
) -> None:
    wanted = spec(loras=[upload(whole, OUTLINE)], lora_loading=EXACT)
    fail_to_restore(apart, 0)
    undisturbed = pixels(worker, run(worker, wanted))
    # When the device is full in its middle, and the weights are not restored
    fail_to_restore(apart, 1)
    with failing_forward(apart, FULL):
        again = run(worker, wanted)
    # Then the second try is the same image
    assert np.array_equal(pixels(worker, again), undisturbed)
    check_plain_jobs(worker, whole)


def test_a_lora_that_comes_after_its_job_has_ended_is_not_prepared_for_the_next(
    worker: UNetWorker, whole: UNetWorker, apart: Apart
) -> None:
    # Given a job that ends before its LoRA comes
    memory = LateMemory()
    lora = upload(whole, OUTLINE)
    with failing_forward(apart, ValueError("a bug"), at=0):
        fail_job(dataclasses.replace(worker, lora_memory=memory), spec(loras=[lora], lora_loading=LATE))
    # When it comes
    memory.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name == f"lora {lora.name}":
            thread.join()
    # Then text encoders that have no weights by now are not copied as the pristine ones
    with apart.models.use("emoji-sd") as model:
        assert model.patcher.pristine_bytes == 0
    wanted = spec(loras=[lora], lora_loading=EXACT)
    assert np.array_equal(pixels(worker, run(worker, wanted)), pixels(whole, run(whole, wanted)))
