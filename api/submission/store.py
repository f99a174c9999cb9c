"""Third stage: the images to the bucket, then the job's record. From then on the job is accepted."""

from collections.abc import Mapping
from contextlib import suppress

from api.services import Services
from api.submission.resolve import ResolvedJob
from shared.errors import Conflict, LimitExceeded, SwiftError
from shared.jobs.receipt import Receipt
from shared.jobs.record import JobScheduling
from shared.jobs.spec import JobSpec
from shared.keys import control_key
from shared.storage.image_bucket import ImageBucket
from shared.webhooks.endpoint import JobWebhook

#: Of a model whose files do not say their size.
DEFAULT_SIZE = 512, 512


def store(
    job: ResolvedJob,
    receipt: Receipt | None,
    scheduling: JobScheduling,
    services: Services,
    *,
    tenant: str,
    idempotency_key: str,
    body_sha256: str,
    webhook: JobWebhook | None = None,
) -> tuple[str, bool]:
    """Store a tenant's job; returns its id, and whether it is new: a repeated key stands for the first job.

    Raises `Conflict` for a key that was used with another body, and `LimitExceeded`; its images go then.
    """
    added = store_images(job.images, services.images, tenant)
    try:
        return services.jobs.create(
            job.spec,
            replays=receipt,
            idempotency_key=idempotency_key,
            digest=body_sha256,
            warnings=job.warnings,
            tenant=tenant,
            pixel_steps=pixel_steps(job.spec, services),
            webhook=webhook,
            scheduling=scheduling,
        )
    except (Conflict, LimitExceeded):
        with suppress(SwiftError):  # they expire
            services.images.discard(added)
        raise


def pixel_steps(spec: JobSpec, services: Services) -> int:
    """What a job costs of its tenant's budget: width times height times steps times images."""
    width, height = spec.width, spec.height
    if width is None or height is None:
        own = services.families.default_size(spec.model) or DEFAULT_SIZE
        width, height = width or own[0], height or own[1]
    return width * height * spec.num_inference_steps * spec.num_images


def store_images(pngs: Mapping[str, bytes], bucket: ImageBucket, tenant: str) -> dict[str, str]:
    """Put PNGs of a tenant into the bucket, each under its sha256, unless they are there.

    Returns those that are of this request alone, as `ImageBucket.discard` takes them.
    """
    keys = [(control_key(sha256, tenant), png) for sha256, png in pngs.items()]
    added = [(key, bucket.add(key, png)) for key, png in keys]
    return {key: when for key, when in added if when is not None}
