"""Jobs executed by a worker in the test's own process."""

import hashlib
import io
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.jobs.record import Job
from shared.jobs.spec import ControlNetSpec, JobSpec, LoraRef
from shared.keys import LOCAL, control_key
from tests.tiny_models import EMOJI
from tests.workers.buckets import shared_bucket
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker


def store_image(worker: UNetWorker, image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    worker.images.put(control_key(digest, tenant=LOCAL), file.getvalue(), content_type="image/png")
    return digest


def control(worker: UNetWorker, name: str = "edge", **changes: Any) -> ControlNetSpec:
    png = (EMOJI / "control" / "2_penguin.png").read_bytes()
    digest = hashlib.sha256(png).hexdigest()
    worker.images.put(control_key(digest, tenant=LOCAL), png, content_type="image/png")
    values = {
        "name": name,
        "image": digest,
        "conditioning_scale": 1.0,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "preprocessor": "none",
    }
    return ControlNetSpec.model_validate(values | changes)


def upload(worker: UNetWorker, path: Path, scale: float = 1.0) -> LoraRef:
    name = f"{path.stem}-{uuid.uuid4().hex[:6]}"
    bucket = shared_bucket(worker.settings, worker.settings.lora_bucket)
    data = path.read_bytes()
    etag = bucket.put(f"{name}.safetensors", data, content_type="application/octet-stream")
    return LoraRef(name=name, etag=etag, size_bytes=len(data), scale=scale)


def run(worker: UNetWorker, wanted: JobSpec) -> Job:
    job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
    execute_job(worker, job_id, "unet1@test")
    return worker.jobs.get(job_id)


def pixels(worker: UNetWorker, job: Job, index: int = 0) -> NDArray[np.int16]:
    assert job.status == "succeeded", job.error
    png = worker.images.get(job.images[index].key)
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16)
