"""``python -m tests.workers.webhooks.ending_jobs JOB…``: claims and ends jobs as a worker does."""

import sys

from shared.jobs.store import JobStore
from shared.redis_clients import control_redis
from shared.settings import read_settings


def main() -> None:
    settings = read_settings()
    jobs = JobStore(control_redis(settings), settings)
    for job_id in sys.argv[1:]:
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.end("cancelled", None, [])
        print(job_id, flush=True)


if __name__ == "__main__":
    main()
