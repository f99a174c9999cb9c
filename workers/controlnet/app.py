"""The ControlNet worker's Celery app: ``celery -A workers.controlnet.app worker --pool=threads``.

Celery carries the attachments; the steps themselves come through the residual transport.
"""

import gc

gc.disable()  # until everything is imported: that frees nothing, and collections take a fifth of its time

from shared.settings import read_settings
from shared.startup import exit_with_reason
from workers.devices.visible import hide_other_gpus

with exit_with_reason():
    settings = hide_other_gpus(read_settings())  # before diffusers is imported, which asks CUDA

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from celery.signals import worker_init, worker_shutdown
from redis.exceptions import RedisError

from shared.catalog.catalog import read_catalog
from shared.catalog.step_bytes import largest_step_bytes
from shared.jobs.store import JobStore
from shared.logs import log_fields
from shared.messaging.celery_app import ATTACH, controlnet_queue, make_celery
from shared.messaging.messages import AttachControlNet
from shared.redis_clients import control_redis, residual_servers
from shared.registry.controlnet_servers import ServerRegistration
from shared.registry.workers import Heartbeat
from workers.controlnet_serving.host import ServerHost
from workers.controlnet_serving.server import ControlNetServer
from workers.devices.selection import find_device
from workers.families.controlnet_warm_up import usual_step, warm_up_controlnet
from workers.families.engine_memory import describe_engines
from workers.families.load_controlnet import check_controlnet, controlnet_cache
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.budgets.memory_budget import HOST_BYTES, budget_bytes
from workers.runtime.celery_worker.broker import CheckedTask, use_checked_transport
from workers.runtime.celery_worker.consumer_check import ConsumerCheck
from workers.runtime.celery_worker.control import WorkerControl
from workers.runtime.celery_worker.revocation import cancel_revoked_jobs, revoke_job
from workers.runtime.celery_worker.stats import add_activity_to_stats
from workers.runtime.device_loss import STATUS, DeviceLoss
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.heartbeat import GRACE_BEATS, HeartbeatThread, describe_worker
from workers.runtime.process import (
    check_device,
    load_any,
    prepare_process,
    select_served,
    start_or_exit,
    worker_name,
)
from workers.runtime.process_exit import EXIT_S, end_within
from workers.runtime.warm_up import ROUNDS, WarmUp, is_first_run_slower, reported
from workers.runtime.watchdog import STATUS as WATCHDOG_STATUS
from workers.runtime.watchdog import Watchdog
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport

gc.freeze()  # what libraries have made stays, and no collection visits it again
gc.enable()
with exit_with_reason():
    catalog = read_catalog(settings.catalog, settings)
    served = select_served("SWIFT_WORKER_CONTROLNETS", settings.worker_controlnets, list(catalog.controlnets))
use_checked_transport()
app = make_celery(settings, queues=[controlnet_queue(controlnet) for controlnet in served])


device = find_device(settings.device)
memory = DeviceMemory(HOST_BYTES, device)  # until the device is asked, at the start
loss = DeviceLoss(device)
controlnets = controlnet_cache(catalog, settings, memory)
redis, residuals = control_redis(settings), residual_servers(settings)
step_bytes = largest_step_bytes(catalog, settings.catalog, served)
transport = ResidualTransport(residuals, settings, device=device, step_bytes=step_bytes)
watchdog = Watchdog(settings.stuck_grace_s, loading_since=lambda: memory.loading_since)
activity = DeviceActivity()
add_activity_to_stats(app, activity)
server = ControlNetServer(
    served,
    controlnets,
    StepQueue(residuals[0], settings, device),
    transport,
    settings.controlnet_batch_delay,
    ServerHost(activity=activity, watchdog=watchdog, device_loss=loss),
)
jobs = JobStore(redis, settings)
cancel_revoked_jobs(lambda job_id: revoke_job(jobs, job_id))


@worker_init.connect
def _start(sender: Any, **_: object) -> None:
    prepare_process(settings, worker_name(sender), sender.loglevel)
    control = WorkerControl(sender)
    loss.on_loss(lambda: control.stop(STATUS))
    with start_or_exit():
        check_device(settings)
        memory.models.capacity_bytes = budget_bytes(settings, device, step_bytes)
        load_any(controlnets, served, check=lambda name: check_controlnet(catalog, settings, name))
    _warm_up(worker_name(sender))
    watchdog.start()
    consumer_check = ConsumerCheck(
        sender, lambda: [controlnet_queue(controlnet) for controlnet in server.available_controlnets]
    )
    server.start(worker_name(sender))
    name, started_at = worker_name(sender), time.time()

    report = partial(_report, name, started_at, consumer_check.problems)
    registration = ServerRegistration(
        jobs.renewal_redis,
        lambda: [] if _problems(consumer_check.problems) else server.available_controlnets,
        lambda: server.steps.platform_digest,
        settings.heartbeat_s * GRACE_BEATS,
    )
    tasks = [lambda: registration.renew(name), transport.sweep, consumer_check.check, activity.count]
    reporter = HeartbeatThread(redis, name, settings.heartbeat_s, report, tasks)
    reporter.start()

    @worker_shutdown.connect(weak=False)
    def _end(**_: object) -> None:
        server.stop()  # watched: a step may hang
        watchdog.stop()
        end_within(EXIT_S, WATCHDOG_STATUS)
        if not loss.is_lost:  # it may use the device; others free what a dead worker has left
            transport.close()
        reporter.stop()
        with suppress(RedisError):  # then it expires
            registration.remove(name)
        loss.exit_if_lost()


def _report(name: str, started_at: float, problems: Callable[[], list[str]]) -> Heartbeat:
    """``problems``: why it takes no steps now, beside its device's."""
    return describe_worker(
        settings,
        loss.usable_device,
        name=name,
        kind="controlnet",
        serves=served,
        loaded=controlnets.names(),
        jobs=server.recent_jobs.jobs(),
        attached_jobs=server.recent_jobs.by_controlnet(),
        load_errors=controlnets.failed(),
        engines=describe_engines(controlnets),
        unavailable_reasons=_problems(problems),
        warnings=transport.warnings(),
        received_residuals=transport.received_residuals(),
        activity=activity,
        started_at=started_at,
    )


def _problems(problems: Callable[[], list[str]]) -> list[str]:
    return [*loss.problems(), *watchdog.problems(), *problems()]


def _warm_up(name: str) -> None:
    """Run what was loaded once; meanwhile the fleet sees a worker that takes no steps."""
    for controlnet, loaded in controlnets.loaded().items():
        usual = usual_step(catalog, settings, controlnet)
        if usual is not None and is_first_run_slower(loaded.engines.own.name, device):
            warm_up = WarmUp(controlnet, ROUNDS, loaded.engines.own)
            with reported(
                redis, name, settings.heartbeat_s, partial(_report, name, time.time(), warm_up.problems)
            ):
                warm_up.run(partial(warm_up_controlnet, loaded, *usual))


@app.task(name=ATTACH, base=CheckedTask, takes=AttachControlNet)
def attach(payload: dict[str, Any]) -> None:
    """Prepare for the steps of a job."""
    message = AttachControlNet.model_validate(payload)
    with log_fields(job=message.job_id, attempt=message.attempt, tenant=message.tenant):
        server.attach(message)
