"""Whole jobs by graphs: the images of eager stages, and what the receipt says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from tests.fake_graphs import GraphDevice
from tests.tiny_models import EMOJI
from tests.workers.unet.jobs import control, pixels, run, upload
from tests.workers.unet.specs import spec
from workers.engines.compiled import CompileEngine
from workers.engines.graphs import GraphEngine
from workers.engines.selection import Engines
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


@contextmanager
def running_graphs(worker: UNetWorker) -> Iterator[GraphDevice]:
    """Within the block the embedded model and its ControlNet are run as graphs."""
    device = GraphDevice()
    with worker.models.use("emoji-sd") as model, worker.controlnets.use("edge") as controlnet:
        model.engines = Engines(GraphEngine(device, "emoji-sd"))
        controlnet.engines = Engines(GraphEngine(device, "edge"))
        try:
            yield device
        finally:
            del model.engines, controlnet.engines


def engine_of(job: Job) -> str:
    assert job.receipt is not None
    return job.receipt.worker.engine


@pytest.mark.usefixtures("pristine")
def test_jobs_by_graphs_have_the_images_of_eager_ones(make_worker: MakeWorker) -> None:
    worker = make_worker()
    loras = [upload(worker, EMOJI / "loras" / f"{name}.safetensors") for name in ("outline", "twemoji")]
    edge = control(worker, guidance_start=0.2)
    late = LoraLoading(mode="replay", steps={loras[0].name: 2, loras[1].name: 3})
    wanted = [
        spec(prompt="a red apple"),
        spec(controlnets=[edge]),
        spec(loras=loras, lora_loading=late, controlnets=[edge]),
        spec(loras=loras[:1], lora_loading=LoraLoading(mode="exact")),
        spec(prompt="a blue whale", split_steps=[1, 2, 4], lora_loading=LoraLoading(mode="replay", steps={})),
        spec(width=72, height=56, scheduler="dpmpp_2m"),
        spec(num_images=2, controlnets=[edge]),
        spec(prompt="a red apple", scheduler="pndm", guidance_scale=1.0),
    ]
    expected = [pixels(worker, run(worker, one)) for one in wanted]
    with running_graphs(worker) as device:
        jobs = [run(worker, one) for one in wanted]
        assert all(pool.replays > 20 for pool in device.pools)
    assert {engine_of(job) for job in jobs} == {"graphs"}
    for job, image in zip(jobs, expected, strict=True):
        assert np.array_equal(pixels(worker, job), image)


def test_a_receipt_says_eager_where_graphs_were_given_up(make_worker: MakeWorker) -> None:
    worker = make_worker()
    expected = pixels(worker, run(worker, spec()))
    with running_graphs(worker) as device:
        device.pools[0].error = RuntimeError("CUDA error: operation not permitted")
        job = run(worker, spec())
        engines = worker.models.loaded()["emoji-sd"].engines
        assert engines.describe() == "eager (RuntimeError: CUDA error: operation not permitted)"
    assert engine_of(job) == "eager"
    assert np.array_equal(pixels(worker, job), expected)


def test_an_exact_job_is_not_compiled_and_others_are(make_worker: MakeWorker, tmp_path: Any) -> None:
    worker = make_worker()
    expected = pixels(worker, run(worker, spec()))
    with pytest.MonkeyPatch.context() as environ, worker.models.use("emoji-sd") as model:
        environ.setenv("TORCHINDUCTOR_CACHE_DIR", "")
        engine = CompileEngine("emoji-sd", tmp_path, backend="eager")
        model.engines = Engines(engine)
        try:
            exact = run(worker, spec(lora_loading=LoraLoading(mode="exact")))
            assert engine.prepared_stages == 0
            bounded = run(worker, spec())
        finally:
            del model.engines
    assert engine.prepared_stages == 5  # encoder, three decoder blocks, output layers
    assert (engine_of(exact), engine_of(bounded)) == ("eager", "compile")
    assert np.array_equal(pixels(worker, exact), expected)
    assert np.abs(pixels(worker, bounded) - expected).max() <= 1
