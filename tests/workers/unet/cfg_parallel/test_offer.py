"""The Celery message that offers a branch to idle workers."""

from typing import Any, cast

from celery import Celery
from redis import Redis

from shared.messaging.celery_app import FOLLOW, follow_queue
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.offer import send_follow

MESSAGE = FollowBranch(job_id="0" * 16, attempt="attempt", ordinal=1, channel="0", control_maps=[])


class RecordingCelery:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send_task(self, name: str, **options: Any) -> None:
        self.sent.append((name, options))


def test_an_offer_expires_after_the_leaders_own_interval(control: Redis) -> None:
    control.delete(follow_queue("emoji-sd"))
    celery = RecordingCelery()
    send_follow(cast(Celery, celery), control, MESSAGE, "emoji-sd", 0.25)
    [(name, options)] = celery.sent
    assert (name, options["queue"], options["expires"]) == (FOLLOW, follow_queue("emoji-sd"), 0.25)
