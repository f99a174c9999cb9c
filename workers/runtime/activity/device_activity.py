"""What a device does, and the share of the last minute that it spent on each activity."""

import threading
import time
from collections.abc import Iterable

from shared import metrics
from shared.registry.workers import Activity
from workers.runtime.activity.busy import WINDOW_S, BusyShare, Span
from workers.runtime.activity.controlnet_step_counts import ControlNetStepCounts

#: The metric counts what is as old as this. The times of a step become known up to a second after its end
#: (`workers.transport.redis_client.blocking_pop.POLL_S`), and what is known later is never counted.
METRIC_DELAY_S = 4.0
#: Between two steps a worker that follows or serves is not idle, for so long after the last one.
STEP_PAUSE_S = 1.0


class DeviceActivity:
    """The times of each activity of one device: ``with activity.generate:``; what overlaps counts once.

    In this order: its own job, the branch of another worker's job, steps of other workers' ControlNets.
    """

    def __init__(
        self,
        *,
        generate: BusyShare | None = None,
        follow: BusyShare | None = None,
        serve: BusyShare | None = None,
        counted_until: float | None = None,
    ) -> None:
        """``counted_until``: the metric counts what comes after it. Tests pass it, and times of their own."""
        self.generate = generate or BusyShare()
        self.follow = follow or BusyShare()
        self.serve = serve or BusyShare()
        self._counted_until = time.monotonic() if counted_until is None else counted_until
        self._steps = ControlNetStepCounts()
        self._lock = threading.Lock()

    def utilization(self) -> float:
        """The share of the last minute in which the device was not idle, 0 to 1."""
        return round(1.0 - self.shares()["idle"], 4)

    def shares(self) -> dict[Activity, float]:
        """The share of each activity in the last minute, or since the start; together they are 1."""
        now = time.monotonic()
        begin = max(self.generate.created_at, now - WINDOW_S)
        window_s = max(now - begin, 1e-6)
        return {
            activity: round(seconds / window_s, 4) for activity, seconds in self._seconds(begin, now).items()
        }

    def current(self) -> Activity:
        """What the device does right now."""
        if self.generate.is_inside:
            return "generate"
        since = time.monotonic() - STEP_PAUSE_S
        if self.serve.is_inside or not self.follow.ended_since(since):
            return "serve" if self.serve.ended_since(since) else "idle"
        return "follow"

    def controlnet_steps(self) -> dict[str, dict[str, int]]:
        """Steps of the last minute by ControlNet, and by who computed them; see `Heartbeat`."""
        return self._steps.last_minute()

    def count(self) -> None:
        """Add what was done since the last call to the metric of this process."""
        with self._lock:
            begin, self._counted_until = self._counted_until, time.monotonic() - METRIC_DELAY_S
            if self._counted_until <= begin:
                self._counted_until = begin
                return
            for activity, seconds in self._seconds(begin, self._counted_until).items():
                metrics.ACTIVITY_S.labels(activity).inc(seconds)

    def _seconds(self, begin: float, end: float) -> dict[Activity, float]:
        """Seconds of each activity between two times of `time.monotonic`."""
        activities: tuple[tuple[Activity, BusyShare], ...] = (
            ("generate", self.generate),
            ("follow", self.follow),
            ("serve", self.serve),
        )
        spans: list[Span] = []
        found: dict[Activity, float] = {}
        before = 0.0
        for activity, times in activities:
            spans += times.spans(begin)
            covered = _covered_s(spans, begin, end)
            found[activity], before = covered - before, covered
        found["idle"] = max(end - begin - before, 0.0)
        return found


def _covered_s(spans: Iterable[Span], begin: float, end: float) -> float:
    covered, until = 0.0, begin
    for start, stop in sorted(spans):
        covered += max(min(stop, end) - max(start, until), 0.0)
        until = max(until, stop)
    return covered
