"""Drops keys whose values are of another type than those that recovery and sweeps read.

By another client's mistake, or of another version: what they held is lost already, and one of them must not
keep lost jobs of all tenants from being found. Scripts drop those that they read (`shared/lua/call.lua`).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from shared import keys
from shared.jobs.record import Status

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

log = logging.getLogger(__name__)

#: Keys that Python reads, by their types as Redis names them.
KEYS: Mapping[str, Sequence[str]] = {
    "zset": (
        *(keys.JOBS, keys.UNSENT, keys.UNRUNNABLE, keys.DEADLINES, keys.UNCLAIMED, keys.LEAVING, keys.IMAGES),
        *(keys.CONTROL_IMAGES, keys.CONTROL_IMAGES_DELETED, keys.MESSAGES_SEEN, keys.BINDINGS_SEEN),
        *(keys.WORKERS, keys.FREE_WORKERS, keys.RESERVED_QUEUES, keys.DELAYED, keys.TENANTS_DELETING),
        *map(keys.by_status, get_args(Status)),
    ),
    "hash": (keys.SERVER, keys.SWEEP_CURSORS, keys.JOB_TENANTS, keys.SCHEDULING),
    "set": (keys.MODELS,),
}


def drop_wrong_types(redis: "Redis", error: Exception) -> None:
    """Look at each key if ``error`` is that one has the wrong type."""
    if "WRONGTYPE" not in str(error):
        return
    for kind, names in KEYS.items():
        for name in names:
            _drop_unless(redis, kind, name)


def _drop_unless(redis: "Redis", kind: str, name: str) -> None:
    def drop(pipe: "Pipeline") -> None:
        found = str(pipe.type(name))
        pipe.multi()
        if found not in (kind, "none"):
            log.error("key of the wrong type dropped", extra={"key": name, "type": found})
            pipe.delete(name)

    redis.transaction(drop, name)  # somebody may be writing it anew
