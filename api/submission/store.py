"""Third stage: the images to the bucket, then the job's record. From then on the job is accepted."""

from collections.abc import Mapping

from api.services import Services
from api.submission.resolve import ResolvedJob
from shared.jobs.receipt import Receipt
from shared.keys import control_key
from shared.storage.object_store import Bucket


def store(
    job: ResolvedJob, receipt: Receipt | None, services: Services, *, idempotency_key: str, body_sha256: str
) -> tuple[str, bool]:
    """Store a job; returns its id, and whether it is new: a repeated key stands for the first job.

    Raises `Conflict` for a key that was used with another body.
    """
    store_images(job.images, services.images)
    return services.jobs.create(
        job.spec,
        replays=receipt,
        idempotency_key=idempotency_key,
        digest=body_sha256,
        warnings=job.warnings,
    )


def store_images(pngs: Mapping[str, bytes], bucket: Bucket) -> None:
    """Put PNGs into the bucket, each under its sha256, unless they are there."""
    for sha256, png in pngs.items():
        key = control_key(sha256)
        if not bucket.exists(key):
            bucket.put(key, png, content_type="image/png")
