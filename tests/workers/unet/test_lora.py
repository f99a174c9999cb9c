"""Jobs whose LoRAs are written as on a GPU: the same images, and a bad LoRA still fails its job."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import NonFiniteWeights
from shared.jobs.options import LoraLoading
from tests.fake_device import FakeDevice
from tests.tiny_models import EMOJI
from tests.workers.lora.patchers import device_writer
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.output.test_finite import failure, large_lora
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher
from workers.runtime.model_cache import ModelCache
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
TWEMOJI, OUTLINE = (EMOJI / "loras" / f"{name}.safetensors" for name in ("twemoji", "outline"))
EXACT = LoraLoading(mode="exact")
pytestmark = pytest.mark.usefixtures("pristine")


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def as_on_a_gpu(models: ModelCache[BaseModel], device: FakeDevice) -> Iterator[Callable[[], None]]:
    """From its call on, the model's weights are written as a GPU's are."""
    with models.use("emoji-sd") as model:
        before = model.patcher

        def replace() -> None:
            before.restore()
            writer = device_writer(model.lora_parts, device)
            model.patcher = Patcher(model.lora_parts, model.layer_scales, writer=writer)

        yield replace
        model.patcher.restore()
        model.patcher = before


def test_images_are_those_of_a_cpu(make_worker: MakeWorker, as_on_a_gpu: Callable[[], None]) -> None:
    worker = make_worker(serve_controlnets=False)
    loras = [upload(worker, TWEMOJI, scale=0.8), upload(worker, OUTLINE, scale=0.5)]
    wanted = [
        spec(num_inference_steps=3, loras=used, lora_loading=EXACT) for used in (loras, loras[:1], loras, [])
    ]
    on_cpu = [pixels(worker, run(worker, one)).astype(int) for one in wanted]
    as_on_a_gpu()
    for one, expected in zip(wanted, on_cpu, strict=True):
        assert np.abs(pixels(worker, run(worker, one)).astype(int) - expected).max() <= 1


def test_a_lora_that_an_earlier_job_has_left_spoiled_fails_no_job_without_it(
    make_worker: MakeWorker,
    models: ModelCache[BaseModel],
    tmp_path: Path,
    as_on_a_gpu: Callable[[], None],
    device: FakeDevice,
) -> None:
    # Given weights that a job has spoiled which ended before the device had looked, as a follower's may
    worker = make_worker(serve_controlnets=False)
    plain = spec(num_inference_steps=2)
    before = pixels(worker, run(worker, plain))
    as_on_a_gpu()
    with models.use("emoji-sd") as model:
        path = large_lora(tmp_path / "large.safetensors", 3e38)
        model.patcher.apply([(read_lora(path, model.lora_targets), 10.0)])
    device.finish()
    # Then the next job is not held responsible
    assert np.array_equal(pixels(worker, run(worker, plain)), before)


@pytest.mark.parametrize("loading", [EXACT, LoraLoading()], ids=["exact", "bounded"])
def test_a_lora_that_overflows_fails_its_job_by_name_before_an_image_is_stored(
    make_worker: MakeWorker, tmp_path: Path, as_on_a_gpu: Callable[[], None], loading: LoraLoading
) -> None:
    worker = make_worker(serve_controlnets=False)
    before = pixels(worker, run(worker, spec(num_inference_steps=2)))
    ref = upload(worker, large_lora(tmp_path / "large.safetensors", 3e38), scale=10.0)
    as_on_a_gpu()
    detail = failure(worker, spec(num_inference_steps=2, loras=[ref], lora_loading=loading), NonFiniteWeights)
    assert f"with LoRA {ref.name!r}" in detail
    assert np.array_equal(pixels(worker, run(worker, spec(num_inference_steps=2))), before)
