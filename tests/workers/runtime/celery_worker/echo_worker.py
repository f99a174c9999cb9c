"""A Celery worker as ours are, with a task that needs no device: what the tests of this folder look at.

``celery -A tests.workers.runtime.celery_worker.echo_worker worker`` names each job it gets in the list
`DONE`; its state stands in the string `STATE`, as its heartbeat tells it.
"""

import json
import threading
import time
from typing import Any

from celery.signals import worker_init

from shared import keys
from shared.errors import InvalidLora, JobCancelled, SwiftError, Unavailable
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure
from shared.jobs.store import JobStore
from shared.messaging.celery_app import (
    GENERATE,
    default_exchange_queue,
    make_celery,
    unet_queue,
    worker_queue,
)
from shared.messaging.messages import GenerateJob
from shared.redis_clients import control_redis
from shared.settings import read_settings
from workers.runtime.celery_worker.broker import CheckedTask, use_checked_transport
from workers.runtime.celery_worker.consumer_check import ConsumerCheck
from workers.runtime.celery_worker.process_logs import configure_celery_logging
from workers.runtime.celery_worker.revocation import cancel_revoked_jobs, revoke_job
from workers.unet.process.task_outcome import end_task

DONE, STATE, PROBLEMS = "test:done", "test:state", "test:problems"
NAME = "echo@test"
QUEUES = [unet_queue("m"), worker_queue("m", NAME)]

settings = read_settings()
redis = control_redis(settings)
jobs = JobStore(redis, settings)
use_checked_transport()
app = make_celery(settings, queues=QUEUES[:1])
app.conf.worker_concurrency = 1
app.conf.broker_transport_options["unacked_restore_interval"] = 1
cancel_revoked_jobs(lambda job_id: revoke_job(jobs, job_id))


@app.task(
    name=GENERATE, base=CheckedTask, takes=GenerateJob, bind=True, max_retries=None, throws=(SwiftError,)
)
def echo(self: Any, payload: dict[str, Any]) -> str | None:
    """Note the job; one that is stored ends as its prompt says."""
    job_id = GenerateJob.model_validate(payload).job_id
    redis.rpush(DONE, job_id)
    if not redis.exists(keys.job(job_id)):
        return None
    attempt = jobs.claim(job_id, NAME)
    status = _run(self, attempt) if attempt is not None else "not claimed"
    return end_task(self, jobs, job_id, status)


def _run(task: Any, attempt: Attempt) -> str:
    try:
        while attempt.job.spec.prompt == "wait":
            attempt.advance()
            time.sleep(0.01)
    except JobCancelled:
        attempt.end("cancelled", None, [])
        return "cancelled"
    if attempt.job.spec.prompt == "fail":
        error = InvalidLora("no LoRA")
        attempt.end("failed", Failure(code=error.code, detail=str(error)), [])
        raise error
    if attempt.job.spec.prompt == "requeue":
        attempt.requeue(Failure(code="unavailable", detail="S3 is away"))
        raise task.retry(exc=Unavailable("S3 is away"), countdown=0)
    redis.hset(keys.job(attempt.job.id), "status", "succeeded")
    return "succeeded"


@worker_init.connect
def _start(sender: Any, **_: object) -> None:
    configure_celery_logging(settings, sender.hostname)
    app.amqp.queues.select_add(default_exchange_queue(QUEUES[1]))
    consumer_check = ConsumerCheck(sender, lambda: QUEUES)

    def beat() -> None:
        while True:
            problems = consumer_check.problems()
            for problem in problems:
                redis.rpush(PROBLEMS, problem)
            redis.set(STATE, json.dumps(problems))
            consumer_check.check()
            threading.Event().wait(0.05)

    threading.Thread(target=beat, daemon=True).start()
