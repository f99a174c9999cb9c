"""Events of jobs, as Redis streams that `lua/job.lua` writes and the web follows.

Their ids are unique in all streams and in the order of the events, so that one id says how far a client has
come in several streams at once.
"""

import json
import math
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys
from shared.jobs.record import ENDED

if TYPE_CHECKING:
    from redis import Redis

#: How long previews are published after a follower's last read, and how often it renews that at most.
WATCH_S, RENEW_WATCH_S = 30, 5.0
#: Length of one blocking read, unless a follower asks for less. So often a job without events is looked at.
BLOCK_S = 10.0
#: Events of one read, of all streams together; of each stream of many a few.
READ_EVENTS, LEAST_READ_EVENTS = 100, 5
#: Before the first event.
START = "0"


class Event(NamedTuple):
    """``kind`` is status, progress, preview or done; ``data`` is JSON; ``id`` resumes after it.

    Without an id it is none that was stored: the end of a job whose own ``done`` is lost, or ``reset``.
    """

    id: str
    kind: str
    data: str
    job: str = ""


_RESET = Event("", "reset", json.dumps({"detail": "events are missing here: read the jobs again"}))


def stream_events(
    redis: "Redis", job_id: str, after: str = START, *, block_s: float = BLOCK_S, with_previews: bool = True
) -> Iterator[Event | None]:
    """Every event of one job after the id ``after``, to the closing ``done``, as `follow_jobs` yields them.

    Ends without it when the stream has expired.
    """
    for event in follow_jobs(redis, [job_id], after, block_s=block_s, with_previews=with_previews):
        if event is None:
            yield None
        elif event.id:
            yield event._replace(job="")
        else:
            return


def follow_jobs(
    redis: "Redis",
    job_ids: Collection[str],
    after: str = START,
    *,
    block_s: float = BLOCK_S,
    with_previews: bool = True,
) -> Iterator[Event | None]:
    """Every event of jobs after the id ``after``, in their order, until each job has had its ``done``.

    Yields ``None`` after ``block_s`` seconds without one. A job that was removed meanwhile ends with a
    ``done`` of status ``deleted``. An id beyond the last event counts as the last event's. Who needs no
    previews says so (``with_previews``): workers compute them for others alone.
    """
    reader = _JobEvents(redis, job_ids, after)
    close_at = time.monotonic() + BLOCK_S
    watch_at = time.monotonic() if with_previews else math.inf
    while reader.open:
        if time.monotonic() >= watch_at:
            watch_at = time.monotonic() + RENEW_WATCH_S
            watch(redis, reader.open)
        events = reader.read(block_s)
        yield from events
        if not events:
            if time.monotonic() >= close_at:
                close_at = time.monotonic() + BLOCK_S
                yield from reader.close_ended()
            yield None


def follow_tenant(
    redis: "Redis", tenant: str, after: str, *, block_s: float = BLOCK_S
) -> Iterator[Event | None]:
    """The events of all jobs of a tenant after the id ``after``, but for previews; never ends.

    Yields ``None`` after ``block_s`` seconds without one, and an event ``reset`` where some are not kept.
    A job that is deleted has a last ``done`` of status ``deleted``, also after its own.
    """
    stream = keys.tenant_events(tenant)
    after = _bounded(redis, [stream], after)
    if not _is_kept(redis, stream, after):
        yield _RESET
    while True:
        entries = _read(redis, {stream: after}, READ_EVENTS, block_s).get(stream, [])
        if len(entries) == READ_EVENTS and not _is_kept(redis, stream, after):  # the client is slow
            yield _RESET
        for event_id, fields in entries:
            after = event_id
            yield Event(event_id, fields["type"], fields["data"], fields["job"])
        if not entries:
            yield None


def latest_event(redis: "Redis", tenant: str) -> str:
    """The id from which on `follow_tenant` yields what is still to come."""
    newest: Any = redis.xrevrange(keys.tenant_events(tenant), count=1)
    return str(newest[0][0]) if newest else START


def ended_jobs(redis: "Redis", job_ids: Collection[str], after: str) -> dict[str, str]:
    """The status of those jobs that have no event after the id ``after``, and will have none."""
    return _ended(redis, dict.fromkeys(job_ids, after))


def watch(redis: "Redis", job_ids: Collection[str]) -> None:
    """Have workers publish previews of the jobs for a while."""
    pipe = redis.pipeline(transaction=False)
    for job_id in job_ids:
        pipe.set(keys.watched(job_id), 1, ex=WATCH_S)
    pipe.execute()


