"""The Celery message that asks idle workers to encode a prompt."""

from typing import Any, cast

from celery import Celery
from redis import Redis

from shared.messaging.celery_app import ENCODE, encode_queue
from workers.unet.embeddings.encoding_requests import send_encode
from workers.unet.embeddings.messages import EncodePrompt

MESSAGE = EncodePrompt(job_id="0" * 16, attempt="attempt", key="key", responses="responses")


class RecordingCelery:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send_task(self, name: str, **options: Any) -> None:
        self.sent.append((name, options))


def test_one_request_at_a_time_waits_and_it_expires(control: Redis) -> None:
    queue, celery = encode_queue("emoji-sd"), RecordingCelery()
    control.delete(queue)
    assert send_encode(cast(Celery, celery), control, MESSAGE, "emoji-sd", 0.25)
    [(name, options)] = celery.sent
    assert (name, options["queue"].name, options["expires"]) == (ENCODE, queue, 0.25)
    assert options["args"] == [MESSAGE.model_dump()]
    # While a request waits nobody is idle
    control.rpush(queue, "a message")
    assert not send_encode(cast(Celery, celery), control, MESSAGE, "emoji-sd", 0.25)
    control.delete(queue)
    assert len(celery.sent) == 1
