"""The UNet worker's Celery app: ``celery -A workers.unet.app worker --pool=threads --concurrency=1``."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.catalog.catalog import read_catalog
from shared.errors import SwiftError
from shared.jobs.store import JobStore
from shared.messaging.celery_app import (
    ATTACH,
    FOLLOW,
    GENERATE,
    controlnet_queue,
    default_exchange_queue,
    follow_queue,
    make_celery,
    unet_queue,
    worker_queue,
)
from shared.messaging.messages import AttachControlNet, GenerateJob
from shared.metrics import LORA_CACHE_BYTES
from shared.redis_clients import control_redis, residual_servers
from shared.registry.workers import Heartbeat
from shared.settings import read_settings
from shared.startup import exit_with_reason
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from workers.families.base_model import BaseModel
from workers.families.load_base_model import load_entry
from workers.families.load_controlnet import controlnet_cache
from workers.lora.cache.cache import CACHE_FOLDER, LoraCache
from workers.lora.memory import LoraMemory
from workers.model_checks.source import check_model_entry
from workers.runtime.broker import CheckedTask, use_checked_transport
from workers.runtime.busy import BusyShare
from workers.runtime.consumption import Consumption
from workers.runtime.heartbeat import GRACE_BEATS, HeartbeatThread, describe_worker
from workers.runtime.model_cache import DeviceMemory, ModelCache
from workers.runtime.process import (
    check_device,
    choose,
    load_any,
    prepare_process,
    start_or_exit,
    worker_name,
)
from workers.runtime.revocation import cancel_revoked_jobs, revoke_job
from workers.runtime.watchdog import Watchdog
from workers.runtime.weights import estimate_bytes, find_source
from workers.transport.step_queue import StepQueue
from workers.transport.transport import Transport
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.task import send_follow
from workers.unet.job import execute_job, is_retryable
from workers.unet.maintenance import prefetch
from workers.unet.maintenance.availability import AvailabilityReporter
from workers.unet.maintenance.recovery import recover
from workers.unet.maintenance.sweep import Sweeper
from workers.unet.task_outcome import conclude
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: An attachment nobody took in this time is of no use any more.
ATTACH_EXPIRES_S = 60

with exit_with_reason():
    settings = read_settings()
    catalog = read_catalog(settings.catalog, settings)
    served = choose("SWIFT_WORKER_MODELS", settings.worker_models, list(catalog.models))
use_checked_transport()
app = make_celery(settings, queues=[queue(model) for model in served for queue in (unet_queue, follow_queue)])
app.conf.worker_concurrency = 1
device = threading.Lock()  # one job at a time, whatever the command line says: weights are patched


def _load(name: str) -> BaseModel:
    return load_entry(name, catalog.models[name], settings.catalog, settings.device)


def _foretell(name: str) -> int:
    entry = catalog.models[name]
    return estimate_bytes(find_source(settings.catalog, entry.source), entry.dtype)


def _send_attach(message: AttachControlNet) -> None:
    try:
        app.send_task(
            ATTACH,
            args=[message.model_dump()],
            queue=controlnet_queue(message.controlnet),
            expires=ATTACH_EXPIRES_S,
        )
    except (OperationalError, RedisError):
        log.warning("no attachment sent; the net's workers make ready at the first step")


redis, residuals = control_redis(settings), residual_servers(settings)
images = ImageBucket(settings, redis)
memory = DeviceMemory(settings.model_memory_bytes)
worker = UNetWorker(
    settings=settings,
    jobs=JobStore(redis, settings),
    serves=served,
    images=images,
    loras=LoraCache(
        settings.home / CACHE_FOLDER,
        settings.lora_cache_bytes,
        Bucket(settings, settings.lora_bucket, attempts=1),  # the cache has a patience of its own
        settings.lora_wait_s,
    ),
    lora_memory=LoraMemory(settings.lora_memory_bytes),
    models=ModelCache(_load, memory, _foretell),
    controlnets=controlnet_cache(catalog, settings, memory),
    steps=StepQueue(residuals[0], settings),
    transport=Transport(residuals, settings),
    send_attach=_send_attach,
    send_follow=lambda message, model: send_follow(app, redis, message, model),
    residual=residuals[0],
    busy=BusyShare(),
    watchdog=Watchdog(settings.stuck_grace_s, loading_since=lambda: memory.loading_since),
)
cancel_revoked_jobs(lambda job_id: revoke_job(worker.jobs, job_id))
availability = AvailabilityReporter(
    redis,
    serves=served,
    ttl_s=settings.heartbeat_s * GRACE_BEATS,
    models=worker.models,
    cache=worker.loras,
    memory=worker.lora_memory,
)


@worker_init.connect
def _start(sender: Any, **_: object) -> None:
    prepare_process(settings, worker_name(sender), sender.loglevel)
    default = catalog.default_model
    with start_or_exit():
        check_device(settings.device)
        worker.loras.trim()
        load_any(
            worker.models,
            sorted(served, key=lambda model: model != default),
            check=lambda model: check_model_entry(model, catalog.models[model], settings.catalog),
        )
    consumption = Consumption(sender, lambda: _queues(worker_name(sender)))
    LORA_CACHE_BYTES.labels("disk").set_function(worker.loras.used_bytes)
    LORA_CACHE_BYTES.labels("memory").set_function(worker.lora_memory.used_bytes)
    name = worker_name(sender)
    for model in served:
        app.amqp.queues.select_add(default_exchange_queue(worker_queue(model, name)))
    prefetch.follow_hints(redis, worker.loras, name)
    worker.watchdog.start()
    availability.start(name, consumption.is_able)
    started_at = time.time()

    def report() -> Heartbeat:
        return describe_worker(
            settings,
            name=name,
            kind="unet",
            serves=served,
            loaded=worker.models.names(),
            jobs=availability.jobs(),
            attached_jobs=dict(worker.sessions),
            load_errors=worker.models.failed(),
            unavailable_reasons=[*worker.watchdog.problems(), *consumption.problems()],
            utilization=worker.busy.share(),
            started_at=started_at,
        )

    reporter = HeartbeatThread(
        redis,
        name,
        settings.heartbeat_s,
        report,
        chores=[
            availability.report,
            lambda: recover(app, worker.jobs, catalog, settings.catalog_grace_s),
            worker.transport.sweep,
            consumption.check,
        ],
    )
    reporter.start()
    sweeper = Sweeper(worker.jobs, images, Bucket(settings, settings.lora_bucket))
    sweeper.start()
    worker_shutdown.connect(lambda **_: worker.watchdog.stop(), weak=False)
    worker_shutdown.connect(lambda **_: reporter.stop(), weak=False)
    worker_shutdown.connect(lambda **_: sweeper.stop(), weak=False)
    worker_shutting_down.connect(lambda **_: _leave(name), weak=False)


def _leave(name: str) -> None:
    availability.stop()
    try:
        worker.jobs.leaves(name)
    except RedisError:
        log.warning("could not say that this worker is stopped on purpose")


def _queues(name: str) -> list[str]:
    """What the worker consumes from: models that it cannot load are left to others."""
    failed = worker.models.failed()
    models = [model for model in served if model not in failed]
    kinds = (unet_queue, follow_queue, lambda model: worker_queue(model, name))
    return [queue(model) for model in models for queue in kinds]


@app.task(
    name=GENERATE, bind=True, base=CheckedTask, takes=GenerateJob, max_retries=None, throws=(SwiftError,)
)
def generate(self: Any, payload: dict[str, Any]) -> str:
    """Run a job; what may succeed on another attempt goes back into the queue."""
    job_id = GenerateJob.model_validate(payload).job_id
    with _device_for(job_id):
        try:
            return conclude(
                self, worker.jobs, job_id, execute_job(worker, job_id, str(self.request.hostname))
            )
        except Exception as error:
            if is_retryable(error):  # later each time: servers come back
                countdown, queue = min(4**self.request.retries, 60), _common_queue(self.request)
                raise self.retry(exc=error, countdown=countdown, queue=queue) from error
            raise


# Not acknowledged late: a killed follower is replaced by its leader.
@app.task(name=FOLLOW, bind=True, base=CheckedTask, takes=FollowBranch, acks_late=False, throws=(SwiftError,))
def follow_branch(self: Any, payload: dict[str, Any]) -> str:
    """Predict one CFG branch of another worker's job."""
    message = FollowBranch.model_validate(payload)
    with _device_for(message.job_id):
        return follow(worker, message, str(self.request.hostname))


@contextmanager
def _device_for(job_id: str) -> Iterator[None]:
    with device, availability.busy_with(job_id):
        yield


def _common_queue(request: Any) -> str:
    """Where all workers of the model find a message, also one that came by this worker's own queue."""
    return str(request.delivery_info["routing_key"]).partition("@")[0]
