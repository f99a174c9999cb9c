"""Jobs from claim to stored image against diffusers' own pipelines, through real Redis and S3."""

import dataclasses
import hashlib
import io
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from shared.errors import ControlNetFailed, InvalidLora, InvalidRequest, LoraGone, ResidualTimeout, SwiftError
from shared.jobs.events import stream_events
from shared.jobs.options import LoraLoading
from shared.jobs.receipt import Receipt
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, watched
from shared.keys import job as job_key
from shared.storage.object_store import Bucket
from tests.diffusers_peer import generate_with_diffusers
from tests.tiny_models import EMOJI
from tests.workers.conftest import load
from tests.workers.unet.jobs import control, pixels, run, upload
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.lora.patch import Patcher
from workers.runtime.activity.busy import BusyShare
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


def by_diffusers(
    models: ModelCache[BaseModel],
    controlnets: ModelCache[Any],
    wanted: JobSpec,
    loras: list[tuple[Path, float]] | None = None,
) -> list[NDArray[np.int16]]:
    """The same request, as a user of diffusers writes it."""
    loaded = []
    for controlnet in wanted.controlnets:
        with controlnets.use(controlnet.name) as held:
            loaded.append(held.model)
    with models.use(wanted.model) as model:
        model.patcher.restore()
        return generate_with_diffusers(model.pipe, loaded, wanted, loras)


