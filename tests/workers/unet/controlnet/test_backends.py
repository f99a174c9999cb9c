"""Images are the same over every transport backend, and differ by a codec's loss alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from shared.jobs.options import LoraLoading
from tests.diffusers_peer import generate_with_diffusers
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
pytestmark = pytest.mark.usefixtures("pristine")


def sent_by(backend: str) -> float:
    return REGISTRY.get_sample_value("swift_residuals_total", {"backend": backend}) or 0.0


@pytest.mark.parametrize(("setting", "backend"), [("auto", "shared_memory"), ("off", "redis")])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_image_is_diffusers_own_over_every_backend(
    count: int, setting: str, backend: str, make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    worker = make_worker(shared_memory=setting)
    wanted = spec(controlnets=[control(worker, conditioning_scale=0.5)] * count, num_inference_steps=3)
    before = sent_by(backend)
    ours = pixels(worker, run(worker, wanted))
    assert sent_by(backend) > before
    with models.use("emoji-sd") as model, controlnets.use("edge") as controlnet:
        theirs = generate_with_diffusers(model.pipe, [controlnet.model] * count, wanted, None)[0]
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_an_image_with_lossy_residuals_names_the_codec_and_is_replayed_bit_by_bit(
    precision: str, make_worker: MakeWorker
) -> None:
    # Given two ControlNets, so that sums could differ by which worker computes them
    worker = make_worker()
    asked = {"controlnets": [control(worker, conditioning_scale=0.5)] * 2, "num_inference_steps": 4}
    exact = pixels(worker, run(worker, spec(**asked)))
    # When their residuals are sent with loss
    job = run(worker, spec(**asked, residual_precision=precision))
    lossy = pixels(worker, job)
    # Then the receipt names the codec, the image is close, and a replay has the same loss over any backend
    assert job.receipt is not None
    assert job.receipt.spec.residual_precision == precision
    assert 0 < np.abs(lossy - exact).mean() < 4
    replay = spec(**asked, residual_precision=precision, lora_loading=LoraLoading(mode="replay", steps={}))
    for setting in ("auto", "off"):
        assert np.array_equal(pixels(worker, run(make_worker(shared_memory=setting), replay)), lossy)


def test_a_locally_computed_controlnet_has_the_loss_of_the_codec_too(make_worker: MakeWorker) -> None:
    served = make_worker()
    wanted = spec(controlnets=[control(served)], num_inference_steps=2, residual_precision="int8")
    theirs = pixels(served, run(served, wanted))
    alone = make_worker(serve_controlnets=False)
    assert np.array_equal(pixels(alone, run(alone, wanted)), theirs)
