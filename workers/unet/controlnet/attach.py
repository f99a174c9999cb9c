"""Sends the Celery task ``controlnet.attach``, which prepares those who may serve a job's ControlNets."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.messaging.celery_app import ATTACH, attach_queue, controlnet_queue, default_exchange_queue
from shared.messaging.messages import AttachControlNet
from shared.registry.availability import Availability
from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A message that nobody has taken by then is of no use any more.
EXPIRES_S = 60


def send_attach(
    celery: Celery,
    control: "Redis",
    live_workers: LiveWorkersCache,
    messages: Sequence[AttachControlNet],
    name: str,
) -> None:
    """Ask for the steps of a job of the worker ``name``; without it, the first step does what is missing.

    Each message goes to the queue of all ControlNet workers of its ControlNet, if one lives, and to one idle
    UNet worker; of the message's platform, if it names one.
    """
    try:
        workers = [worker for worker in live_workers.read() if worker.name != name]
        idle = set(Availability(control).free_workers())
        asked: Counter[str] = Counter()
        for message in messages:
            able = [one for one in workers if message.platform in ("", one.platform)]
            if any(one.kind == "controlnet" and _takes(one, message) for one in able):
                _send(celery, message, queue=controlnet_queue(message.controlnet))
            chosen = choose_idle(message.controlnet, able, idle, asked)
            if chosen is not None:
                asked[chosen] += 1
                queue: Any = default_exchange_queue(attach_queue(chosen))  # the types want a name
                _send(celery, message, queue=queue, declare=[])
    except (OperationalError, RedisError):
        log.warning("no attachment sent; workers prepare at the first step")


def choose_idle(
    controlnet: str, workers: Sequence[Heartbeat], idle: Collection[str], asked: Counter[str]
) -> str | None:
    """The idle UNet worker that prepares for a ControlNet: best one that has loaded it; ``None`` if none may.

    ``asked`` counts what each was asked to prepare for the job already: several share it.
    """
    able = [
        worker
        for worker in workers
        if worker.kind == "unet" and worker.name in idle and worker.takes_work_for("controlnet", controlnet)
    ]
    if not able:
        return None
    return min(
        able, key=lambda one: (controlnet not in one.loaded_controlnets, asked[one.name], one.name)
    ).name


def find_unloaded(
    live_workers: LiveWorkersCache, controlnets: Collection[str], name: str, platform: str = ""
) -> list[str]:
    """Those that no live worker but ``name`` has loaded and serves now, by its heartbeat.

    ``platform``: digest of the only one whose workers count; empty: all do.

    A UNet worker serves none while it has a job. Empty while the control Redis does not answer.
    """
    if not controlnets:
        return []
    try:
        workers = [worker for worker in live_workers.read() if worker.name != name]
    except RedisError:
        return []
    workers = [worker for worker in workers if platform in ("", worker.platform)]
    return [controlnet for controlnet in controlnets if not any(_holds(one, controlnet) for one in workers)]


def _holds(worker: Heartbeat, controlnet: str) -> bool:
    is_loaded = controlnet in worker.loaded_of("controlnet")
    is_free = worker.kind == "controlnet" or not worker.jobs
    return is_loaded and is_free and worker.takes_work_for("controlnet", controlnet)


def _takes(worker: Heartbeat, message: AttachControlNet) -> bool:
    return worker.takes_work_for("controlnet", message.controlnet)


def _send(celery: Celery, message: AttachControlNet, **route: Any) -> None:
    celery.send_task(ATTACH, args=[message.model_dump()], expires=EXPIRES_S, **route)
