"""Waits at a list with redis-py, in reads so short that a connection which is dead delays none for long."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis

#: One blocking read; between two its caller can notice that it is to stop.
POLL_S = 1.0
#: The server is silent for less, also while it serves large residuals: else the connection is dead. It is the
#: socket timeout of clients that wait at lists (`shared.redis_clients.with_timeout`).
REPLY_S = POLL_S + 4.0
#: Servers take a fraction of a millisecond for 0, which is no timeout at all.
LEAST_S = 0.01


def pop_within(redis: "Redis", key: str, timeout_s: float) -> bytes | None:
    """The first element of a list; ``None`` if none comes within ``timeout_s`` (0: do not wait).

    An element whose reply is lost is gone: who waits for it must be able to do without. One read for all of a
    long timeout would outlast the socket's, and be begun anew by each retry.
    """
    if timeout_s <= 0:
        element: Any = redis.lpop(key)
        return None if element is None else bytes(element)
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(deadline - time.monotonic(), LEAST_S)
        popped: Any = redis.blpop([key], timeout=min(left_s, POLL_S))
        if popped is not None or time.monotonic() >= deadline:
            return None if popped is None else bytes(popped[1])
