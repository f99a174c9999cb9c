"""Measures how long a job's ControlNets take to begin: from attaching them to the first residual."""

import time
from collections.abc import Iterable

from shared import metrics
from workers.unet.timeline import Timeline


class FirstResidualTimer:
    """One per attempt, shared by its CFG branches."""

    def __init__(self, controlnets: Iterable[str], timeline: Timeline) -> None:
        self._controlnets = ", ".join(sorted(set(controlnets)))
        self._timeline = timeline
        self._attached_at_s = 0.0  # 0 before attaching, and again after the first residual

    def start(self) -> None:
        """The ControlNets have been attached."""
        self._attached_at_s = time.time()

    def stop(self) -> None:
        """A residual has arrived; only the first one counts."""
        if self._attached_at_s:
            now = time.time()
            metrics.FIRST_RESIDUAL_S.observe(now - self._attached_at_s)
            self._timeline.add(f"wait for the first of {self._controlnets}", self._attached_at_s, now)
            self._attached_at_s = 0.0
