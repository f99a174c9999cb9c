"""Events of a job, as a Redis stream that `lua/job.lua` writes and the web follows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

#: How long previews are published after a follower's last read.
WATCH_S = 30
#: Length of one blocking read; between two the connection of the follower is checked.
BLOCK_S = 10


class Event(NamedTuple):
    """``kind`` is status, progress, preview or done; ``data`` is JSON; ``id`` resumes after it."""

    id: str
    kind: str
    data: str


def stream_events(redis: "Redis", job_id: str, after: str = "0") -> Iterator[Event | None]:
    """Every event of a job after the id ``after``, to the closing ``done``.

    Yields ``None`` after ``BLOCK_S`` seconds without one. Ends early when the stream has expired. An id
    beyond the last event counts as the last event's.
    """
    stream = keys.events(job_id)
    after = _bounded(redis, stream, after)
    while True:
        redis.set(keys.watched(job_id), 1, ex=WATCH_S)
        reply: Any = redis.xread({stream: after}, block=BLOCK_S * 1000, count=100)
        if not reply:
            if not redis.exists(stream):
                return
            yield None
            continue
        entries = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
        for after, fields in entries:
            yield Event(after, fields["type"], fields["data"])
            if fields["type"] == "done":
                return


def has_more(redis: "Redis", job_id: str, after: str) -> bool:
    """Whether a job has an event after the id ``after``."""
    return bool(redis.xrange(keys.events(job_id), min=f"({after}", count=1))


def _bounded(redis: "Redis", stream: str, after: str) -> str:
    newest: Any = redis.xrevrange(stream, count=1)
    return after if not newest or _order(after) <= _order(newest[0][0]) else str(newest[0][0])


def _order(event_id: str) -> tuple[int, int]:
    """Ids in the order of their events."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)
