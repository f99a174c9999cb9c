"""What tests of the web send: images, LoRA files, the end of a job, and a worker's heartbeat."""

import base64
import json
import time
from io import BytesIO
from typing import Any, Literal

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from api.schemas.job_request import JobRequest
from api.schemas.submission import ReplayRequest, Submission
from api.services import Services
from api.submission.resolve import ResolvedJob
from api.submission.source import Source, read_source
from api.submission.store import store_images
from api.submission.submit import prepare
from shared.catalog.preprocessors import NONE
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, Receipt, WorkerReceipt
from shared.jobs.record import Span, StoredImage
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.registry.workers import Heartbeat, publish_heartbeat

OCTETS = "application/octet-stream"


def image_file(size: tuple[int, int] = (64, 64), format: str = "PNG", **options: Any) -> bytes:
    """A still image whose pixels differ."""
    gradient = Image.linear_gradient("L").resize(size)
    file = BytesIO()
    Image.merge("RGB", [gradient, gradient.rotate(90), gradient]).save(file, format, **options)
    return file.getvalue()


def animated_file(format: str = "PNG") -> bytes:
    """An image of 64 x 64 pixels that moves."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    file = BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def edge(image: str | None = None, **more: Any) -> dict[str, Any]:
    """A ControlNet of the embedded catalog, as a request names it."""
    return {"name": "edge", "image": image or base64_of(image_file()), **more}


def safetensors(tensors: dict[str, list[int]]) -> bytes:
    """A file of fp32 zeros in the given shapes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def lora(rank: int = 4) -> bytes:
    """A LoRA of one module in PEFT's form."""
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    return safetensors({f"{module}.lora_A.weight": [rank, 32], f"{module}.lora_B.weight": [32, rank]})


def upload(client: FlaskClient, name: str, data: bytes, content_type: str | None = OCTETS) -> TestResponse:
    return client.put(f"/v1/loras/{name}", data=data, content_type=content_type)


#: Stands for what a preprocessor made.
MAP = "2" * 64


def receipt_of(spec: JobSpec) -> Receipt:
    """The receipt of a job, as a worker writes it."""
    maps = [
        controlnet.control_map or MAP if controlnet.preprocessor != NONE else controlnet.image
        for controlnet in spec.controlnets
    ]
    size = {"width": spec.width or 64, "height": spec.height or 64}
    return Receipt(
        spec=spec.with_control_maps(maps).model_copy(update=size),
        model_sha256="0" * 64,
        scheduler_config={},
        controlnets=[
            ControlNetReceipt(name=controlnet.name, sha256="1" * 64) for controlnet in spec.controlnets
        ],
        loras=[LoraReceipt(name=ref.name, sha256="2" * 64, step=0) for ref in spec.loras],
        worker=WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={}),
    ).sealed()


def succeed(attempt: Attempt, images: list[StoredImage]) -> None:
    """End a job as a worker does."""
    start = attempt.job.created_at
    span = Span(
        name="denoise", start_s=start + 0.5, end_s=start + 1.25, worker="unet-1", counts={"evictions": 2}
    )
    wait = Span(
        name="wait for residuals", start_s=start + 0.5, end_s=start + 0.75, worker="unet-1", residual=0
    )
    attempt.succeed(images, receipt_of(attempt.job.spec), [span, wait])


def heartbeat(
    name: str,
    kind: Literal["unet", "controlnet"],
    serves: str,
    loaded: list[str],
    attached_jobs: dict[str, list[str]] | None = None,
) -> Heartbeat:
    """What a live worker says of itself."""
    return Heartbeat(
        name=name,
        kind=kind,
        host="here",
        pid=1,
        device="cpu",
        serves=[serves],
        loaded=loaded,
        jobs=[],
        attached_jobs=attached_jobs or {},
        utilization=0.5,
        started_at=time.time(),
        version="0.1.0",
    )


def announce_workers(services: Services) -> None:
    """Have live workers serve everything in the embedded catalog."""
    controlnets = heartbeat("controlnet-1", "controlnet", "edge", [])
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), 3600)
    publish_heartbeat(
        services.control, controlnets.model_copy(update={"serves": list(services.catalog.controlnets)}), 3600
    )


def resolved(request: JobRequest, services: Services) -> JobSpec:
    """The job that a request describes; its images are stored."""
    return _stored(prepare(Source(request), services, LOCAL), services)


def replay(receipt: Receipt, services: Services) -> JobSpec:
    """The job that a receipt is replayed as."""
    source = read_source(Submission(ReplayRequest(receipt=receipt)))
    return _stored(prepare(source, services, LOCAL), services)


def _stored(job: ResolvedJob, services: Services) -> JobSpec:
    store_images(job.images, services.images, LOCAL)
    return job.spec
