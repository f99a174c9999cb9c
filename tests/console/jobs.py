"""Jobs in every state without workers: what those would write, through the real job store and bucket."""

import hashlib
import random
from typing import Any

from PIL import Image

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.image_files.formats import media_type
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, JobEstimate, JobScheduling, Span, StoredImage
from shared.keys import LOCAL, control_key, image_key
from tests.api.services import image_file, receipt_of, resolved
from workers.unet.output.image_files import encode_image

UNET, CONTROLNET = "unet1@host-a", "controlnet1@host-b"
STEPS = 12


def add_job(
    services: Services,
    prompt: str = "a red apple",
    *,
    tenant: str = LOCAL,
    priority: Any = "normal",
    **more: Any,
) -> str:
    """A queued job of this request; returns its id."""
    seed = {} if "seeds" in more else {"seed": 7}
    spec = resolved(JobRequest.model_validate({"prompt": prompt, **seed, **more}), services)
    estimate = JobEstimate(device_seconds=4.0, queue_position=1, eta_s=95.0, eta_p90_s=120.0)
    scheduling = JobScheduling(priority=priority, estimate=estimate)
    job_id, _ = services.jobs.create(spec, tenant=tenant, scheduling=scheduling)
    return job_id


def begin(services: Services, job_id: str, step: int = 0, total: int = STEPS) -> Attempt:
    """Have a worker claim the job, and report ``step``."""
    attempt = services.jobs.claim(job_id, UNET)
    assert attempt is not None
    if step:
        attempt.advance(step, total)
    return attempt


def succeed(
    services: Services,
    attempt: Attempt,
    images: list[Image.Image] | None = None,
    *,
    receipt: Receipt | None = None,
    warnings: list[str] | None = None,
) -> None:
    """End the job with these images, by default one for each seed; ``receipt``: the one it replays."""
    receipt = receipt or receipt_of(attempt.job.spec)
    spec = receipt.spec
    images = images or [
        sample_image(seed, (spec.width or 64, spec.height or 64)) for seed in spec.image_seeds
    ]
    stored = []
    for n, image in enumerate(images):
        data = encode_image(image, receipt, n)
        key = image_key(attempt.job.id, attempt.token, n, spec.output_format)
        services.images.put(key, data, content_type=media_type(spec.output_format))
        stored.append(
            StoredImage(
                key=key,
                seed=spec.image_seeds[n],
                width=image.width,
                height=image.height,
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    maps = {controlnet.control_map for controlnet in spec.controlnets} - {None}
    for sha256 in maps:
        services.images.put(control_key(str(sha256), LOCAL), image_file(), content_type="image/png")
    attempt.succeed(stored, receipt, spans(attempt), warnings or [])


def finished(services: Services, prompt: str = "a red apple", **request: Any) -> str:
    """A job that has succeeded; returns its id."""
    job_id = add_job(services, prompt, **request)
    succeed(services, begin(services, job_id, STEPS))
    return job_id


def failed(services: Services, prompt: str = "a red apple") -> str:
    """A job that has failed; returns its id."""
    job_id = add_job(services, prompt)
    attempt = begin(services, job_id, 3)
    detail = "LoRA 'anime' was overwritten or deleted after the job was accepted"
    attempt.end("failed", Failure(code="lora_gone", detail=detail), spans(attempt)[:6])
    return job_id


def spans(attempt: Attempt) -> list[Span]:
    """A timeline as a worker writes it, with the job's ControlNets and LoRAs."""
    start, spec = attempt.job.created_at, attempt.job.spec
    found: list[tuple[str, float, float, str, dict[str, Any]]] = [
        ("queued", 0.0, 0.42, "queue", {}),
        ("model", 0.42, 0.61, UNET, {}),
        ("prompt", 0.61, 0.7, UNET, {}),
    ]
    for ref in spec.loras:
        found.append(
            (f"lora {ref.name} from s3", 0.45, 0.9, UNET, {"counts": {"fetched_bytes": ref.size_bytes}})
        )
        found.append((f"lora {ref.name} parse", 0.9, 0.98, UNET, {}))
        found.append((f"patch {ref.name}", 1.06, 1.1, UNET, {}))
    for step in range(STEPS):
        at = 1.1 + step * 0.2
        found.append(("encoder", at, at + 0.07, UNET, {}))
        found.append(("decoder", at + 0.09, at + 0.19, UNET, {}))
        for controlnet in spec.controlnets:
            found.append((f"controlnet {controlnet.name}", at + 0.01, at + 0.085, CONTROLNET, {}))
        if spec.controlnets:
            found.append(("wait for residuals", at + 0.07, at + 0.09, UNET, {"residual": step % 2}))
    found += [("vae", 3.5, 3.62, UNET, {}), ("store", 3.62, 3.7, UNET, {})]
    return [
        Span(name=name, start_s=start + begun, end_s=start + ended, worker=worker, **more)
        for name, begun, ended, worker, more in found
    ]


def sample_image(seed: int, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Something to look at: a circle before a gradient, in colours of the seed."""
    hue = random.Random(seed).randrange(256)
    shade = Image.linear_gradient("L").resize(size)
    middle = Image.radial_gradient("L").resize(size).point([255] * 110 + [0] * 146)
    channels = [Image.new("L", size, hue), Image.new("L", size, 120), shade.point(lambda v: 90 + v // 2)]
    front = Image.new("HSV", size, ((hue + 110) % 256, 190, 220))
    return Image.composite(front, Image.merge("HSV", channels), middle).convert("RGB")
