"""Which jobs a ControlNet worker serves: those that have lately sent a step."""

import threading
import time

#: A job that has sent no step for this long is not served any more.
SESSION_S = 5.0


class RecentJobs:
    """Jobs by ControlNet; safe to use from several threads."""

    def __init__(self) -> None:
        self._last_seen: dict[tuple[str, str], float] = {}  # (ControlNet, job id): when its last step came
        self._lock = threading.Lock()

    def note(self, job_id: str, controlnet: str) -> None:
        """A step of a job has come, or will come soon."""
        now = time.monotonic()
        with self._lock:
            self._last_seen[controlnet, job_id] = now
            self._last_seen = {key: at for key, at in self._last_seen.items() if at > now - SESSION_S}

    def by_controlnet(self) -> dict[str, list[str]]:
        """The jobs that each ControlNet serves."""
        late = time.monotonic() - SESSION_S
        found: dict[str, list[str]] = {}
        with self._lock:
            for (controlnet, job_id), at in self._last_seen.items():
                if at > late:
                    found.setdefault(controlnet, []).append(job_id)
        return found

    def jobs(self) -> list[str]:
        """The jobs that are served."""
        return sorted({job_id for jobs in self.by_controlnet().values() for job_id in jobs})
