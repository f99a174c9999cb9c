"""How many rows one pass should take: measured, because it depends on the device.

A GPU computes eight rows in little more than the time of two; a CPU core takes four times as long. So
passes are timed by their rows, and company is welcome as long as it makes a step at most a small share
longer. What is not known yet is tried out once.
"""

import time
from collections import deque
from statistics import median

from cachetools import LRUCache

#: Rows of a pass, at most.
MAX_ROWS = 32
#: Passes of one size that are remembered; the first is not typical, a median does not mind.
REMEMBERED = 5
#: Other work on the machine changes what is worth it: what was measured longer ago is tried again.
FORGOTTEN_S = 300.0
#: ControlNets and stacks that are remembered; clients choose sizes and lengths of prompts, so these
#: never end.
KINDS = 256


class BatchSizer:
    """Times of one ControlNet and one stack (what can be computed together), by rows."""

    def __init__(self, delay_share: float) -> None:
        self._delay_share = delay_share
        self._times: dict[int, deque[tuple[float, float]]] = {}  # rows: (when, seconds)

    def note(self, rows: int, seconds: float) -> None:
        """A pass of ``rows`` rows took so long."""
        self._times.setdefault(rows, deque(maxlen=REMEMBERED)).append((time.monotonic(), seconds))

    def seconds(self, rows: int) -> float | None:
        """What a pass of so many rows takes; ``None``: not known."""
        late = time.monotonic() - FORGOTTEN_S
        times = [seconds for at, seconds in self._times.get(rows, ()) if at > late]
        return median(times) if times else None

    def room(self, rows: int) -> int:
        """How many more rows are welcome in a pass of ``rows``."""
        if self._delay_share == 0:
            return 0
        base = self.seconds(rows)
        if base is None:
            return 0  # measured alone first
        limit, most = base * (1 + self._delay_share), rows
        for more in sorted(known for known in self._times if known > rows):
            took = self.seconds(more)
            if took is not None and took > limit:
                return most - rows
            most = more
        return min(2 * most, MAX_ROWS) - rows  # nothing was too slow yet: try up to twice as many


class BatchSizers:
    """The company of each ControlNet and stack that was asked for lately; those used longest ago are
    forgotten."""

    def __init__(self, delay_share: float) -> None:
        self._delay_share = delay_share
        self._known: LRUCache[tuple[str, str], BatchSizer] = LRUCache(KINDS)

    def of(self, controlnet: str, stack: str) -> BatchSizer:
        """A new one has measured nothing yet."""
        return self._known.setdefault((controlnet, stack), BatchSizer(self._delay_share))
