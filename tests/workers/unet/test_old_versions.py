"""What version 0.1 left in Redis: its jobs are executed, and its receipts give the same images."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image
from redis import Redis

from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.options import LoraLoading
from shared.keys import LOCAL, control_key
from shared.messaging.messages import GenerateJob
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.samples.old_versions import FOLDER, old_receipt, payload, restore, sample
from tests.tiny_models import EMOJI
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


@pytest.fixture
def worker(make_worker: MakeWorker, control: Redis) -> UNetWorker:
    """A worker, and what the jobs of the samples need in S3."""
    control.flushdb()
    worker = make_worker()
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    lora = (EMOJI / "loras" / "twemoji.safetensors").read_bytes()
    bucket.put("twemoji.safetensors", lora, content_type="application/octet-stream")
    png = (EMOJI / "control" / "2_penguin.png").read_bytes()
    worker.images.put(
        control_key(hashlib.sha256(png).hexdigest(), tenant=LOCAL), png, content_type="image/png"
    )
    return worker


def assert_same_image(png: bytes, sample: Path) -> None:
    """The same but for the rounding of another kind of CPU: the sample was not made on this machine."""
    with Image.open(io.BytesIO(png)) as now, Image.open(sample) as was:
        difference = numpy.abs(numpy.asarray(now, dtype=int) - numpy.asarray(was, dtype=int))
    assert difference.max() <= 1


def test_a_waiting_job_and_its_message_are_executed(worker: UNetWorker, control: Redis) -> None:
    queued = sample("queued_job")
    job_id = restore(control, queued["hash"])
    [message] = queued["queue"]
    assert execute_job(worker, GenerateJob.model_validate(payload(message)).job_id, "w") == "succeeded"
    job = worker.jobs.get(job_id)
    assert job.receipt is not None
    assert [lora.name for lora in job.receipt.loras] == ["twemoji"]
    assert len(job.images) == 1


def test_a_waiting_replay_is_executed_and_gives_the_same_pixels(
    worker: UNetWorker, control: Redis, servers: Settings
) -> None:
    """The canny map is stored in S3 by the job that computes it first."""
    first = restore(control, sample("queued_job")["hash"])
    execute_job(worker, first, "w")
    job_id = restore(control, sample("queued_replay"))
    assert execute_job(worker, job_id, "w") == "succeeded"
    job = worker.jobs.get(job_id)
    assert_same_image(worker.images.get(job.images[1].key), FOLDER / "format_2.png")


def test_the_receipt_of_the_first_format_gives_the_same_pixels(worker: UNetWorker) -> None:
    receipt = LegacyReceipt.model_validate(old_receipt(1)).upgraded()
    bucket = Bucket(worker.settings, worker.settings.lora_bucket)
    stat = bucket.head("twemoji.safetensors")
    [ref] = receipt.spec.loras
    found = ref.model_copy(update={"etag": stat.etag, "size_bytes": stat.size_bytes})
    loading = LoraLoading(mode="replay", steps={lora.name: lora.step for lora in receipt.loras})
    spec = receipt.spec.model_copy(update={"loras": [found], "lora_loading": loading})
    job_id, _ = worker.jobs.create(spec, replays=receipt, tenant=LOCAL)
    assert execute_job(worker, job_id, "w") == "succeeded"
    job = worker.jobs.get(job_id)
    assert_same_image(worker.images.get(job.images[0].key), FOLDER / "format_1.png")
