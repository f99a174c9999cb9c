"""How a submission becomes a job: validate, resolve, store, dispatch, in that order and nowhere else."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from api.estimates import Estimate
from api.schemas.submission import Submission
from api.services import Services
from api.submission.checks.webhook import check_webhook
from api.submission.match_receipt import match_receipt
from api.submission.resolve import ResolvedJob, resolve
from api.submission.schedule import estimate_job, schedule
from api.submission.source import Source, errors_within, read_source
from api.submission.store import store
from api.submission.validate import validate
from api.submission.worker_checks import refuse_unloadable, warn_without_workers
from shared.jobs.record import JobEstimate, Status
from shared.jobs.spec import JobSpec
from shared.metrics import JOBS_SUBMITTED

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubmittedJob:
    """A job that was accepted, now or, for a repeated idempotency key, before."""

    id: str
    status: Status
    spec: JobSpec
    warnings: Sequence[str]
    is_repeated: bool = False
    estimate: JobEstimate | None = None  # None: an earlier version has accepted it


def submit(
    submission: Submission, services: Services, *, tenant: str, idempotency_key: str, body_sha256: str
) -> SubmittedJob:
    """Accept a tenant's job, once for each of its idempotency keys.

    Raises a `SwiftError` that explains a refusal.
    """
    # Asked before anything is resolved: what the first request named may be gone by now.
    if idempotency_key:
        first = services.jobs.find_repeated(idempotency_key, body_sha256, tenant)
        if first is not None:
            return _repeated(first, services)
    services.jobs.check_limits(tenant)
    source = read_source(submission)
    webhook = check_webhook(submission.root.webhook, services)
    job = prepare(source, services, tenant)
    estimate = estimate_job(source, job, services, tenant)
    scheduling = schedule(source, estimate)
    job_id, is_new = store(
        job,
        source.receipt,
        scheduling,
        services,
        tenant=tenant,
        idempotency_key=idempotency_key,
        body_sha256=body_sha256,
        webhook=webhook,
    )
    if not is_new:  # two requests at once
        return _repeated(job_id, services)
    JOBS_SUBMITTED.labels(job.spec.model).inc()
    services.dispatcher.dispatch(job_id, job.spec)
    fields = {"job": job_id, "tenant": tenant, "model": job.spec.model, "images": job.spec.num_images}
    log.info("job accepted", extra=fields)
    # Warnings about workers are not stored: which workers there are changes at any moment.
    warnings = [*job.warnings, *warn_without_workers(services, job.spec)]
    return SubmittedJob(job_id, "queued", job.spec, warnings, estimate=estimate.response)


def estimate_submission(submission: Submission, services: Services, tenant: str) -> Estimate:
    """The estimate of a job that is not accepted; raises what `submit` does, but for limits and deadline."""
    source = read_source(submission)
    check_webhook(submission.root.webhook, services)
    return estimate_job(source, prepare(source, services, tenant), services, tenant)


def prepare(source: Source, services: Services, tenant: str) -> ResolvedJob:
    """The job that a tenant's request describes, all of it checked; nothing is stored yet."""
    with errors_within(source.prefix):
        valid = validate(source.request, services)
        # Before S3 and images: this needs no more than names.
        refuse_unloadable(services, valid.draft.model, valid.request.controlnets)
        job = resolve(valid, source, services, tenant)
    if source.receipt is not None:
        match_receipt(job.spec, source.receipt, source.prefix)
    return job


def _repeated(job_id: str, services: Services) -> SubmittedJob:
    job = services.jobs.get(job_id)
    warnings = warn_without_workers(services, job.spec) if job.status == "queued" else []
    return SubmittedJob(job.id, job.status, job.spec, [*job.warnings, *warnings], True, job.estimate)
