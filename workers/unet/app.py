"""The UNet worker's Celery app: ``celery -A workers.unet.app worker --pool=threads``.

One job at a time uses the device, whatever ``--concurrency`` says.
"""

import gc

gc.disable()  # until everything is imported: that frees nothing, and collections take a fifth of its time

from shared.redis_clients import without_retries
from shared.settings import read_settings
from shared.startup import exit_with_reason
from workers.devices.visible import hide_other_gpus

with exit_with_reason():
    settings = hide_other_gpus(read_settings())  # before diffusers is imported, which asks CUDA

from typing import Any

from celery.signals import worker_init, worker_ready, worker_shutdown, worker_shutting_down

from shared.catalog.catalog import read_catalog
from shared.errors import SwiftError
from shared.messaging.celery_app import (
    ATTACH,
    ENCODE,
    FOLLOW,
    GENERATE,
    follow_queue,
    make_celery,
    unet_queue,
)
from shared.messaging.messages import AttachControlNet, GenerateJob
from shared.scheduling.fair_queue import FairQueue
from workers.runtime.celery_worker.broker import CheckedTask, order_queues, use_checked_transport
from workers.runtime.celery_worker.job_order import JobOrder
from workers.runtime.celery_worker.remote_shutdown import leave_on_remote_shutdown
from workers.runtime.celery_worker.revocation import cancel_revoked_jobs, revoke_job
from workers.runtime.celery_worker.stats import add_activity_to_stats
from workers.runtime.process import select_controlnets, select_served
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.embeddings.encode_for_job import encode_for_job
from workers.unet.embeddings.messages import EncodePrompt
from workers.unet.job import execute_job
from workers.unet.process.build import build_worker
from workers.unet.process.lifecycle import WorkerLifecycle
from workers.unet.process.task_outcome import end_task, retried_later

gc.freeze()  # what libraries have made stays, and no collection visits it again
gc.enable()
with exit_with_reason():
    catalog = read_catalog(settings.catalog, settings)
    serves = select_served("SWIFT_WORKER_MODELS", settings.worker_models, list(catalog.models))
    controlnets = select_controlnets(settings.worker_controlnets, catalog, serves)
use_checked_transport()
app = make_celery(settings, queues=[queue(model) for model in serves for queue in (unet_queue, follow_queue)])
worker = build_worker(settings, catalog, serves, controlnets, app)
fair_queue = FairQueue(worker.jobs.redis, settings)
job_order = JobOrder(
    without_retries(worker.jobs.redis),
    serves,
    loaded=worker.models.names,
    expected_load_s=worker.models.expected_load_s,
)
order_queues(job_order)
lifecycle = WorkerLifecycle(app, worker, catalog)
worker_init.connect(job_order.on_start, weak=False)
worker_init.connect(lifecycle.start, weak=False)
worker_ready.connect(lifecycle.ready, weak=False)
worker_shutting_down.connect(lifecycle.leave, weak=False)
worker_shutdown.connect(lifecycle.stop, weak=False)
leave_on_remote_shutdown(lifecycle.leave)
add_activity_to_stats(app, worker.activity)
cancel_revoked_jobs(lambda job_id: revoke_job(worker.jobs, job_id))


@app.task(
    name=GENERATE, bind=True, base=CheckedTask, takes=GenerateJob, max_retries=None, throws=(SwiftError,)
)
def generate(self: Any, payload: dict[str, Any]) -> str:
    """Run a job."""
    job_id = GenerateJob.model_validate(payload).job_id
    with retried_later(self, fair_queue, job_id), lifecycle.device_for(job_id) as leave_device:
        status = execute_job(worker, job_id, str(self.request.hostname), leave_device)
        return end_task(self, worker.jobs, job_id, status)


# Not acknowledged late: a follower that was killed is of no use to its job any more.
@app.task(name=FOLLOW, bind=True, base=CheckedTask, takes=FollowBranch, acks_late=False, throws=(SwiftError,))
def follow_branch(self: Any, payload: dict[str, Any]) -> str:
    """Compute one CFG branch of a job that another worker runs."""
    message = FollowBranch.model_validate(payload)
    with lifecycle.device_for(message.job_id):
        return follow(worker, message, str(self.request.hostname))


# Nor is a request to encode: whoever asked encodes the prompt itself.
@app.task(name=ENCODE, base=CheckedTask, takes=EncodePrompt, acks_late=False, throws=(SwiftError,))
def encode(payload: dict[str, Any]) -> str:
    """Encode the prompt of a job that another worker runs."""
    message = EncodePrompt.model_validate(payload)
    with lifecycle.device_for(message.job_id):
        return encode_for_job(worker, message)


# Nor is an attachment: whoever serves the first step prepares what is missing.
@app.task(name=ATTACH, base=CheckedTask, takes=AttachControlNet, acks_late=False)
def attach(payload: dict[str, Any]) -> None:
    """Prepare for steps of another worker's job."""
    lifecycle.attach(AttachControlNet.model_validate(payload))
