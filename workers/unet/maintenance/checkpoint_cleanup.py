"""Deletes checkpoints of jobs that have ended elsewhere, or are gone; part of the sweep."""

import logging

from shared.errors import JobUnreadable
from shared.jobs.record import ENDED
from shared.jobs.store import JobStore
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.maintenance.sweep_cursors import KEYS, SweepCursors

log = logging.getLogger(__name__)

#: Where the sweep remembers how far it has come at the residual server.
_CURSOR = "checkpoints"


class CheckpointCleanup:
    """The worker that runs a job deletes its checkpoint; this one finds those of cancelled and lost jobs."""

    def __init__(self, jobs: JobStore, checkpoints: CheckpointStore, cursors: SweepCursors) -> None:
        self._jobs, self._checkpoints, self._cursors = jobs, checkpoints, cursors

    def delete_checkpoints(self) -> None:
        """Delete those of ended jobs; without the sweep they expire."""
        cursor, found = self._checkpoints.jobs(int(self._cursors.get(_CURSOR) or 0), KEYS)
        self._cursors.set(_CURSOR, str(cursor))
        for job_id, job in self._jobs.read(found, {"status"}).items() if found else ():
            if job is None or (not isinstance(job, JobUnreadable) and job.status in ENDED):
                self._checkpoints.delete(job_id)
                log.info("checkpoint of an ended job deleted", extra={"job": job_id})
