"""Ends queued jobs whose deadline has passed, also while no worker lives that would do so."""

import logging

from redis.exceptions import RedisError

from shared.jobs.store import JobStore

log = logging.getLogger(__name__)

#: Seconds from one look to the next.
EVERY_S = 2.0


def fail_late_jobs(jobs: JobStore) -> None:
    """Fail those that are late now; any number of processes may do so at once."""
    try:
        jobs.fail_late()
    except RedisError as error:
        log.warning("late jobs not ended: Redis does not answer", extra={"error": type(error).__name__})
