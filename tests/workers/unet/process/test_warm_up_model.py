"""A base model that was warmed up captures nothing in its first job."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.catalog.entries import ModelEntry
from tests.fake_device import FakeDevice
from tests.fake_graphs import GraphDevice
from tests.tiny_models import make_pipeline
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec
from workers.devices.base import MemoryInfo
from workers.engines.graphs import GraphEngine
from workers.engines.selection import Engines
from workers.families.unet.loading import unet_model
from workers.runtime.warm_up import WarmUp
from workers.unet.process.warm_up_model import PARTS, needs_warm_up, warm_up_model
from workers.unet.worker import UNetWorker

ENTRY = ModelEntry(source="model", num_inference_steps=6, guidance_scale=3.0, width=64, height=64)


@pytest.mark.parametrize("layout", ["sd1", "sdxl", "lcm"])
def test_a_warm_up_captures_every_stage_with_and_without_residuals(layout: str) -> None:
    model, device = unet_model(layout, make_pipeline(layout)), GraphDevice()
    model.engines = Engines(GraphEngine(device, layout))
    warm_up = WarmUp(layout, PARTS)
    assert warm_up.problems() == [f"warming up {layout}: 0 %"]
    warm_up_model(model, ENTRY, device, warm_up)
    assert warm_up.problems() == [f"warming up {layout}: 100 %"]
    [pool] = device.pools
    blocks = len(model.unet.up_blocks)
    # Encoder, decoder blocks and output layers; then the blocks again, and the output layers after them.
    assert len(pool.graphs) == 1 + blocks + 1 + blocks + 1


def test_a_first_job_after_a_warm_up_captures_nothing(make_worker: Callable[..., UNetWorker]) -> None:
    worker = make_worker()
    wanted = spec(controlnets=[control(worker, guidance_start=0.4)])
    expected = pixels(worker, run(worker, wanted))
    device = GraphDevice()
    with worker.models.use("emoji-sd") as model:
        model.engines = Engines(GraphEngine(device, "emoji-sd"))
        try:
            warm_up_model(model, ENTRY, device, WarmUp("emoji-sd", PARTS))
            [pool] = device.pools
            captured, replays = len(pool.graphs), pool.replays
            job = run(worker, wanted)
        finally:
            del model.engines
    assert len(pool.graphs) == captured
    assert pool.replays > replays
    assert (pixels(worker, job) == expected).all()


def test_only_a_gpu_or_an_engine_that_captures_needs_a_warm_up() -> None:
    model = unet_model("sd1", make_pipeline("sd1"))
    assert not needs_warm_up(model, FakeDevice())
    assert needs_warm_up(model, FakeDevice(memory=MemoryInfo(1, 1)))
    model.engines = Engines(GraphEngine(GraphDevice(), "sd1"))
    assert needs_warm_up(model, FakeDevice())
    inpainting = unet_model("sd1-inpaint", make_pipeline("sd1-inpaint"))
    assert not needs_warm_up(inpainting, FakeDevice(memory=MemoryInfo(1, 1)))


def test_a_warm_up_that_fails_stops_no_start(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def fail(_: WarmUp) -> None:
        raise RuntimeError("no memory")

    WarmUp("sd1", 1).run(fail)
    assert "warm-up failed" in caplog.text
