"""Chooses how many rows to compute in one forward pass, from measured times, because devices differ.

A GPU computes eight rows in little more than the time of two; a CPU core takes four times as long. So forward
passes are timed by their rows, and rows of other jobs are added as long as they make a step longer by a small
share at most. A size that is not known yet is tried once.
"""

import math
import time
from collections import deque
from statistics import median

from cachetools import LRUCache

#: Rows of a forward pass, at most.
MAX_ROWS = 32
#: Times of one size that are remembered: their median does not depend on the first, which is not typical.
REMEMBERED = 5
#: Other load on the machine changes what pays: older times count for nothing, and the size is tried again.
EXPIRY_S = 300.0
#: ControlNets and batch keys that are remembered: clients choose sizes and lengths of prompts, so there is no
#: end of them.
MAX_SIZERS = 256


class BatchSizer:
    """Times of one ControlNet and one batch key, by rows."""

    def __init__(self, delay_share: float) -> None:
        """``delay_share``: the share by which a step may take longer; 0: one job at a time."""
        self._delay_share = delay_share
        self._times: dict[int, deque[tuple[float, float]]] = {}  # rows: (when, seconds)
        self._too_many: dict[int, float] = {}  # rows for which memory did not suffice: when

    def record(self, rows: int, seconds: float) -> None:
        """Remember how long a forward pass of ``rows`` rows took."""
        self._times.setdefault(rows, deque(maxlen=REMEMBERED)).append((time.monotonic(), seconds))

    def note_full(self, rows: int) -> None:
        """Remember that the device's memory does not suffice for a forward pass of ``rows`` rows."""
        self._too_many[rows] = time.monotonic()

    def seconds(self, rows: int) -> float | None:
        """How long a forward pass of so many rows takes; ``None`` if that is not known."""
        late = time.monotonic() - EXPIRY_S
        times = [seconds for at, seconds in self._times.get(rows, ()) if at > late]
        return median(times) if times else None

    def extra_rows(self, rows: int) -> int:
        """How many rows may be added to a forward pass of ``rows``."""
        if self._delay_share == 0:
            return 0
        base = self.seconds(rows)
        if base is None:
            return 0  # it is measured alone first
        limit, most, ceiling = base * (1 + self._delay_share), rows, self._ceiling()
        for more in sorted(known for known in self._times if rows < known <= ceiling):
            seconds = self.seconds(more)
            if seconds is not None and seconds > limit:
                return most - rows
            most = more
        # Nothing was too slow yet: try up to twice as many.
        return max(int(min(2 * most, MAX_ROWS, ceiling)) - rows, 0)

    def _ceiling(self) -> float:
        """The most rows for which memory may suffice; as times do, what is known of it expires."""
        late = time.monotonic() - EXPIRY_S
        return min((rows - 1 for rows, at in self._too_many.items() if at > late), default=math.inf)


class BatchSizers:
    """A `BatchSizer` for each ControlNet and batch key; those not used for longest are forgotten."""

    def __init__(self, delay_share: float) -> None:
        self._delay_share = delay_share
        self._sizers: LRUCache[tuple[str, str], BatchSizer] = LRUCache(MAX_SIZERS)

    def __len__(self) -> int:
        return len(self._sizers)

    def of(self, controlnet: str, batch_key: str) -> BatchSizer:
        """The sizer; a new one has measured nothing yet."""
        return self._sizers.setdefault((controlnet, batch_key), BatchSizer(self._delay_share))
