"""The Celery message that asks idle workers to encode a prompt."""

from typing import Any, cast

from celery import Celery
from redis import Redis

from shared.messaging.celery_app import ENCODE, encode_queue
from shared.registry.live_workers import LiveWorkersCache
from workers.transport.redis_client.blocking_pop import POLL_S
from workers.unet.embeddings.encoding_requests import EncodingRequests, send_encode
from workers.unet.embeddings.messages import STORED, TAKEN, EncodePrompt

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


class SlowHelper:
    """A residual server at which a helper answers with its last read only."""

    def __init__(self) -> None:
        self._replies: list[bytes | None] = [TAKEN, None, None, STORED]
        self.timeouts: list[float] = []

    def blpop(self, keys: list[str], timeout: float) -> tuple[bytes, bytes] | None:
        """See `redis.Redis`."""
        self.timeouts.append(timeout)
        reply = self._replies.pop(0)
        return None if reply is None else (keys[0].encode(), reply)


def test_a_helper_is_waited_for_longer_than_any_socket_waits(control: Redis, helper_is_idle: None) -> None:
    residual, live_workers = SlowHelper(), LiveWorkersCache(control, cache_s=0)
    requests = EncodingRequests(control, live_workers, cast(Redis, residual), lambda *message: True)
    assert requests.ask("emoji-sd", "unet1@test", 3600.0, job_id="j", attempt="a", key="k")
    assert len(residual.timeouts) == 4
    assert max(residual.timeouts) <= POLL_S
