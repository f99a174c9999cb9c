"""Events of jobs as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import redis
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import Field

from api.auth.principal import current_principal
from api.openapi import Headers, Query, operation_id
from api.routes.event_access import longest_block_s, while_authorized
from api.routes.jobs import JobPath
from api.schemas.problems import error_responses
from api.server.waiting import abort_on_disconnect
from api.services import Services
from shared.errors import BadRequest, ClientDisconnected
from shared.jobs.events import (
    START,
    Event,
    ended_jobs,
    follow_jobs,
    follow_tenant,
    latest_event,
    stream_events,
)
from shared.jobs.record import no_job

log = logging.getLogger(__name__)

#: How long a client that lost the stream waits before it reconnects.
RECONNECT_MS = 1000
#: Jobs that one stream may name: more do not fit into the line of a request.
MAX_JOBS = 100
STREAM = {
    "description": "Events `status`, `progress`, `preview`, and a closing `done`; their data is JSON. Where"
    " the API key or session ends, an event `unauthorized` with the code and detail of a 401 is the last one",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
STREAM_OF_MANY = STREAM | {
    "description": "The same events as those of one job, with `job` in the data of all but `unauthorized`;"
    " without `job` in the query no `preview`, and `reset` where events are missing"
}
_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_END = Event("", "", "")


class EventHeaders(Headers):
    """Headers of an event stream."""

    last_event_id: Annotated[
        str | None, Field(alias="Last-Event-ID", description="resume after this event")
    ] = None


class EventsQuery(Query):
    """Which jobs to follow."""

    job: list[str] = Field(
        [],
        max_length=MAX_JOBS,
        description="id of a job; several are named by `job=…&job=…`. None: every job of the tenant, from now"
        " on",
    )


def events_api(services: Services) -> APIBlueprint:
    """The routes of events. Open streams are limited: each holds a connection to Redis."""
    tag = Tag(name="jobs")
    api = APIBlueprint("events", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    slots = services.event_slots
    streams, block_s = services.streams, longest_block_s(services.settings)

    def respond(follow: Callable[[], Iterator[Event | None]], first_id: str) -> Response:
        """A response that sends events as they come; ``first_id``: where it begins, for who has seen none."""
        tenant = current_principal().tenant
        slots.take(tenant)
        events = while_authorized(follow(), services)
        response = Response(_stream(events, first_id, request.environ), mimetype="text/event-stream")
        response.call_on_close(partial(slots.give_back, tenant))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return response

    @api.get(
        "/v1/jobs/<id>/events",
        summary="Follow a job",
        responses={200: STREAM, 204: None, **error_responses(400, 404, 503)},
    )
    def follow_job(path: JobPath, header: EventHeaders) -> Response:
        """Everything from the start, or from after Last-Event-ID; 204 when nothing more will come."""
        after = _position(header)
        services.jobs.get(path.id, tenant=current_principal().tenant)
        if ended_jobs(streams, [path.id], after):
            return Response(status=204)  # an EventSource stops reconnecting then
        return respond(lambda: stream_events(streams, path.id, after, block_s=block_s), START)

    @api.get(
        "/v1/events",
        summary="Follow many jobs",
        responses={200: STREAM_OF_MANY, 204: None, **error_responses(400, 404, 422, 503)},
    )
    def follow_many(query: EventsQuery, header: EventHeaders) -> Response:
        """Of the jobs that are named everything from the start, or from after Last-Event-ID; 204 when nothing
        more will come. Else what happens to any job of the tenant from now on, or from after Last-Event-ID.

        A job that is gone when a client resumes is left out; one that is removed meanwhile ends with a `done`
        whose status is `deleted`. In the stream of all jobs every job that is deleted does, also one that has
        had a `done` before.
        """
        tenant = current_principal().tenant
        if not query.job:
            after = _position(header, latest_event(streams, tenant))
            return respond(lambda: follow_tenant(streams, tenant, after, block_s=block_s), after)
        after = _position(header)
        jobs = _open_jobs(services, query.job, tenant, after, is_resumed=header.last_event_id is not None)
        if not jobs:
            return Response(status=204)
        return respond(lambda: follow_jobs(streams, jobs, after, block_s=block_s), START)

    return api


def _position(header: EventHeaders, default: str = START) -> str:
    """The id after which a stream begins."""
    after = header.last_event_id or default
    if not _ID.fullmatch(after):
        raise BadRequest(f"Last-Event-ID {after!r} is not the id of an event")
    return after


def _open_jobs(
    services: Services, named: list[str], tenant: str, after: str, *, is_resumed: bool
) -> list[str]:
    """Those of the jobs that have or will have events after this id.

    Raises `NotFound` for one that is gone, or another tenant's; only for all of them, if a client goes on: it
    knew them, and the others are not over.
    """
    jobs = list(dict.fromkeys(named))
    owned = services.jobs.owned(jobs, tenant)
    gone = [job_id for job_id in jobs if job_id not in owned]
    if gone and not (is_resumed and owned):
        raise no_job(gone[0])
    ended = ended_jobs(services.streams, owned, after)
    return [job_id for job_id in jobs if job_id in owned and job_id not in ended]


def _stream(events: Iterator[Event | None], first_id: str, environ: Mapping[str, Any]) -> Iterator[str]:
    yield f"retry: {RECONNECT_MS}\n\n" if first_id == START else f"retry: {RECONNECT_MS}\nid: {first_id}\n\n"
    try:
        while (event := _next(events, environ)) is not _END:
            yield ": still here\n\n" if event is None else _format(event)
    except ClientDisconnected:
        log.debug("event stream left")
    except redis.RedisError as error:
        # The header is sent: end the stream; the client resumes after the last event it has received.
        log.warning("event stream ended", extra={"error": type(error).__name__})


def _next(events: Iterator[Event | None], environ: Mapping[str, Any]) -> Event | None:
    with abort_on_disconnect(environ):
        return next(events, _END)


def _format(event: Event) -> str:
    id_line = f"id: {event.id}\n" if event.id else ""
    data = json.dumps({"job": event.job, **json.loads(event.data)}) if event.job else event.data
    return f"{id_line}event: {event.kind}\ndata: {data}\n\n"
