"""How urgent a job is and when it will be done: jobs that would miss their deadline are not accepted."""

from api.estimates import Estimate
from api.services import Services
from api.submission.resolve import ResolvedJob
from api.submission.source import Source
from shared.errors import DeadlineUnreachable, InvalidRequest
from shared.jobs.record import JobScheduling
from shared.tenants.tenant import LOCAL, PRIORITIES, Priority


def estimate_job(source: Source, job: ResolvedJob, services: Services, tenant: str) -> Estimate:
    """When a tenant's job would be done that were accepted now; raises `InvalidRequest` for its priority."""
    _check_priority(source.request.priority, services, tenant)
    return services.estimator.estimate(job.spec, source.request.priority, tenant)


def schedule(source: Source, estimate: Estimate) -> JobScheduling:
    """What the record says of the job's turn; raises `DeadlineUnreachable`."""
    deadline_s, response = source.request.deadline_s, estimate.response
    if deadline_s is not None and response.eta_s is not None and response.eta_s > deadline_s:
        raise DeadlineUnreachable(
            f"half of such jobs are done within {response.eta_s:g} s, nine of ten within"
            f" {response.eta_p90_s:g} s; deadline_s is {deadline_s:g}",
            estimate=response.model_dump(),
        )
    raw_s, kind = (None, "") if estimate.eta is None else (estimate.eta.raw_s, estimate.eta.kind)
    return JobScheduling(
        source.request.priority,
        response.device_seconds,
        deadline_s,
        raw_s,
        kind,
        response,
    )


def _check_priority(priority: Priority, services: Services, tenant: str) -> None:
    allowed = PRIORITIES if tenant == LOCAL else services.tenant_cache.get(tenant).priorities
    if priority not in allowed:
        raise InvalidRequest(f"{priority!r} is not allowed to you: {', '.join(allowed)}", field="priority")