def test_the_embedded_model_with_two_controlnets_equals_diffusers(
    make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    # Tiny random models in every combination: tests/parity.
    worker = make_worker()
    both = [control(worker, conditioning_scale=0.7), control(worker, guidance_end=0.5)]
    wanted = spec(controlnets=both, num_images=2)
    job = run(worker, wanted)
    for i, theirs in enumerate(by_diffusers(models, controlnets, wanted)):
        assert np.array_equal(pixels(worker, job, i), theirs)


def test_guidance_is_rescaled_with_controlnets_too(
    make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    worker = make_worker()
    # Given a ControlNet that adds nothing
    wanted = spec(guidance_rescale=0.7, controlnets=[control(worker, conditioning_scale=0.0)])
    ours = pixels(worker, run(worker, wanted))
    # Then the image is diffusers' own without ControlNets
    alone = wanted.model_copy(update={"controlnets": []})
    assert np.array_equal(ours, by_diffusers(models, controlnets, alone)[0])
    plain = alone.model_copy(update={"guidance_rescale": 0.0})
    assert not np.array_equal(ours, by_diffusers(models, controlnets, plain)[0])


@pytest.mark.parametrize(
    ("name", "with_controlnet"), [("twemoji", False), ("outline", True), ("outline.kohya", False)]
)
def test_an_exact_lora_equals_diffusers_fused_one_to_rounding(
    name: str, with_controlnet: bool, make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    worker = make_worker()
    path = EMOJI / "loras" / f"{name}.safetensors"
    wanted = spec(
        loras=[upload(worker, path, 0.9)],
        lora_loading=LoraLoading(mode="exact"),
        controlnets=[control(worker)] if with_controlnet else [],
    )
    ours = pixels(worker, run(worker, wanted))
    theirs = by_diffusers(models, controlnets, wanted, [(path, 0.9)])[0]
    plain = by_diffusers(models, controlnets, wanted)[0]
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - plain).max() > 20


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_two_loras_in_one_job_are_summed(make_worker: MakeWorker, models: Any, controlnets: Any) -> None:
    worker = make_worker()
    paths = [EMOJI / "loras" / f"{name}.safetensors" for name in ("twemoji", "outline")]
    wanted = spec(
        loras=[upload(worker, paths[0], 0.5), upload(worker, paths[1], 0.7)],
        lora_loading=LoraLoading(mode="exact"),
    )
    ours = pixels(worker, run(worker, wanted))
    theirs = by_diffusers(models, controlnets, wanted, [(paths[0], 0.5), (paths[1], 0.7)])[0]
    assert np.abs(ours - theirs).max() <= 1


def test_a_replay_of_a_bounded_job_gives_the_same_image(make_worker: MakeWorker) -> None:
    worker = make_worker()
    refs = [upload(worker, EMOJI / "loras" / f"{name}.safetensors") for name in ("twemoji", "outline")]
    # Given a bounded job: one LoRA is held back until the bound
    bounded = run(worker, spec(loras=refs, lora_loading=LoraLoading(max_async_steps=3)))
    assert bounded.receipt is not None
    steps = {lora.name: lora.step for lora in bounded.receipt.loras}
    assert all(step <= 3 for step in steps.values())
    # When a worker with an empty cache replays it, by the steps of its receipt
    again = run(make_worker(), spec(loras=refs, lora_loading=LoraLoading(mode="replay", steps=steps)))
    assert np.array_equal(pixels(worker, bounded), pixels(worker, again))
    assert again.receipt is not None
    assert {lora.name: lora.step for lora in again.receipt.loras} == steps


def test_a_replay_patches_at_the_steps_of_its_receipt(make_worker: MakeWorker) -> None:
    worker = make_worker()
    ref = upload(worker, EMOJI / "loras" / "outline.safetensors")

    def at(step: int) -> Job:
        loading = LoraLoading(mode="replay", steps={ref.name: step})
        return run(worker, spec(loras=[ref], lora_loading=loading))

    exact = run(worker, spec(loras=[ref], lora_loading=LoraLoading(mode="exact")))
    assert np.array_equal(pixels(worker, at(0)), pixels(worker, exact))
    assert not np.array_equal(pixels(worker, at(3)), pixels(worker, exact))


def test_the_same_seed_alone_or_in_a_batch_differs_at_most_by_one(make_worker: MakeWorker) -> None:
    worker = make_worker()
    batch = run(worker, spec(num_images=3))
    for i in range(3):
        alone = run(worker, spec(seed=7 + i))
        assert alone.images[0].seed == batch.images[i].seed
        assert np.abs(pixels(worker, alone) - pixels(worker, batch, i)).max() <= 1


def test_the_png_carries_request_and_receipt(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, spec(controlnets=[control(worker)]))
    png = worker.images.get(job.images[0].key)
    texts = Image.open(io.BytesIO(png)).info
    assert job.receipt is not None
    # The request as a replay would make it: it names the maps that the ControlNets were shown.
    maps = [controlnet.control_map for controlnet in job.receipt.spec.controlnets]
    controlnets = [
        controlnet.model_copy(update={"control_map": map})
        for controlnet, map in zip(job.spec.controlnets, maps, strict=True)
    ]
    assert JobSpec.model_validate_json(texts["request"]) == job.spec.model_copy(
        update={"controlnets": controlnets}
    )
    assert Receipt.model_validate_json(texts["receipt"]) == job.receipt
    assert hashlib.sha256(png).hexdigest() == job.images[0].sha256
    assert [controlnet.name for controlnet in job.receipt.controlnets] == ["edge"]
    assert len(job.receipt.controlnets[0].sha256) == 64


def test_encoder_and_controlnet_overlap_on_the_timeline(
    make_worker: MakeWorker, models: Any, controlnets: Any
) -> None:
    # Given an encoder and a ControlNet that go on once both have begun
    worker, both_run = make_worker(), threading.Barrier(2, timeout=60)

    def wait_for_other(*_: object) -> None:
        both_run.wait()

    with models.use("emoji-sd") as model, controlnets.use("edge") as controlnet, ExitStack() as hooks:
        for network in (model.pipe.unet, controlnet.model):
            hooks.callback(network.conv_in.register_forward_pre_hook(wait_for_other).remove)
        job = run(worker, spec(controlnets=[control(worker)]))
    spans = {name: [s for s in job.timeline if s.name == name] for name in ("encoder", "controlnet edge")}
    assert len(spans["encoder"]) == len(spans["controlnet edge"]) == 6
    assert {span.worker for span in spans["controlnet edge"]} == {"controlnet1@test"}
    overlaps = [
        min(e.end_s, n.end_s) - max(e.start_s, n.start_s)
        for e, n in zip(spans["encoder"], spans["controlnet edge"], strict=True)
    ]
    assert all(overlap > 0 for overlap in overlaps)


def test_more_layers_than_the_text_encoder_has_cannot_be_skipped(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job_id, _ = worker.jobs.create(spec(clip_skip=5), tenant=LOCAL)
    with pytest.raises(InvalidRequest, match="clip_skip is 5, model 'emoji-sd' has"):
        execute_job(worker, job_id, "unet1@test")


def test_a_lora_that_fits_no_module_fails_its_job_and_no_other(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    worker = make_worker()
    before = pixels(worker, run(worker, spec()))
    path = tmp_path / "stranger.safetensors"
    save_file(
        {"unet.elsewhere.lora_A.weight": torch.ones(4, 8), "unet.elsewhere.lora_B.weight": torch.ones(8, 4)},
        path,
    )
    job_id, _ = worker.jobs.create(spec(loras=[upload(worker, path)]), tenant=LOCAL)
    with pytest.raises(InvalidLora):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "invalid_lora"
    assert "elsewhere" in job.error.detail
    assert np.array_equal(pixels(worker, run(worker, spec())), before)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lora_that_was_deleted_after_submit_fails_the_job_by_name(
    replaced: bool, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    ref = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    if replaced:
        bucket.put(f"{ref.name}.safetensors", b"other", content_type="application/octet-stream")
    else:
        bucket.delete(f"{ref.name}.safetensors")
    job_id, _ = worker.jobs.create(spec(loras=[ref]), tenant=LOCAL)
    with pytest.raises(LoraGone):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert (job.status, job.error and job.error.code) == ("failed", "lora_gone")
    assert job.error is not None
    assert ref.name in job.error.detail


def test_a_job_says_how_long_devices_worked_for_it_and_how_large_its_images_are(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker()  # with a ControlNet worker
    job = run(worker, spec(num_inference_steps=3, num_images=2, controlnets=[control(worker)]))
    used = worker.jobs.redis.hmget(job_key(job.id), "device_s", "image_bytes")
    device_s, image_bytes = map(float, used)
    assert image_bytes == sum(len(worker.images.get(image.key)) for image in job.images)
    own = [span for span in job.timeline if span.worker == "unet1@test" and span.name != "store"]
    served = [span for span in job.timeline if span.worker not in ("unet1@test", "queue")]
    assert {span.name for span in served} == {"controlnet edge"}
    others_s = sum(span.end_s - span.start_s for span in served)
    own_s = max(span.end_s for span in own) - min(span.start_s for span in own)
    assert device_s >= others_s + 0.9 * own_s


def test_a_cancel_stops_a_running_job_within_its_lora(make_worker: MakeWorker) -> None:
    worker = make_worker()
    ref = upload(worker, EMOJI / "loras" / "outline.safetensors")
    job_id, _ = worker.jobs.create(
        spec(loras=[ref], lora_loading=LoraLoading(mode="exact"), num_inference_steps=200), tenant=LOCAL
    )
    runner = threading.Thread(target=execute_job, args=[worker, job_id, "unet1@test"])
    runner.start()
    for event in stream_events(worker.jobs.redis, job_id):
        if event and event.kind == "progress":
            worker.jobs.cancel(job_id)
            break
    runner.join(timeout=60)
    job = worker.jobs.get(job_id)
    assert job.status == "cancelled"
    assert job.step < 200


def test_a_job_that_runs_too_long_is_failed(make_worker: MakeWorker) -> None:
    worker = make_worker(job_timeout_s=0.2)
    job_id, _ = worker.jobs.create(spec(num_inference_steps=200), tenant=LOCAL)
    with pytest.raises(SwiftError, match="longer than"):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert (job.status, job.error and job.error.code) == ("failed", "deadline_exceeded")


def test_without_a_controlnet_worker_the_image_is_computed_here_and_the_same(
    make_worker: MakeWorker,
) -> None:
    alone = make_worker(serve_controlnets=False)
    wanted = spec(num_inference_steps=3, controlnets=[control(alone)])
    here = run(alone, wanted)
    worker = make_worker()
    served = run(worker, wanted)
    assert np.array_equal(pixels(alone, here), pixels(worker, served))
    assert here.receipt == served.receipt
    assert {span.worker for span in here.timeline if span.name == "controlnet edge"} == {"unet1@test"}


def test_without_a_controlnet_worker_the_job_is_queued_again_if_configured(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker(serve_controlnets=False, residual_timeout_s=0.05, residual_attempts=1)
    worker = dataclasses.replace(worker, served_controlnets=[])
    job_id, _ = worker.jobs.create(spec(controlnets=[control(worker)]), tenant=LOCAL)
    with pytest.raises(ResidualTimeout):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert (job.status, job.attempts) == ("queued", 1)


def test_a_controlnet_that_cannot_compute_fails_the_job_with_its_reason(make_worker: MakeWorker) -> None:
    worker = make_worker()
    wanted = spec(model="sd1", controlnets=[control(worker, "sd2-net")])  # of another shape
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    with pytest.raises(ControlNetFailed):
        execute_job(worker, job_id, "unet1@test")
    job = worker.jobs.get(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "controlnet_failed"


def test_previews_are_made_only_while_somebody_follows_the_events(make_worker: MakeWorker) -> None:
    worker = make_worker()

    def previews(*, looking: bool) -> int:
        job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
        if looking:
            worker.jobs.redis.set(watched(job_id), 1, ex=60)
        execute_job(worker, job_id, "unet1@test")
        events = [event for event in stream_events(worker.jobs.redis, job_id) if event]
        return sum(event.kind == "preview" for event in events)

    assert previews(looking=False) == 0
    assert previews(looking=True) >= 1


def test_a_message_that_comes_twice_is_executed_once(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job_id, _ = worker.jobs.create(spec(), tenant=LOCAL)
    assert execute_job(worker, job_id, "unet1@test") == "succeeded"
    assert execute_job(worker, job_id, "unet2@test") == "not claimed"
    assert worker.jobs.get(job_id).attempts == 1


def test_a_model_that_cannot_be_restored_is_not_used_again(make_worker: MakeWorker) -> None:
    # Given a model of its own whose weights cannot be written back
    worker = make_worker()
    own = ModelCache(load, DeviceMemory(1 << 40))
    worker = dataclasses.replace(worker, models=own)
    with own.use("sd1") as model:
        model.patcher = BrokenPatcher(model.lora_parts, model.layer_scales)
    # When a job fails on it, then the next one finds a model that was loaded anew
    job_id, _ = worker.jobs.create(spec(model="sd1", controlnets=[control(worker, "sd2-net")]), tenant=LOCAL)
    with pytest.raises(ControlNetFailed):
        execute_job(worker, job_id, "unet1@test")
    with own.use("sd1") as fresh:
        assert fresh is not model


class BrokenPatcher(Patcher):
    """Cannot take LoRAs out again."""

    def restore(self) -> None:
        raise OSError("no memory for the weights")


class NotedImages(Bucket):
    """Notes when images are stored."""

    events: list[str]

    def put(self, *args: Any, **options: Any) -> str:
        self.events.append("store")
        return super().put(*args, **options)


def test_a_job_leaves_the_device_once_before_its_images_are_stored(make_worker: MakeWorker) -> None:
    worker, events = make_worker(), list[str]()
    images = NotedImages(worker.settings, worker.settings.image_bucket)
    images.events = events
    noted = dataclasses.replace(worker, images=images, activity=DeviceActivity(generate=BusyUntil(events)))
    job_id, _ = worker.jobs.create(spec(num_inference_steps=1, num_images=2), tenant=LOCAL)
    execute_job(noted, job_id, "unet1@test", lambda: events.append("leave"))
    # The device is busy for as long as the job has it; the model is not needed any more
    assert events == ["idle", "leave", "store", "store"]


class BusyUntil(BusyShare):
    """Notes when the device has nothing to do any more."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events

    def __exit__(self, *args: Any) -> None:
        self._events.append("idle")
        super().__exit__(*args)
