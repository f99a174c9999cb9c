"""A Celery worker that serves two models and computes nothing.

``celery -A tests.workers.runtime.celery_worker.two_models_worker worker`` names each job it gets in the list
`DONE` and ends it once there is an element in the list `GATE`. What it has loaded stands in the set `LOADED`.
"""

from typing import Any

from celery.signals import worker_init

from shared.messaging.celery_app import GENERATE, make_celery, unet_queue
from shared.messaging.messages import GenerateJob
from shared.redis_clients import control_redis, without_retries
from shared.settings import read_settings
from workers.runtime.celery_worker.broker import CheckedTask, order_queues, use_checked_transport
from workers.runtime.celery_worker.job_order import JobOrder

DONE, GATE, LOADED, LOAD_S = "test:done", "test:gate", "test:loaded", "test:load_s"
MODELS = ["warm", "cold"]

redis = control_redis(read_settings())


def loaded() -> set[str]:
    """The models that the test says are in memory."""
    return set(redis.smembers(LOADED))  # type: ignore[arg-type]


def expected_load_s(model: str) -> float:
    """Seconds that the test says a load takes."""
    return float(str(redis.get(LOAD_S)))


use_checked_transport()
app = make_celery(read_settings(), queues=[unet_queue(model) for model in MODELS])
app.conf.worker_concurrency = 1
order = JobOrder(without_retries(redis), MODELS, loaded=loaded, expected_load_s=expected_load_s)
order_queues(order)
worker_init.connect(order.on_start, weak=False)


@app.task(name=GENERATE, base=CheckedTask, takes=GenerateJob)
def generate(payload: dict[str, Any]) -> None:
    """Note the job, and end when the test says so."""
    redis.rpush(DONE, GenerateJob.model_validate(payload).job_id)
    redis.blpop([GATE], 60)
