"""What a mode changes around the loop; its pixels are the parity matrix's."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from shared.errors import InvalidRequest
from shared.jobs.events import stream_events
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, control_key
from tests.diffusers_peer import mask_image, source_image
from tests.tiny_models import EMOJI
from tests.workers.unet.specs import spec
from tests.workers.unet.test_job import control, run, upload
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


def stored(worker: UNetWorker, image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    worker.images.put(control_key(digest, tenant=LOCAL), file.getvalue(), content_type="image/png")
    return digest


def over(worker: UNetWorker, **changes: Any) -> JobSpec:
    return spec(**{"image": stored(worker, source_image()), "strength": 0.5, **changes})


@pytest.mark.parametrize(("scheduler", "steps"), [("ddim", 4), ("heun", 7)])
def test_progress_counts_the_steps_that_run(scheduler: str, steps: int, make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, over(worker, scheduler=scheduler, num_inference_steps=8))
    assert job.status == "succeeded", job.error
    assert (job.step, job.total) == (steps, steps)
    events = [event for event in stream_events(worker.jobs.redis, job.id) if event]
    told = [json.loads(event.data) for event in events if event.kind == "progress"]
    assert told[-1] == {"step": steps, "total": steps}


def test_a_lora_is_bounded_by_the_steps_that_run(make_worker: MakeWorker) -> None:
    worker = make_worker()
    ref = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    loading = LoraLoading(mode="replay", steps={ref.name: 3})
    last = run(worker, over(worker, num_inference_steps=8, loras=[ref], lora_loading=loading))
    assert last.receipt is not None
    assert last.receipt.loras[0].step == 3
    job_id, _ = worker.jobs.create(
        over(worker, num_inference_steps=6, loras=[ref], lora_loading=loading), tenant=LOCAL
    )
    with pytest.raises(InvalidRequest, match="from 0 to 2"):
        execute_job(worker, job_id, "unet1@test")


def test_a_controlnet_guides_its_share_of_the_steps_that_run(make_worker: MakeWorker) -> None:
    worker = make_worker()
    half = control(worker, guidance_end=0.5)
    job = run(worker, over(worker, num_inference_steps=8, controlnets=[half]))
    assert sum(span.name == "controlnet edge" for span in job.timeline) == 2


def test_image_and_mask_are_on_the_receipt(make_worker: MakeWorker) -> None:
    worker = make_worker()
    job = run(worker, over(worker, mask_image=stored(worker, mask_image())))
    assert job.receipt is not None
    told = (job.receipt.spec.image, job.receipt.spec.mask_image, job.receipt.spec.strength)
    assert told == (job.spec.image, job.spec.mask_image, 0.5)
    assert any(span.name == "encode image" for span in job.timeline)


def test_a_strength_that_leaves_no_doubled_timestep_is_refused(make_worker: MakeWorker) -> None:
    worker = make_worker()
    wanted = over(worker, scheduler="heun", timesteps=[900, 500, 300, 100], num_inference_steps=4)
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    with pytest.raises(InvalidRequest, match="leaves none of the 7 steps"):
        execute_job(worker, job_id, "unet1@test")


def test_a_model_that_was_trained_to_inpaint_needs_a_mask(make_worker: MakeWorker) -> None:
    worker = make_worker()
    for wanted in (spec(model="sd1-inpaint"), over(worker, model="sd1-inpaint")):
        job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
        with pytest.raises(InvalidRequest, match="it needs an image and a mask_image") as refused:
            execute_job(worker, job_id, "unet1@test")
        assert refused.value.field == "mask_image"
