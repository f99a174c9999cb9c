"""The story of a picture: claim the job, denoise beside the nets, patch LoRAs in flight, store."""

import logging
import time
from contextlib import ExitStack

import torch
from PIL import Image
from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from shared.errors import AttemptLost, JobCancelled, SwiftError, Unavailable
from shared.jobs import Attempt
from shared.keys import control_key
from shared.messages import Failure, JobSpec, Picture, Receipt
from workers.unet.denoise import denoise
from workers.unet.guidance import is_guided
from workers.unet.latents import first_latents, make_generators, step_options
from workers.unet.loras import Loras, pristine_after
from workers.unet.models import BaseModel
from workers.unet.nets import Nets
from workers.unet.pictures import decode_latents, encode_png, read_control_image, sha256
from workers.unet.prompts import encode_prompt
from workers.unet.receipts import write_receipt
from workers.unet.schedulers import make_scheduler
from workers.unet.seam import decode, encode
from workers.unet.timeline import Timeline
from workers.unet.watch import Watch
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)


def draw(worker: UNetWorker, job_id: str, name: str) -> str:
    """Run one attempt at a job under the worker's ``name``; returns how it ended.

    A retryable error gives the job back to the queue and is raised, so that the caller sends the
    message again; any other error ends the job as failed and is raised, so that Flower shows it.
    """
    attempt = worker.jobs.claim(job_id, name)
    if attempt is None:
        return "not mine"
    timeline = Timeline(name)
    timeline.add("queued", attempt.job.created_at, time.time(), "queue")
    started = time.monotonic()
    status = "lost"
    try:
        with worker.busy:
            status = _end(worker, attempt, timeline)
    except AttemptLost:
        log.warning("attempt lost job=%s attempt=%s", job_id, attempt.token)
    finally:
        metrics.JOBS.labels(attempt.job.spec.model, status).inc()
        metrics.JOB_S.labels(attempt.job.spec.model).observe(time.monotonic() - started)
    return status


def _end(worker: UNetWorker, attempt: Attempt, timeline: Timeline) -> str:
    """Run the attempt and write how it ended; raises `AttemptLost` when that is another's to say."""
    try:
        return _run(worker, attempt, timeline)
    except JobCancelled:
        attempt.end("cancelled", None, timeline.spans)
        return "cancelled"
    except AttemptLost:
        raise
    except Exception as error:
        _fail(attempt, error, timeline)
        raise


def _run(worker: UNetWorker, attempt: Attempt, timeline: Timeline) -> str:
    spec = attempt.job.spec
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(attempt, worker.settings))
        with timeline.span("model"):
            model = stack.enter_context(worker.models.use(spec.model))
        stack.enter_context(pristine_after(worker.models, model))
        images, receipt = _paint(worker, attempt, model, watch, timeline)
        with timeline.span("store"):
            pictures = _store(worker, attempt, images, receipt)
        watch.check()
    attempt.succeed(pictures, receipt, timeline.spans)
    return "succeeded"


def _paint(
    worker: UNetWorker, attempt: Attempt, model: BaseModel, watch: Watch, timeline: Timeline
) -> tuple[list[Image.Image], Receipt]:
    spec = attempt.job.spec
    unet, size = model.pipe.unet, model.size(spec.width, spec.height)
    scheduler = make_scheduler(
        spec.scheduler, model.pipe.scheduler.config, spec.num_inference_steps, str(unet.device)
    )
    total = len(scheduler.timesteps)
    generators = make_generators(spec)
    latents = first_latents(model, scheduler, generators, size)
    loras = Loras(
        spec,
        model,
        worker.loras,
        total_steps=total,
        wait_s=worker.settings.lora_wait_s,
        timeline=timeline,
        check=watch.check,
    )
    nets = Nets(
        spec.controlnets,
        job_id=attempt.job.id,
        attempt=attempt.token,
        ordinal=attempt.job.attempts,
        transport=worker.transport,
        settings=worker.settings,
        timeline=timeline,
        check=watch.check,
    )
    embeddings = torch.empty(0)
    step_began = time.time()

    def before_step(i: int) -> None:
        nonlocal embeddings, step_began
        step_began = time.time()
        watch.check()
        if loras.before_step(i) or i == 0:
            with timeline.span("prompt"):
                embeddings = encode_prompt(model, spec)
                nets.use_embeddings(embeddings)

    def predict(x: Tensor, i: int, t: Tensor) -> Tensor:
        residuals = nets.ask(x, i, total, t.item())
        with timeline.span("encoder"):
            encoded = encode(unet, x, t, embeddings)
        with timeline.span("decoder"):
            noise = decode(unet, encoded, residuals)
        if residuals is not None:
            residuals.finish()
        return noise

    def after_step(i: int, latents: Tensor) -> None:
        metrics.STEP_S.labels(spec.model).observe(time.time() - step_began)
        watch.progress(i + 1, total, lambda: model.preview(latents))

    try:
        with timeline.span("attach"):
            _attach(worker, nets, model, spec, size)
        latents = denoise(
            predict,
            scheduler,
            latents,
            guidance_scale=spec.guidance_scale,
            step_options=step_options(scheduler, generators),
            before_step=before_step,
            after_step=after_step,
        )
    finally:
        nets.close()
        loras.note_loading()
    watch.check()
    with timeline.span("vae"):
        images = decode_latents(model, latents)
    receipt = write_receipt(
        spec,
        model,
        scheduler=scheduler,
        size=size,
        net_hashes=nets.hashes,
        loras=loras.receipts(),
    )
    return images, receipt


def _attach(worker: UNetWorker, nets: Nets, model: BaseModel, spec: JobSpec, size: tuple[int, int]) -> None:
    images = [
        read_control_image(worker.images.get(control_key(net.image)), model, size) for net in spec.controlnets
    ]
    rows = spec.num_images * (2 if is_guided(spec.guidance_scale) else 1)
    nets.attach(images, rows, worker.send_attach)


def _store(
    worker: UNetWorker, attempt: Attempt, images: list[Image.Image], receipt: Receipt
) -> list[Picture]:
    pictures = []
    for i, image in enumerate(images):
        png = encode_png(image, attempt.job.spec, receipt, i)
        # The attempt is in the key: one that lost its lease cannot overwrite its successor's.
        key = f"pictures/{attempt.job.id}/{attempt.token}-{i}.png"
        worker.images.put(key, png, content_type="image/png")
        pictures.append(
            Picture(
                key=key,
                seed=attempt.job.spec.seed + i,
                width=image.width,
                height=image.height,
                sha256=sha256(png),
            )
        )
    return pictures


def _fail(attempt: Attempt, error: Exception, timeline: Timeline) -> str:
    """Give the job back if another attempt may succeed, else end it with the reason."""
    if is_retryable(error):
        log.warning("job given back job=%s error=%r", attempt.job.id, error)
        try:
            attempt.give_back(_failure(error))
        except (AttemptLost, RedisError):
            return "lost"  # the lease runs out, and recovery queues the job again
        return "given back"
    attempt.end("failed", _failure(error), timeline.spans)
    return "failed"


def _failure(error: Exception) -> Failure:
    code = error.code if isinstance(error, SwiftError) else Unavailable.code
    if not isinstance(error, SwiftError | RedisError):
        code = SwiftError.code
    return Failure(code=code, detail=str(error) or repr(error))


def is_retryable(error: Exception) -> bool:
    """Whether another attempt at the job may succeed: our errors say it, and servers come back."""
    return isinstance(error, RedisError) or (isinstance(error, SwiftError) and error.retryable)
