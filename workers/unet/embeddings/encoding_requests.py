"""Asks idle UNet workers to encode a prompt whose text encoders are not loaded here."""

import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.messaging.celery_app import ENCODE, default_exchange_queue, encode_queue
from shared.registry.availability import Availability
from shared.registry.live_workers import LiveWorkersCache
from workers.transport.keys import encoding_responses_key
from workers.transport.redis_client.blocking_pop import pop_within
from workers.unet.embeddings.messages import STORED, TAKEN, EncodePrompt

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: An idle worker takes a request within milliseconds.
TAKE_S = 0.25

#: Sends a request to the workers that have the text encoders of a model; it expires after so many seconds.
#: Returns whether it was sent: not while another one waits, as nobody is idle then.
SendEncode = Callable[[EncodePrompt, str, float], bool]


def send_encode(celery: Celery, redis: "Redis", message: EncodePrompt, model: str, expires_s: float) -> bool:
    """See `SendEncode`."""
    if redis.llen(encode_queue(model)):
        return False
    queue: Any = default_exchange_queue(encode_queue(model))  # the types of send_task want a name
    celery.send_task(ENCODE, args=[message.model_dump()], queue=queue, declare=[], expires=expires_s)
    return True


class EncodingRequests:
    """One request for each prompt; whatever goes wrong, the prompt is encoded here."""

    def __init__(
        self,
        control: "Redis",
        live_workers: LiveWorkersCache,
        residual: "Redis",
        send: SendEncode,
        take_s: float = TAKE_S,
    ) -> None:
        """``take_s``: how long a request waits to be taken."""
        self._control, self._live_workers, self._residual = control, live_workers, residual
        self._send, self._take_s = send, take_s

    def ask(self, model: str, worker: str, wait_s: float, *, job_id: str, attempt: str, key: str) -> bool:
        """Have an idle worker, other than ``worker``, encode the prompt of a job; whether it is stored now.

        ``wait_s``: how long to wait for one that has taken the request.
        """
        message = EncodePrompt(job_id=job_id, attempt=attempt, key=key, responses=secrets.token_hex(8))
        try:
            if not self._is_any_idle(model, worker):
                return False
            if not self._send(message, model, self._take_s):
                return False
            response = self._receive(message, self._take_s)
            if response == TAKEN:
                start = time.monotonic()
                response = self._receive(message, wait_s)
                waited = {"waited_s": time.monotonic() - start}
                if response == STORED:
                    log.info("prompt encoded elsewhere", extra=waited)
                else:
                    log.info("prompt not encoded in time", extra=waited)
            return response == STORED
        except (OperationalError, RedisError) as error:
            log.warning("nobody asked to encode a prompt", extra={"error": str(error)})
            return False

    def _is_any_idle(self, model: str, worker: str) -> bool:
        beats = [beat for beat in self._live_workers.read() if beat.kind == "unet"]
        loaded = {beat.name for beat in beats if model in beat.loaded}
        return bool(loaded & set(Availability(self._control).free_workers()) - {worker})

    def _receive(self, message: EncodePrompt, timeout_s: float) -> bytes | None:
        return pop_within(self._residual, encoding_responses_key(message.responses), timeout_s)
