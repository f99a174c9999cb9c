"""A device that is lost, or too full, in the middle of a job's real forward pass."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import DeviceFull, DeviceLost
from shared.jobs.options import LoraLoading
from shared.keys import LOCAL
from tests.fake_device import FakeDevice
from tests.tiny_models import EMOJI
from tests.workers.conftest import load
from tests.workers.unet.cfg_parallel.conftest import Offer, Pair
from tests.workers.unet.checkpoints.stores import RecordingStore
from tests.workers.unet.jobs import control, pixels, run, upload
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.lora.patch import Patcher
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import BranchStep
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
LOST = torch.AcceleratorError("CUDA error: device-side assert triggered")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
PATCHED = {"lora_loading": LoraLoading(mode="exact")}


class CountsRestores(Patcher):
    """Counts how often weights are restored."""

    restored = 0

    def restore(self) -> None:
        self.restored += 1
        super().restore()


@dataclasses.dataclass(frozen=True)
class Faulty:
    """A worker with a model and a device of its own; `failing` has the base model's forward fail."""

    worker: UNetWorker
    model: BaseModel
    loss: DeviceLoss
    device: FakeDevice

    @contextmanager
    def failing(self, error: Exception, *, after: int = 2, times: int = 1) -> Iterator[list[int]]:
        """Raise ``error`` in so many forward passes, ``after`` so many others; yields their numbers."""
        passes: list[int] = []

        def fail(module: torch.nn.Module, args: Any, output: Any) -> None:
            passes.append(len(passes))
            if after <= passes[-1] < after + times:
                raise error

        model: Any = self.model
        hook = model.pipe.unet.mid_block.register_forward_hook(fail)
        try:
            yield passes
        finally:
            hook.remove()

    def fail_job(self, wanted: Any, error: type[Exception]) -> str:
        job_id, _ = self.worker.jobs.create(wanted, tenant=LOCAL)
        with pytest.raises(error):
            execute_job(self.worker, job_id, "unet1@test")
        return job_id


@pytest.fixture(scope="module")
def own_models() -> ModelCache[BaseModel]:
    return ModelCache(load, DeviceMemory(1 << 40, FakeDevice()))


def make_faulty(worker: UNetWorker, models: ModelCache[BaseModel]) -> Faulty:
    device = models.memory.device
    assert isinstance(device, FakeDevice)
    loss = DeviceLoss(device, end=lambda why: None)
    with models.use("emoji-sd") as model:
        model.patcher.restore()
        device.log.clear()
        return Faulty(dataclasses.replace(worker, models=models, device_loss=loss), model, loss, device)


@pytest.fixture
def faulty(make_worker: MakeWorker, own_models: ModelCache[BaseModel]) -> Faulty:
    return make_faulty(make_worker(max_attempts=2, checkpoint_every_s=0), own_models)


def test_a_job_whose_device_is_lost_is_given_back_and_counts_no_attempt(faulty: Faulty) -> None:
    worker = faulty.worker
    undisturbed = pixels(worker, run(worker, spec()))
    with faulty.failing(LOST):
        job_id = faulty.fail_job(spec(), DeviceLost)
    job = worker.jobs.get(job_id)
    assert (job.status, job.attempts, job.infrastructure_losses) == ("queued", 1, 1)
    assert job_id in worker.jobs.orphans(unsent_after_s=0)
    assert faulty.loss.is_lost
    # Then another worker generates the same image
    assert execute_job(worker, job_id, "unet2@test") == "succeeded"
    assert np.array_equal(pixels(worker, worker.jobs.get(job_id)), undisturbed)


def test_a_job_that_loses_every_device_is_failed_in_the_end(faulty: Faulty) -> None:
    # Two losses that count as of infrastructure, then two attempts
    worker = faulty.worker
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    with faulty.failing(LOST, after=0, times=100):
        for losses in (1, 2, 2, 2):
            with pytest.raises(DeviceLost):
                execute_job(worker, job_id, "unet1@test")
            assert worker.jobs.get(job_id).infrastructure_losses == losses
        assert execute_job(worker, job_id, "unet1@test") == "not claimed"
    job = worker.jobs.get(job_id)
    assert (job.status, job.error and job.error.code) == ("failed", "device_lost")


def test_weights_are_not_restored_on_a_lost_device(faulty: Faulty) -> None:
    model = faulty.model
    model.patcher = CountsRestores(model.lora_parts, model.layer_scales)
    wanted = spec(loras=[upload(faulty.worker, EMOJI / "loras" / "twemoji.safetensors")], **PATCHED)
    with faulty.failing(LOST):
        faulty.fail_job(wanted, DeviceLost)
    assert model.patcher.restored == 0
    assert "synchronize" not in faulty.device.log
    # As they are after any other error
    with faulty.failing(ValueError("a bug"), after=0):
        faulty.fail_job(spec(), ValueError)
    assert model.patcher.restored == 1


def test_a_loss_that_shows_when_weights_are_restored_is_a_loss(faulty: Faulty) -> None:
    class LosesDevice(Patcher):
        def restore(self) -> None:
            raise LOST

    before = faulty.model.patcher
    faulty.model.patcher = LosesDevice(faulty.model.lora_parts, faulty.model.layer_scales)
    with faulty.failing(ValueError("something else")):
        job_id = faulty.fail_job(spec(), DeviceLost)
    faulty.model.patcher = before
    assert faulty.loss.is_lost
    assert faulty.worker.jobs.get(job_id).status == "queued"


