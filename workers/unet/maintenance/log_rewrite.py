"""Has the control Redis write its append-only file anew after its disk was full: the file may be damaged.

What is damaged, and why, is in `infra.local.append_only_file`. The server's memory is whole: what it writes
from that is, too.
"""

import logging
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Of `keys.SERVER`: by `_refused_writes`, for which the file is whole, and for which a rewrite was begun.
_WHOLE, _BEGUN = "refused_writes", "refused_writes_rewriting"


def rewrite_damaged_log(redis: "Redis") -> None:
    """Begin a rewrite once the disk takes writes again, and again until one has succeeded."""
    refused = _refused_writes(redis)
    whole, begun = redis.hmget(keys.SERVER, [_WHOLE, _BEGUN])
    if refused is None or refused == whole:
        return
    state: Any = redis.info("persistence")
    waits = state["aof_last_write_status"] != "ok" or state["aof_rewrite_in_progress"]
    if state["aof_enabled"] and (waits or state["aof_rewrite_scheduled"]):
        return
    if not state["aof_enabled"] or (begun == refused and state["aof_last_bgrewrite_status"] == "ok"):
        redis.hset(keys.SERVER, _WHOLE, refused)
        return
    try:
        redis.bgrewriteaof()
    except ResponseError as error:  # nobody may ask for it
        log.warning(
            "the disk of the control Redis was full: have its append-only file written anew (BGREWRITEAOF)",
            extra={"error": str(error)},
        )
        redis.hset(keys.SERVER, _WHOLE, refused)  # said once
        return
    log.warning("the disk of the control Redis was full: its append-only file is written anew")
    redis.hset(keys.SERVER, _BEGUN, refused)


def _refused_writes(redis: "Redis") -> str | None:
    """The run of the server, and how many writes it has refused in it; ``None``: none.

    While its disk is full it refuses all, and some process of a fleet writes several times in a second.
    """
    errors: Any = redis.info("errorstats")
    count = errors.get("errorstat_MISCONF", {}).get("count", 0)
    server: Any = redis.info("server") if count else {}
    return f"{server['run_id']}:{count}" if count else None
