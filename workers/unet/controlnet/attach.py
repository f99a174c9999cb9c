"""Sends the Celery task ``controlnet.attach``, which prepares ControlNet workers for a job."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.messaging.celery_app import ATTACH, controlnet_queue
from shared.messaging.messages import AttachControlNet
from shared.registry.workers import Heartbeat, live_workers

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A message that nobody has taken by then is of no use any more.
EXPIRES_S = 60


def send_attach(celery: Celery, message: AttachControlNet) -> None:
    """Ask a worker of the ControlNet to prepare; without it, the first step does what is missing."""
    queue = controlnet_queue(message.controlnet)
    try:
        celery.send_task(ATTACH, args=[message.model_dump()], queue=queue, expires=EXPIRES_S)
    except (OperationalError, RedisError):
        log.warning("no attachment sent; ControlNet workers prepare at the first step")


def find_unserved(control: "Redis", controlnets: Collection[str], name: str) -> set[str]:
    """Those that no live worker but ``name`` serves, by its heartbeat.

    A ControlNet worker loads them on demand, a UNet worker serves those that it has loaded. None while the
    control Redis does not answer.
    """
    if not controlnets:
        return set()
    try:
        workers = [worker for worker in live_workers(control) if worker.name != name]
    except RedisError:
        return set()
    return {controlnet for controlnet in controlnets if not any(_serves(one, controlnet) for one in workers)}


def _serves(worker: Heartbeat, controlnet: str) -> bool:
    is_ready = worker.kind == "controlnet" or controlnet in worker.loaded_controlnets
    return is_ready and worker.takes_work_for("controlnet", controlnet)
