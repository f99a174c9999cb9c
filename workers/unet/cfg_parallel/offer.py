"""The Celery task ``unet.follow``: sent by leaders, run by idle UNet workers."""

import logging
from typing import TYPE_CHECKING

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.messaging.celery_app import FOLLOW, follow_queue
from workers.unet.cfg_parallel.messages import FollowBranch

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)


def send_follow(celery: Celery, redis: "Redis", message: FollowBranch, model: str, expires_s: float) -> None:
    """Offer to follow a job to the idle workers of ``model``; without Redis the job goes on alone.

    One offer at a time: nobody is idle while one still waits in the queue. It expires after ``expires_s``.
    """
    queue = follow_queue(model)
    try:
        if not redis.llen(queue):
            celery.send_task(FOLLOW, args=[message.model_dump()], queue=queue, expires=expires_s)
    except (OperationalError, RedisError):
        log.warning("no follower asked for; the job runs on one worker")
