"""The ControlNet worker's end of a residual's way: choose the rung, lay the bytes down, send the heads."""

import logging
import secrets
import time
from collections.abc import Iterable

from torch import Tensor

from shared import metrics
from shared.errors import ResidualServersFull
from shared.redis_clients import make_retry
from shared.settings import Settings
from workers.transport.backends.chunked_redis import ChunkedRedis
from workers.transport.backends.host_memory import HostMemory
from workers.transport.backends.shared_memory import SharedMemoryWriter
from workers.transport.codecs import encode
from workers.transport.keys import payload_key, step_token_key
from workers.transport.protocol import Payload, RedisChunks, SharedMemoryBlock, StepRequest, StepResponse
from workers.transport.redis_client.backpressure import Backpressure
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool, ConnectionSet
from workers.transport.response_publisher import REPLY_S, ResponseEnvelope, ResponsePublisher
from workers.transport.wire import bytes_of, name_of

log = logging.getLogger(__name__)

#: Smaller residuals follow their head: another round trip would cost more than the copies.
INLINE_BYTES = 32 << 10
#: Heads wait for no more than this to be laid down: a millisecond or two.
BATCH_BYTES = 8 << 20
#: That a job is at a step is asked at most this often while its residuals leave one after the other.
CURRENT_STEP_CACHE_S = 0.01


class ResidualSender:
    """Hands residuals over; safe to use from several threads."""

    def __init__(self, servers: ConnectionPool, host: HostMemory | None, settings: Settings) -> None:
        self._servers = servers
        self.blocks = SharedMemoryWriter(host, settings)
        self._retry = make_retry()
        self._wanted = ("", "", 0.0)  # job and step that were wanted when it was asked for last
        self._chunked = ChunkedRedis(servers, settings.residual_ttl_s)
        self._pressure = Backpressure(servers, settings.residual_wait_s)
        self._publisher = ResponsePublisher(servers, settings.residual_ttl_s, self.blocks.take_back)

    def put(self, request: StepRequest, answers: Iterable[tuple[StepResponse, Tensor | None]]) -> int:
        """See `Transport.respond`."""
        sent_bytes = 0
        mail = ResponseBatch(self._publisher, request)
        for answer, tensor in answers:
            try:
                sent_bytes += self._put(mail, request, answer, tensor)
            except Exception:  # it is missed and asked for again; the others are none the worse
                log.exception("residual not sent", extra={"job": request.job_id, "step": request.step})
        mail.post()
        return sent_bytes

    def _put(
        self, mail: "ResponseBatch", request: StepRequest, answer: StepResponse, tensor: Tensor | None
    ) -> int:
        """One answer; returns its bytes, 0 if the job is past this step."""
        if tensor is None:
            mail.add(ResponseEnvelope(answer), 0)
            return 0
        precision = request.residual_precision
        coded = encode(tensor.detach(), precision)
        place: RedisChunks | SharedMemoryBlock | None = None
        inline: bytes | memoryview = b""
        rung = "redis"
        if coded.nbytes <= INLINE_BYTES:
            rung, inline = "inline", _memory(coded)
        elif (place := self.blocks.write(request, coded)) is not None:
            rung = "shared_memory"
        else:
            mail.post()  # what follows may have to wait for room
            try:
                place = self._stripe(request, answer.index, _memory(coded))
            except ResidualServersFull as error:
                # Told in its place, so that the reader asks again instead of waiting.
                refusal = answer.model_copy(update={"error": error.code, "detail": str(error)})
                mail.add(ResponseEnvelope(refusal), 0)
                return 0
            if place is None:
                return 0
        metrics.RESIDUALS.labels(rung).inc()
        body = Payload(
            dtype=name_of(tensor.dtype), shape=list(tensor.shape), precision=precision, place=place
        )
        mail.add(ResponseEnvelope(answer.model_copy(update={"body": body}), inline), tensor.nbytes)
        if rung == "redis":
            mail.post()  # the reader fetches it while the next one is sent
        return coded.nbytes

    def _stripe(self, request: StepRequest, index: int, memory: memoryview) -> RedisChunks | None:
        """Into keys at the residual servers; ``None`` if the job is past this step."""
        key = payload_key(request, index, secrets.token_hex(4))

        def stripe() -> list[int] | None:
            with self._servers.links() as links:
                return self._pressure.when_accepted(
                    links,
                    len(memory),
                    lambda: self._is_wanted(links, request),
                    lambda: self._chunked.put(links, key, memory, index=index),
                )

        servers = self._retry.call_with_retry(stripe, lambda error: None)
        return None if servers is None else RedisChunks(key=key, servers=servers)

    def _is_wanted(self, links: ConnectionSet, request: StepRequest) -> bool:
        """Whether the job is still at this step."""
        now = time.monotonic()
        job_id, step, asked_at = self._wanted
        if (job_id, step) == (request.job_id, request.step_prefix) and now - asked_at < CURRENT_STEP_CACHE_S:
            return True
        home = links[PRIMARY]
        home.send([(b"GET", step_token_key(request.job_id).encode())])
        step_token = home.read(REPLY_S)
        if step_token is None or not step_token.startswith(request.step_prefix.encode()):
            return False
        self._wanted = (request.job_id, request.step_prefix, now)
        return True


class ResponseBatch:
    """Heads of one step that wait for each other, as a message costs as much as copying a megabyte."""

    def __init__(self, publisher: ResponsePublisher, request: StepRequest) -> None:
        self._publisher, self._request = publisher, request
        self._letters: list[ResponseEnvelope] = []
        self._bytes = 0

    def add(self, letter: ResponseEnvelope, size_bytes: int) -> None:
        """One more; ``size_bytes`` were laid down for it."""
        self._letters.append(letter)
        self._bytes += size_bytes
        if self._bytes >= BATCH_BYTES:
            self.post()

    def post(self) -> None:
        """Send those that wait; raises `redis.RedisError` if the server stays away."""
        letters, self._letters, self._bytes = self._letters, [], 0
        if letters:
            self._publisher.post(self._request, letters)


def _memory(tensor: Tensor) -> memoryview:
    return bytes_of(tensor.to("cpu").contiguous())
