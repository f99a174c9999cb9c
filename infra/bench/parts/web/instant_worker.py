"""A worker that ends every job at once with the same image: what a call takes then is the API's own time.

``python -m infra.bench.parts.web.instant_worker IMAGE.png`` serves the default model until it is terminated.
"""

import hashlib
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from shared.catalog.catalog import read_catalog
from shared.jobs.receipt import Receipt, WorkerReceipt
from shared.jobs.record import StoredImage
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.messaging.celery_app import unet_queue
from shared.redis_clients import control_redis
from shared.settings import Settings, read_settings
from shared.storage.image_bucket import ImageBucket

if TYPE_CHECKING:
    from redis import Redis

NAME = "instant"
KEY = "images/instant.png"
#: Length of one wait for a job.
WAIT_S = 10


class InstantWorker:
    """Claims and ends jobs through the real job store; the image is stored once, before the first of them."""

    def __init__(self, settings: Settings, redis: "Redis", png: bytes) -> None:
        self._jobs, self._redis = JobStore(redis, settings), redis
        ImageBucket(settings, redis).put(KEY, png, content_type="image/png")
        with Image.open(BytesIO(png)) as image:
            self._size = image.size
        self._sha256 = hashlib.sha256(png).hexdigest()

    def run(self, model: str) -> None:
        """Serve a model's queue for ever; messages are taken off it as they are: none is kept for a retry."""
        while True:
            taken: Any = self._redis.blpop([unet_queue(model)], timeout=WAIT_S)
            if taken is not None:
                self.end(json.loads(taken[1])["headers"]["id"])

    def end(self, job_id: str) -> None:
        """Have a queued job succeed."""
        attempt = self._jobs.claim(job_id, NAME)
        if attempt is None:
            return
        spec, (width, height) = attempt.job.spec, self._size
        images = [
            StoredImage(key=KEY, seed=seed, width=width, height=height, sha256=self._sha256)
            for seed in spec.image_seeds
        ]
        attempt.succeed(images, _receipt(spec, width, height), [])


def _receipt(spec: JobSpec, width: int, height: int) -> Receipt:
    return Receipt(
        spec=spec.model_copy(update={"width": width, "height": height}),
        model_sha256="0" * 64,
        scheduler_config={},
        controlnets=[],
        loras=[],
        worker=WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={}),
    ).sealed()


def main() -> None:
    """Run until the process is terminated."""
    settings = read_settings()
    model = read_catalog(settings.catalog, settings).default_model
    InstantWorker(settings, control_redis(settings), Path(sys.argv[1]).read_bytes()).run(model)


if __name__ == "__main__":
    main()
