"""Deletes checkpoints of jobs that have ended elsewhere, or are gone; part of the sweep."""

import logging

from shared.errors import JobUnreadable
from shared.jobs.record import ENDED
from shared.jobs.store import JobStore
from workers.transport.keys import checkpoint_key, job_of_checkpoint
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.maintenance.sweep_cursors import SweepCursors

log = logging.getLogger(__name__)


class CheckpointCleanup:
    """The worker that runs a job deletes its checkpoint; this one finds those of cancelled and lost jobs."""

    def __init__(self, jobs: JobStore, checkpoints: CheckpointStore, cursors: SweepCursors) -> None:
        self._jobs, self._checkpoints, self._cursors = jobs, checkpoints, cursors

    def delete_checkpoints(self) -> None:
        """Delete those of ended jobs; without the sweep they expire."""
        keys = self._cursors.next_keys(checkpoint_key("*"), self._checkpoints.redis)
        found = list(map(job_of_checkpoint, keys))
        for job_id, job in self._jobs.read(found, {"status"}).items() if found else ():
            if job is None or (not isinstance(job, JobUnreadable) and job.status in ENDED):
                self._checkpoints.delete(job_id)
                log.info("checkpoint of an ended job deleted", extra={"job": job_id})
