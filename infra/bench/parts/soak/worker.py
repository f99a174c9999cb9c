"""A UNet worker of the soak: the worker's own objects, fed from a list, and telling more about itself.

``python -m infra.bench.parts.soak.worker NAME`` takes jobs from the list `QUEUE` and tells of each on `DONE`;
it ends when it takes `STOP`.
"""

import dataclasses
import os
import sys
import threading
from contextlib import suppress

from infra.bench.harness.processes import rss_mb
from infra.bench.parts.soak.messages import DONE, OPEN, QUEUE, STOP, Report
from shared.errors import SwiftError
from shared.jobs.spec import LoraRef
from shared.storage.object_store import Bucket
from workers.families.base import BaseModel
from workers.lora.cache.cache import CACHE_FOLDER, LoraCache
from workers.runtime.process import prepare_process
from workers.runtime.weights.loaded import weights_sha256
from workers.unet import app
from workers.unet.job import execute_job

#: So that files of these sizes come in several ranges.
RANGE_BYTES = 128 << 10
#: Between two jobs after which all weights are compared.
JOBS_PER_CHECK = 10


def main(name: str) -> None:
    """Generate what comes."""
    prepare_process(app.settings, name)
    bucket = Bucket(app.settings, app.settings.lora_bucket, attempts=1)
    cache = LoraCache(
        app.settings.home / CACHE_FOLDER,
        app.settings.lora_cache_bytes,
        bucket,
        app.settings.lora_wait_s,
        range_bytes=RANGE_BYTES,
    )
    worker = dataclasses.replace(app.worker, loras=cache)
    threading.Thread(target=_open_loras, args=[cache], name="open LoRAs", daemon=True).start()
    generated = 0
    with worker.models.use(app.serves[0]) as model:
        while True:
            job_id = _next(QUEUE)
            generated += 1
            if job_id != STOP:
                with suppress(SwiftError):  # the job says it itself
                    execute_job(worker, job_id, name)
            is_checked = job_id == STOP or generated % JOBS_PER_CHECK == 0
            report = Report(
                worker=name,
                job_id=job_id,
                rss_mb=rss_mb(os.getpid()),
                memory_tier_bytes=worker.lora_memory.used_bytes(),
                weights_equal=_is_pristine(model) if is_checked else None,
            )
            app.worker.jobs.redis.rpush(DONE, report.model_dump_json())
            if job_id == STOP:
                return


def _is_pristine(model: BaseModel) -> bool:
    """Take the last job's LoRAs out, and compare every weight with those that were loaded."""
    model.patcher.restore()
    return weights_sha256(model.parts) == model.sha256


def _open_loras(cache: LoraCache) -> None:
    """Open files of other jobs beside this worker's own: several threads of a process use the cache."""
    while True:
        ref = LoraRef.model_validate_json(_next(OPEN))
        with suppress(SwiftError, OSError), cache.open(ref):
            pass


def _next(queue: str) -> str:
    while True:
        taken: list[str] | None = app.worker.jobs.redis.blpop([queue], timeout=10)  # type: ignore[assignment]
        if taken:
            return taken[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
