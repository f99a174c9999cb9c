"""Which jobs a ControlNet worker serves: those that have lately sent a step."""

import threading
import time
from collections.abc import Callable

#: A job that has sent no step for this long is not served any more.
SESSION_S = 5.0


class RecentJobs:
    """Jobs by ControlNet; safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last_seen: dict[tuple[str, str], float] = {}  # (ControlNet, job id): when its last step came
        self._lock = threading.Lock()

    def note(self, job_id: str, controlnet: str) -> None:
        """A step of a job has come, or will come soon."""
        now = self._now()
        with self._lock:
            self._last_seen[controlnet, job_id] = now
            self._last_seen = {key: at for key, at in self._last_seen.items() if at > now - SESSION_S}

    def by_controlnet(self) -> dict[str, list[str]]:
        """The jobs that each ControlNet serves."""
        late = self._now() - SESSION_S
        found: dict[str, list[str]] = {}
        with self._lock:
            for (controlnet, job_id), at in self._last_seen.items():
                if at > late:
                    found.setdefault(controlnet, []).append(job_id)
        return found

    def count(self, controlnet: str, within_s: float) -> int:
        """How many jobs have sent a step to a ControlNet, or attached it, within the last so many seconds."""
        late = self._now() - within_s
        with self._lock:
            return sum(name == controlnet and at > late for (name, _), at in self._last_seen.items())

    def jobs(self) -> list[str]:
        """The jobs that are served."""
        return sorted({job_id for jobs in self.by_controlnet().values() for job_id in jobs})
