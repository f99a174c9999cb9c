"""Counts a worker's steps of ControlNets in the last minute, from the metric of all of them."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from shared.metrics import CONTROLNET_STEPS

WINDOW_S = 60.0
#: What became of a step that was computed, as the metric names it.
COMPUTED = frozenset({"served", "requester", "local"})


class ControlNetStepCounts:
    """Remembers what the metric said at each call in the last minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._before: deque[tuple[float, Counter[tuple[str, str]]]] = deque([(now(), _read())])

    def last_minute(self) -> dict[str, dict[str, int]]:
        """Computed steps by ControlNet and by what became of them; of a longer time if calls are rare."""
        now, counts = self._now(), _read()
        found: dict[str, dict[str, int]] = {}
        with self._lock:
            while len(self._before) > 1 and now - self._before[1][0] >= WINDOW_S:
                self._before.popleft()
            oldest = self._before[0][1]
            self._before.append((now, counts))
        for (controlnet, result), count in sorted((counts - oldest).items()):
            found.setdefault(controlnet, {})[result] = count
        return found


def _read() -> Counter[tuple[str, str]]:
    return Counter(
        {
            (sample.labels["controlnet"], sample.labels["result"]): int(sample.value)
            for metric in CONTROLNET_STEPS.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["result"] in COMPUTED
        }
    )
