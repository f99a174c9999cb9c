"""Records logged within a job name the job, its attempt and the worker, in every thread."""

import dataclasses
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.logs import JsonLines
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.proxy import proxied
from tests.tiny_models import EMOJI
from tests.workers.unet.jobs import upload
from tests.workers.unet.specs import spec
from workers.lora.cache.cache import LoraCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

TWEMOJI = EMOJI / "loras" / "twemoji.safetensors"
NAME = "unet1@test"


@pytest.fixture
def read_log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Reads what our own modules have logged, as a worker process writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines({"worker": NAME}))
    logger = logging.getLogger("workers")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.usefixtures("pristine")
def test_every_record_of_a_job_has_job_attempt_and_worker(
    make_worker: Callable[..., UNetWorker],
    servers: Settings,
    tmp_path: Path,
    read_log: Callable[[], list[dict[str, Any]]],
) -> None:
    # Given a job whose LoRA comes over a connection that breaks once
    worker = make_worker(serve_controlnets=False)
    with proxied(servers.s3_port) as line:
        settings = worker.settings.model_copy(update={"s3_endpoint_url": line.url})
        bucket = Bucket(settings, settings.lora_bucket, attempts=1)
        worker = dataclasses.replace(worker, loras=LoraCache(tmp_path, 10_000_000, bucket, 60))
        job_id, _ = worker.jobs.create(spec(loras=[upload(worker, TWEMOJI)]), tenant="acme")
        line.cuts, line.cut_after_bytes = 1, 100_000
        # When it runs
        assert execute_job(worker, job_id, NAME) == "succeeded"
    # Then the main thread and the one that downloads have logged, with the same fields
    records = read_log()
    loggers = {record["logger"] for record in records}
    assert loggers >= {"workers.unet.attempt_outcome", "workers.lora.cache.transfer"}
    named = {(record["job"], record["worker"], record["tenant"]) for record in records}
    assert named == {(job_id, NAME, "acme")}
    [attempt] = {record["attempt"] for record in records}
    assert attempt
