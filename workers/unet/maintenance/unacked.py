"""Messages that kombu has given to a worker and that the worker has not acknowledged."""

import json
from collections.abc import Mapping
from typing import Any

from shared import keys
from shared.jobs.store import JobStore

#: Where kombu keeps these messages (hash, by tag), and when their workers took them (sorted set).
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
#: A live worker starts what it takes at once, or holds it for a retry of at most a minute: what is held
#: longer was lost with its worker.
HELD_S = 70.0


def unacked_since(jobs: JobStore) -> Mapping[str, float]:
    """When each message was first seen here, by Redis' clock: kombu's own times are of the worker's clock."""
    redis, now = jobs.redis, jobs.now()
    tags = {str(tag) for tag in (*redis.zrange(UNACKED_INDEX, 0, -1), *redis.hkeys(UNACKED))}
    seen: list[tuple[str, float]] = redis.zrange(keys.MESSAGES_SEEN, 0, -1, withscores=True)  # type: ignore[assignment]
    settled = [tag for tag, _ in seen if tag not in tags]
    if settled:
        redis.zrem(keys.MESSAGES_SEEN, *settled)
    new = dict.fromkeys(tags - {tag for tag, _ in seen}, now)
    if new:
        redis.zadd(keys.MESSAGES_SEEN, new, nx=True)
    return {**{tag: at for tag, at in seen if tag in tags}, **new}


def job_of(message: Any) -> str | None:
    """The job that a message is for, which is its task's id; ``None`` if it cannot be read."""
    try:
        found = json.loads(message) if isinstance(message, str) else message
        found = found[0] if isinstance(found, list) else found  # unacknowledged: with exchange and key
        job_id = found["headers"]["id"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return job_id if isinstance(job_id, str) else None