class _JobEvents:
    """Merges the streams of several jobs; each event is read from Redis once."""

    def __init__(self, redis: "Redis", job_ids: Collection[str], after: str) -> None:
        self._redis = redis
        after = _bounded(redis, [keys.events(job_id) for job_id in job_ids], after)
        self._read_to = dict.fromkeys(job_ids, after)
        self._held: dict[str, list[Event]] = {job_id: [] for job_id in job_ids}  # read, and not returned yet

    @property
    def open(self) -> Collection[str]:
        """The jobs whose ``done`` has not come."""
        return self._held.keys()

    def read(self, block_s: float) -> list[Event]:
        """The next events, oldest first; waits for ``block_s`` seconds, and returns none if none came."""
        held = [events[-1].id for events in self._held.values() if events]
        count = max(READ_EVENTS // len(self._held), LEAST_READ_EVENTS)
        streams = {keys.events(job_id): job_id for job_id, events in self._held.items() if not events}
        positions = {stream: self._read_to[job_id] for stream, job_id in streams.items()}
        reply = _read(self._redis, positions, count, 0 if held else block_s)
        # What is later than the last event that was read of a stream may be preceded by one that was not.
        limits = held + [entries[-1][0] for entries in reply.values() if len(entries) == count]
        for stream, entries in reply.items():
            job_id = streams[stream]
            self._held[job_id] = [Event(id, entry["type"], entry["data"], job_id) for id, entry in entries]
            self._read_to[job_id] = entries[-1][0]
        return self._take(min(map(_order, limits)) if limits else None)

    def close_ended(self) -> list[Event]:
        """A ``done`` for each job that will have none of its own."""
        closed = _ended(self._redis, {job_id: self._read_to[job_id] for job_id in self._held})
        for job_id in closed:
            del self._held[job_id]
        return [Event("", "done", json.dumps({"status": closed[job_id]}), job_id) for job_id in closed]

    def _take(self, until: tuple[int, int] | None) -> list[Event]:
        """What was read up to an id, or all of it."""
        taken: list[Event] = []
        for job_id, events in self._held.items():
            ready = [event for event in events if until is None or _order(event.id) <= until]
            self._held[job_id] = events[len(ready) :]
            taken += ready
        for event in taken:
            if event.kind == "done":
                del self._held[event.job]
        return sorted(taken, key=lambda event: _order(event.id))


def _read(
    redis: "Redis", positions: dict[str, str], count: int, block_s: float
) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """By stream, its first entries after a position; waits until one has some, if ``block_s`` is not 0."""
    if not positions:
        return {}
    streams: dict[Any, Any] = dict(positions)
    reply: Any = redis.xread(streams, count=count, block=int(block_s * 1000) or None)
    pairs = reply.items() if isinstance(reply, dict) else reply or []
    # RESP3 wraps the entries of each stream in a list.
    return {name: entries[0] if isinstance(reply, dict) else entries for name, entries in pairs}


def _ended(redis: "Redis", positions: dict[str, str]) -> dict[str, str]:
    """The status of those jobs that have ended, or ``deleted``, and have no event after their position."""
    pipe = redis.pipeline(transaction=False)
    for job_id, after in positions.items():
        pipe.hget(keys.job(job_id), "status")  # first: a job ends in one call with its last event
        pipe.xrange(keys.events(job_id), min=f"({after}", count=1)
    replies = pipe.execute(raise_on_error=False)  # a record may be damaged
    ended = {}
    for job_id, status, later in zip(positions, replies[::2], replies[1::2], strict=True):
        if later == [] and (status is None or status in ENDED):
            ended[job_id] = status or "deleted"
    return ended


def _is_kept(redis: "Redis", stream: str, event_id: str) -> bool:
    """Whether nothing after this event was removed, as events are removed in their order."""
    return event_id == START or bool(redis.xrange(stream, min=event_id, max=event_id, count=1))


def _bounded(redis: "Redis", streams: Collection[str], after: str) -> str:
    """``after``, or the last event's id if that is before it."""
    if after == START:
        return after
    pipe = redis.pipeline(transaction=False)
    for stream in streams:
        pipe.xrevrange(stream, count=1)
    newest = [entries[0][0] for entries in pipe.execute() if entries]
    return min(after, max(newest, key=_order), key=_order) if newest else after


def _order(event_id: str) -> tuple[int, int]:
    """Ids in the order of their events."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)
