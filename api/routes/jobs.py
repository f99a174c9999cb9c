"""`/v1/jobs`: submit, read, list, cancel and delete jobs."""

import hashlib
from typing import Annotated, Any, Literal

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, BeforeValidator, Field

from api.auth.principal import current_principal
from api.json_response import json_response
from api.openapi import Headers, Query, operation_id
from api.routes.json_body import require_json_object
from api.schemas.job_list import SUMMARY, JobField, JobPage, JobSummary, stored_fields, unlisted_fields
from api.schemas.job_responses import AcceptedResponse, JobResponse
from api.schemas.problems import error_responses
from api.schemas.submission import Submission
from api.server.threads import run_inline
from api.services import Services
from api.submission.submit import estimate_submission, submit
from shared.errors import JobUnreadable, ScopeMissing
from shared.jobs.record import Job, JobEstimate, Status

#: Hashing more than this takes longer than other clients should wait.
OFFLOAD_BYTES = 1 << 20


#: How a submission may be answered.
SUBMITTED: dict[Any, Any] = {
    200: JobEstimate,
    202: AcceptedResponse,
    **error_responses(400, 408, 409, 410, 413, 415, 422, 429, 503),
}


class JobPath(BaseModel):
    """Path of a job."""

    id: str


class SubmitQuery(Query):
    """How a submission is treated."""

    dry_run: bool = Field(False, description="check the request and estimate its job, and accept nothing")


class SubmitHeaders(Headers):
    """Headers of a submission."""

    idempotency_key: Annotated[
        str | None,
        Field(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="a repeat with the same key and body returns the first job",
        ),
    ] = None


def _split(values: Any) -> Any:
    """``fields=a,b`` means what ``fields=a&fields=b`` does."""
    return [name for value in values for name in value.split(",")] if isinstance(values, list) else values


class JobQuery(Query):
    """Which jobs a list has, and which fields of each."""

    status: Status | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, description="`next_cursor` of the page before")
    tenants: Literal["own", "all"] = Field("own", description="`all`: jobs of every tenant; for admins")
    fields: Annotated[list[JobField], BeforeValidator(_split)] = Field(
        list(SUMMARY),
        max_length=len(SUMMARY) * 2,
        description="fields of each job, separated by commas; default: a summary, without receipt,"
        " timeline and request",
    )


def jobs_api(services: Services) -> APIBlueprint:
    """The routes of jobs."""
    tag = Tag(name="jobs", description="Submit text-to-image jobs and watch them")
    api = APIBlueprint("jobs", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    jobs = services.jobs

    @api.before_request
    def read_json() -> None:
        if request.method == "POST" and request.endpoint == f"jobs.{submit_job.__name__}":
            require_json_object()

    @api.post("/v1/jobs", summary="Submit a job", responses=SUBMITTED)
    def submit_job(body: Submission, header: SubmitHeaders, query: SubmitQuery) -> Response:
        """202, answered once the job is stored, and on disk if the control Redis can say so: from then on no
        restart of anything loses it.

        With the `receipt` of a job and no other field, its images are generated again, bit by bit.
        200: `dry_run`, the estimate alone. 409: also if the job cannot be done by its `deadline_s`.
        """
        if query.dry_run:
            tenant = current_principal().tenant
            return json_response(estimate_submission(body, services, tenant).response)
        return _submit(body, header.idempotency_key or "", services)

    @api.get(
        "/v1/jobs",
        summary="List jobs, newest first",
        responses={200: JobPage, **error_responses(422, 503)},
    )
    def list_jobs(query: JobQuery) -> Response:
        """Summaries of jobs; `fields` asks for more, and the job itself has all."""
        return json_response(_page(services, query), exclude=unlisted_fields(query.fields))

    @api.get("/v1/jobs/<id>", summary="Read a job", responses={200: JobResponse, **error_responses(404, 503)})
    def read_job(path: JobPath) -> Response:
        return json_response(_answer(services, jobs.get(path.id, tenant=current_principal().tenant)))

    @api.post(
        "/v1/jobs/<id>/cancel",
        summary="Cancel a job",
        responses={200: JobResponse, 202: JobResponse, 204: None, **error_responses(404, 503)},
    )
    def cancel_job(path: JobPath) -> Response:
        """202: the job is running and stops within one step. 200: it has ended, now or before.

        Its images stay, and the call may be repeated. 204: cancelled, but its record cannot be read.
        """
        return _cancel(services, path.id)

    @api.delete("/v1/jobs/<id>", summary="Delete a job", responses={204: None, **error_responses(404, 503)})
    def delete_job(path: JobPath) -> Response:
        """Cancels a job that has not ended, then removes its record, events and images; a repeat is a 404.

        Control images stay for replays until they have been unused for `SWIFT_CONTROL_IMAGE_TTL_S`.
        """
        jobs.delete(path.id, tenant=current_principal().tenant)
        return Response(status=204)

    return api


def _submit(body: Submission, idempotency_key: str, services: Services) -> Response:
    data = request.get_data()
    run = services.offload if len(data) > OFFLOAD_BYTES else run_inline
    body_sha256 = run(lambda: hashlib.sha256(data).hexdigest())
    tenant = current_principal().tenant
    job = submit(body, services, tenant=tenant, idempotency_key=idempotency_key, body_sha256=body_sha256)
    accepted = AcceptedResponse.of(job.id, job.status, job.spec, job.warnings, job.estimate)
    headers = {"Location": accepted.links.self}
    if job.is_repeated:
        headers["Idempotency-Replayed"] = "true"
    return json_response(accepted, 202, headers)


def _cancel(services: Services, job_id: str) -> Response:
    tenant = current_principal().tenant
    status = 202 if services.jobs.cancel(job_id, tenant=tenant) == "cancelling" else 200
    try:
        return json_response(_answer(services, services.jobs.get(job_id, tenant=tenant)), status)
    except JobUnreadable:
        return Response(status=204)


def _page(services: Services, query: JobQuery) -> JobPage:
    """A page of a list; fields that the query does not name stay ``None``."""
    who = current_principal()
    if query.tenants == "all" and not who.is_admin:
        raise ScopeMissing("jobs of all tenants are listed to keys with scope admin")
    page, cursor = services.jobs.page(
        status=query.status,
        limit=query.limit,
        cursor=query.cursor,
        fields=stored_fields(query.fields),
        tenant=None if query.tenants == "all" else who.tenant,
    )
    positions = _queue_positions(services, page) if "queue_position" in query.fields else {}
    summaries = [JobSummary.of(job, positions.get(job.id), query.fields) for job in page]
    return JobPage(jobs=summaries, next_cursor=cursor)


def _answer(services: Services, job: Job) -> JobResponse:
    return JobResponse.of(job, _queue_positions(services, [job]).get(job.id))


def _queue_positions(services: Services, jobs: list[Job]) -> dict[str, int]:
    """Positions among the queued jobs of each one's tenant, counted from 1, of those jobs that are queued."""
    queued = {job.id: job.tenant for job in jobs if job.status == "queued"}
    if not queued:
        return {}
    queues = {tenant: services.jobs.list_of(tenant, "queued") for tenant in set(queued.values())}
    pipe = services.control.pipeline(transaction=False)
    for job_id, tenant in queued.items():
        pipe.zrank(queues[tenant], job_id)
    ranks = dict(zip(queued, pipe.execute(), strict=True))
    return {job_id: rank + 1 for job_id, rank in ranks.items() if rank is not None}
