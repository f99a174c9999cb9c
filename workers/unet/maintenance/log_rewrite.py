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

#: Of `keys.SERVER`: how many writes the server had refused when its file was last known to be whole, and when
#: the latest rewrite was begun.
_WHOLE, _BEGUN = "refused_writes", "refused_writes_rewriting"


def rewrite_damaged_log(redis: "Redis") -> None:
    """Begin a rewrite once the disk takes writes again, and again until one has succeeded.

    The server counts the writes that it refused since it was started: while its disk is full it refuses all,
    and some process of a fleet writes several times in a second.
    """
    errors: Any = redis.info("errorstats")
    refused = str(errors.get("errorstat_MISCONF", {}).get("count", 0))
    whole, begun = redis.hmget(keys.SERVER, [_WHOLE, _BEGUN])
    if refused == (whole or "0"):
        return
    state: Any = redis.info("persistence")
    if state["aof_enabled"] and (state["aof_last_write_status"] != "ok" or state["aof_rewrite_in_progress"]):
        return
    if not state["aof_enabled"] or (begun == refused and state["aof_last_bgrewrite_status"] == "ok"):
        redis.hset(keys.SERVER, _WHOLE, refused)
        return
    log.warning("the disk of the control Redis was full: its append-only file is written anew")
    try:
        redis.bgrewriteaof()
    except ResponseError as error:  # it saves a snapshot, or nobody may ask for it
        log.warning("append-only file not written anew", extra={"error": str(error)})
        return
    redis.hset(keys.SERVER, _BEGUN, refused)
