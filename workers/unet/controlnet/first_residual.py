"""How long a job's ControlNets took to begin: from the attachment to the first residual of any of its
rows."""

import time
from collections.abc import Iterable

from shared import metrics
from workers.unet.timeline import Timeline


class FirstResidual:
    """One for all rows of an attempt, whether its first steps are whole or split."""

    def __init__(self, controlnets: Iterable[str], timeline: Timeline) -> None:
        self._controlnets = ", ".join(sorted(set(controlnets)))
        self._timeline = timeline
        self._attached_s = (
            0.0  # when the ControlNets were told; 0 before, and once the first residual has come
        )

    def attached(self) -> None:
        """The nets' workers make ready from now on."""
        self._attached_s = time.time()

    def came(self) -> None:
        """A residual has come; only the first one counts."""
        if self._attached_s:
            now = time.time()
            metrics.CONTROLNET_FIRST_S.observe(now - self._attached_s)
            self._timeline.add(f"wait for the first of {self._controlnets}", self._attached_s, now)
            self._attached_s = 0.0
