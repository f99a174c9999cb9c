"""When a delivery is sent again, and when it is given up: the schedule of Standard Webhooks."""

from collections.abc import Callable

MINUTE_S, HOUR_S = 60.0, 3600.0
#: The pause after the first failed try, after the second, and so on; after one more the delivery has failed.
PAUSES_S = (
    5.0,
    5 * MINUTE_S,
    30 * MINUTE_S,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    24 * HOUR_S,
)
#: A pause is up to this share longer, so that what failed together is not sent again together.
JITTER = 0.2
#: A receiver that asks for a longer pause gets this one.
MAX_RETRY_AFTER_S = 24 * HOUR_S


def next_pause(tries: int, retry_after_s: float | None, random: Callable[[], float]) -> float | None:
    """How long to wait after ``tries`` failed tries, or ``None`` after the last one.

    The receiver's own ``Retry-After`` makes a pause longer, never shorter. ``random`` is uniform in [0, 1).
    """
    if tries > len(PAUSES_S):
        return None
    pause = PAUSES_S[tries - 1] * (1 + JITTER * random())
    return max(pause, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
