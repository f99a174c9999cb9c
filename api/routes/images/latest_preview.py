"""The latest preview of a job, for clients that show one image rather than read a stream of events."""

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys
from shared.jobs.events import watch

if TYPE_CHECKING:
    from redis import Redis

#: Events that are searched, from the last one back: each `progress` is followed by a preview, and what comes
#: after the last preview is the end of the job, or its next attempt.
LATEST_EVENTS = 8


class Preview(NamedTuple):
    """A rough image of a job after ``step`` steps, one pixel for each latent; ``event_id`` is its event's."""

    event_id: str
    step: int
    png: bytes


def latest_preview(redis: "Redis", job_id: str) -> Preview | None:
    """The latest preview of a job that exists; ``None`` while its latest events have none.

    Workers make previews only of jobs that somebody follows: a call counts as following for half a minute.
    """
    watch(redis, [job_id])
    entries: Any = redis.xrevrange(keys.events(job_id), count=LATEST_EVENTS)
    for event_id, fields in entries:
        if fields["type"] == "preview":
            data = json.loads(fields["data"])
            return Preview(event_id, data["step"], base64.b64decode(data["png"]))
    return None
