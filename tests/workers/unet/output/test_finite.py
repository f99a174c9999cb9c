"""A job that computes NaN or infinity fails and says where; the next one on the worker is as it should be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import NonFiniteImage, NonFiniteLatents, NonFiniteWeights, SwiftError
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from tests.tiny_models import EMOJI
from tests.workers.unet.jobs import control, pixels, run, upload
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.model_cache import ModelCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
EXACT = LoraLoading(mode="exact")


@contextmanager
def spoiled(module: Any, name: str, value: float) -> Iterator[None]:
    """Within the block the first number of a weight is ``value``."""
    flat = module.get_parameter(name).data.view(-1)
    with torch.no_grad():
        was = flat[0].item()
        flat[0] = value
        try:
            yield
        finally:
            flat[0] = was


def failure(worker: UNetWorker, wanted: JobSpec, kind: type[SwiftError]) -> str:
    """How a job says that it failed: not one image is stored of it."""
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    with pytest.raises(kind):
        execute_job(worker, job_id, "unet1@test")
    job: Job = worker.jobs.get(job_id)
    assert (job.status, job.images) == ("failed", [])
    assert job.error is not None
    assert job.error.code == kind.code
    return job.error.detail


def large_lora(path: Path, factor: float) -> Path:
    """The embedded LoRA with everything that is multiplied last this many times as large."""
    tensors = load_file(EMOJI / "loras/outline.safetensors")
    save_file({name: (t.float() * factor if "lora_B" in name else t) for name, t in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    ("factor", "kind"), [(1e18, (NonFiniteLatents, NonFiniteWeights)), (3e38, NonFiniteWeights)]
)
@pytest.mark.parametrize("loading", [EXACT, LoraLoading()], ids=["exact", "bounded"])
def test_a_lora_that_overflows_fails_its_job_by_name_and_leaves_nothing(
    make_worker: MakeWorker, tmp_path: Path, pristine: None, loading: LoraLoading, factor: float, kind: Any
) -> None:
    worker = make_worker(serve_controlnets=False)
    before = pixels(worker, run(worker, spec(num_inference_steps=2)))
    ref = upload(worker, large_lora(tmp_path / "large.safetensors", factor), scale=10.0)
    job_id, _ = worker.jobs.create(
        spec(num_inference_steps=2, loras=[ref], lora_loading=loading), tenant=LOCAL
    )
    with pytest.raises(kind):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert job.error is not None
    assert job.error.code in ("non_finite_latents", "non_finite_weights")
    assert repr(ref.name) in job.error.detail
    assert job.images == []
    after = pixels(worker, run(worker, spec(num_inference_steps=2)))
    assert np.array_equal(after, before)


@pytest.mark.parametrize(
    ("part", "weight", "kind", "told"),
    [
        ("unet", "conv_in.weight", NonFiniteWeights, "unet.conv_in.weight"),
        ("text_encoder", "embeddings.position_embedding.weight", NonFiniteWeights, "text_encoder."),
        ("vae", "decoder.conv_in.weight", NonFiniteImage, "VAE"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_went_bad_is_named(
    make_worker: MakeWorker,
    models: ModelCache[BaseModel],
    part: str,
    weight: str,
    kind: type[SwiftError],
    told: str,
    value: float,
) -> None:
    worker = make_worker(serve_controlnets=False)
    with models.use("emoji-sd") as model:
        model.patcher.restore()
        with spoiled(getattr(model.pipe, part), weight, value):
            detail = failure(worker, spec(num_inference_steps=2), kind)
    assert told in detail
    assert "'emoji-sd'" in detail


def test_finite_weights_that_overflow_are_told_with_the_step(
    make_worker: MakeWorker, models: ModelCache[BaseModel]
) -> None:
    worker = make_worker(serve_controlnets=False)
    with models.use("emoji-sd") as model:
        model.patcher.restore()
        with spoiled(model.pipe.unet, "conv_out.bias", 3e38):
            assert "first in step 2 of 2" in failure(worker, spec(num_inference_steps=2), NonFiniteLatents)
        with (
            spoiled(model.pipe.text_encoder, "final_layer_norm.bias", 3e38),
            spoiled(model.pipe.text_encoder, "final_layer_norm.weight", 3e38),
        ):
            wanted = spec(num_inference_steps=2, prompt="a prompt that no job had")
            assert "of the prompt" in failure(worker, wanted, NonFiniteLatents)


def test_a_controlnet_that_overflows_fails_its_job_by_name(
    make_worker: MakeWorker, controlnets: ModelCache[UNetControlNet]
) -> None:
    worker = make_worker()
    with (
        controlnets.use("edge") as controlnet,
        spoiled(controlnet.model, "controlnet_mid_block.bias", float("nan")),
    ):
        wanted = spec(num_inference_steps=2, controlnets=[control(worker)])
        assert "ControlNet 'edge'" in failure(worker, wanted, NonFiniteLatents)
    assert run(worker, spec(num_inference_steps=2, controlnets=[control(worker)])).status == "succeeded"


def test_a_preview_of_what_is_not_finite_is_an_image_all_the_same(models: ModelCache[BaseModel]) -> None:
    with models.use("emoji-sd") as model:
        model.latents.prepare_preview()
        for value in (float("nan"), float("inf"), -float("inf")):
            assert model.latents.preview(torch.full((1, 4, 8, 8), value), size=(64, 64))
