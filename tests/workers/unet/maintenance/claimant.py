"""Claims a job, and keeps its lease until it is killed: ``python -m …claimant JOB``, set by environment."""

import sys
import threading

from shared.jobs.store import JobStore
from shared.redis_clients import control_redis
from shared.settings import read_settings
from workers.unet.lease import Lease


def main() -> None:
    settings = read_settings()
    attempt = JobStore(control_redis(settings), settings).claim(sys.argv[1], "claimant@test")
    assert attempt is not None
    with Lease(attempt, settings):
        print("claimed", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
