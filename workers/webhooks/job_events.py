"""Events of jobs with webhooks: read from the stream that the job script writes, made into deliveries."""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from redis.exceptions import ResponseError

from shared import keys
from shared.jobs.record import Failure, Time
from shared.message_base import Message, first_reason, read_stored
from shared.webhooks.deliveries import DAMAGED_PAUSE_S, DeliveryStore, NewDelivery, is_damage, message_id_of
from shared.webhooks.endpoint import DEFAULT, LEFT_S, Event, JobWebhook, is_of_later_version
from shared.webhooks.endpoint_store import EndpointStore

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Entries of one read.
BATCH = 100
#: Characters of an error's sentence in a payload; the job itself has all.
DETAIL_CHARS = 1000


class JobEvent(Message):
    """An entry of the stream: what became of a job, and when; all that a payload says."""

    event: Event
    job: str
    tenant: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
    at: Time
    created_at: Time | None = None
    started_at: Time | None = None
    error: Failure | None = None
    webhook: JobWebhook | None = None  # the job's own

    @property
    def status(self) -> str:
        """The status of the job that the event tells of."""
        name = self.event.removeprefix("job.")
        return "running" if name == "started" else name

    @property
    def message_id(self) -> str:
        """Names this event of this job."""
        return message_id_of(self.job, self.event)


class JobEvents:
    """Turns each entry of the stream into its deliveries, once; entries stay until that is done."""

    def __init__(
        self, redis: "Redis", deliveries: DeliveryStore, endpoints: EndpointStore, base_url: str
    ) -> None:
        """``base_url`` is where clients reach the API; empty: links are paths, as in its own answers."""
        self._redis = redis
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._base_url = base_url
        # The latest entry that was left where it is: to a later version, or while keys of its tenant are
        # damaged. From time to time all are looked at again, as after a start.
        self._left, self._left_at = "0", 0.0

    def expand(self, block_s: float) -> int:
        """Make deliveries of what waits, or comes within ``block_s``; returns of how many entries."""
        if self._left != "0" and self._deliveries.now() - self._left_at > DAMAGED_PAUSE_S:
            self._left = "0"
        # From the beginning: what has been expanded is not there any more, whichever dispatcher did it.
        reply: Any = self._redis.xread(
            {keys.WEBHOOK_EVENTS: self._left}, count=BATCH, block=max(int(block_s * 1000), 1)
        )
        if not reply:
            return 0
        entries = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
        for entry_id, fields in entries:
            self._expand(entry_id, fields)
        return len(entries)

    def _expand(self, entry_id: str, fields: dict[str, str]) -> None:
        try:
            event = read_event(fields)
        except ValueError as error:  # of a damaged record: nobody could be told of it
            may_be_read = is_of_later_version(fields.get("event", ""))
            self._leave_or_drop(entry_id, fields, error, may_be_left=may_be_read)
            return
        try:
            self._deliveries.add(event.tenant, entry_id, self._deliveries_of(event))
        except ResponseError as error:
            if not is_damage(error):
                raise
            log.error("event of a job not sent", extra={"job": event.job, "error": str(error)})
            self._leave_or_drop(entry_id, fields, error, may_be_left=True)

    def _leave_or_drop(
        self, entry_id: str, fields: dict[str, str], error: Exception, *, may_be_left: bool
    ) -> None:
        """An entry that cannot be expanded now is left for `LEFT_S`; its id begins with its time."""
        now = self._deliveries.now()
        if may_be_left and now - float(entry_id.partition("-")[0]) / 1000 < LEFT_S:
            if self._left == "0":
                self._left_at = now
            self._left = entry_id
            return
        log.error("event of a job dropped", extra={"job": fields.get("job"), "error": first_reason(error)})
        self._redis.xdel(keys.WEBHOOK_EVENTS, entry_id)

    def _deliveries_of(self, event: JobEvent) -> list[NewDelivery]:
        payload = payload_of(event, self._base_url)
        found = [
            NewDelivery(endpoint.id, event.message_id, event.event, event.job, "", payload)
            for endpoint in self._endpoints.all(event.tenant)
            if event.event in endpoint.events and endpoint.disabled_at is None
        ]
        own = event.webhook
        if own is not None and event.event in own.events:
            found.append(NewDelivery(DEFAULT, event.message_id, event.event, event.job, own.url, payload))
        return found


def read_event(fields: dict[str, str]) -> JobEvent:
    """The event of an entry; raises `ValueError`.

    What a damaged record of a job has given it besides its names and its time is left out: the event stays.
    """
    known: dict[str, Any] = {
        name: fields[name] for name in ("event", "job", "tenant", "at") if name in fields
    }
    event = read_stored(JobEvent, known)
    for name in ("created_at", "started_at", "error", "webhook"):
        with suppress(ValueError, RecursionError):
            known[name] = json.loads(fields.get(name, ""))
            event = read_stored(JobEvent, known)
            continue
        known.pop(name, None)
    return event


def payload_of(event: JobEvent, base_url: str) -> str:
    """What receivers get: who, what and when, and links to all else; some hundred bytes."""
    home = f"{base_url}/v1/jobs/{event.job}"
    is_ended, error = event.event != "job.started", event.error
    data = {
        "id": event.job,
        "status": event.status,
        "created_at": _iso(event.created_at),
        "started_at": _iso(event.started_at),
        "finished_at": _iso(event.at) if is_ended else None,
        "error": {"code": error.code, "detail": error.detail[:DETAIL_CHARS]} if error else None,
        "links": {"self": home, "events": f"{home}/events", "images": f"{home}/images"},
    }
    return json.dumps({"type": event.event, "timestamp": _iso(event.at), "data": data})


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