def test_a_job_that_does_not_fit_is_generated_once_more_with_the_same_image(faulty: Faulty) -> None:
    worker = faulty.worker
    lora = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    wanted = spec(loras=[lora], **PATCHED)
    undisturbed = pixels(worker, run(worker, wanted))
    with worker.models.use("sd1"):
        pass
    # When its memory does not suffice in a step with a patched LoRA
    faulty.model.patcher.restore()
    with faulty.failing(FULL) as passes:
        job = run(worker, wanted)
    # Then everything idle is gone, and the whole job runs again in the same attempt
    assert np.array_equal(pixels(worker, job), undisturbed)
    assert (job.attempts, len(passes)) == (1, 3 + wanted.num_inference_steps)
    assert worker.models.names() == ["emoji-sd"]
    assert "release cached" in faulty.device.log
    worker.models.memory.models.check()


def test_a_job_that_does_not_fit_goes_on_from_its_own_checkpoint(faulty: Faulty) -> None:
    wanted = spec()
    undisturbed = pixels(faulty.worker, run(faulty.worker, wanted))
    store = RecordingStore(faulty.worker)
    worker = dataclasses.replace(faulty.worker, checkpoints=store)
    # When its memory does not suffice in the third step
    model: Any = faulty.model
    hook = model.pipe.unet.mid_block.register_forward_hook(lambda *_: store.settle())
    with faulty.failing(FULL) as passes:
        job = run(worker, wanted)
    hook.remove()
    # Then the two before it are not computed again
    assert np.array_equal(pixels(worker, job), undisturbed)
    assert (job.attempts, len(passes)) == (1, 1 + wanted.num_inference_steps)
    assert job.receipt is not None
    assert job.receipt.continued_at == [2]


def test_a_job_that_does_not_fit_twice_is_given_back_and_leaves_the_weights_pristine(
    faulty: Faulty,
) -> None:
    worker = faulty.worker
    before = {name: weight.clone() for name, weight in faulty.model.parts["unet"].state_dict().items()}
    lora = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    with faulty.failing(FULL, after=1, times=100):
        job_id = faulty.fail_job(spec(loras=[lora], **PATCHED), DeviceFull)
    job = worker.jobs.get(job_id)
    assert (job.status, job.attempts, job.infrastructure_losses) == ("queued", 1, 0)
    assert not faulty.loss.is_lost
    for name, weight in faulty.model.parts["unet"].state_dict().items():
        assert torch.equal(weight, before[name])
    assert faulty.model.patcher.patched == ()
    worker.models.memory.models.check()


@pytest.mark.parametrize(("error", "is_lost"), [(LOST, True), (FULL, False)])
def test_a_model_whose_load_loses_or_fills_the_device_is_not_marked_as_failed(
    error: Exception, is_lost: bool, make_worker: MakeWorker
) -> None:
    def fail(name: str) -> BaseModel:
        raise error

    device = FakeDevice()
    models = ModelCache(fail, DeviceMemory(1 << 40, device))
    loss = DeviceLoss(device, end=lambda why: None)
    worker = dataclasses.replace(make_worker(), models=models, device_loss=loss)
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    with pytest.raises(DeviceLost if is_lost else DeviceFull):
        execute_job(worker, job_id, "unet1@test")
    assert (worker.jobs.get(job_id).status, models.failed(), loss.is_lost) == ("queued", {}, is_lost)


@pytest.mark.parametrize(("error", "is_lost"), [(LOST, True), (FULL, False)])
def test_a_controlnet_computed_here_that_loses_or_fills_the_device_is_a_fault_of_the_job(
    error: Exception, is_lost: bool, make_worker: MakeWorker, own_models: ModelCache[BaseModel]
) -> None:
    def fail(name: str) -> Any:
        raise error

    alone = make_worker(serve_controlnets=False, residual_timeout_s=0.05)
    faulty = make_faulty(alone, own_models)
    controlnets: ModelCache[Any] = ModelCache(fail, DeviceMemory(1 << 40, faulty.device))
    faulty = dataclasses.replace(faulty, worker=dataclasses.replace(faulty.worker, controlnets=controlnets))
    wanted = spec(controlnets=[control(alone)])
    job_id = faulty.fail_job(wanted, DeviceLost if is_lost else DeviceFull)
    assert (alone.jobs.get(job_id).status, faulty.loss.is_lost) == ("queued", is_lost)


@pytest.mark.parametrize(("error", "is_lost"), [(LOST, True), (FULL, False)])
def test_a_follower_whose_device_fails_leaves_and_the_job_goes_on(
    error: Exception, is_lost: bool, make_worker: MakeWorker, own_models: ModelCache[BaseModel]
) -> None:
    pair = Pair(make_worker, own_models)
    second = make_faulty(pair.second, own_models)
    pair.second = second.worker
    offer = pair.claim(spec())
    with second.failing(error, after=0):
        raised = fail_to_follow(pair, offer)
    assert isinstance(raised, DeviceLost if is_lost else DeviceFull)
    assert second.loss.is_lost == is_lost
    assert offer.channel.receive(1) is not None  # ready
    response = offer.channel.receive(1)
    assert response is not None
    assert response[0].is_leaving
    assert ("release cached" in second.device.log) != is_lost


def fail_to_follow(pair: Pair, offer: Offer) -> Exception:
    """Follow an attempt that has sent one step; returns the error with which the follower ends."""
    offer.channel.send_step(BranchStep(step=0, total=4, t=999.0, loras=[]), torch.zeros(1, 4, 8, 8))
    try:
        follow(pair.second, offer.message, "unet2@test")
    except (DeviceLost, DeviceFull) as error:
        return error
    raise AssertionError("it has not failed")
