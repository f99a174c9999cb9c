"""Payloads in keys at the residual servers: works between any two machines."""

import logging
import secrets
import time

from redis.exceptions import RedisError
from torch import Tensor

from shared.message_base import Message
from shared.redis_clients import make_retry
from shared.settings import Settings
from workers.devices.base import Device
from workers.transport.backends.base import Location, StepSuperseded, StoredPayload, TransportBackend
from workers.transport.backends.chunked_redis import ChunkedRedis
from workers.transport.backends.receive_buffers import BufferPool
from workers.transport.keys import payload_key, step_token_key
from workers.transport.protocol import StepRequest
from workers.transport.redis_client.backpressure import Backpressure
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool, ConnectionSet
from workers.transport.wire import bytes_of, tensor_over

log = logging.getLogger(__name__)

#: That a job is still at a step is asked at most this often while its residuals leave one after another.
CURRENT_STEP_POLL_S = 0.01
#: One reply of the primary server.
REPLY_S = 10.0


class RedisChunks(Message):
    """Location: keys that begin with ``key``, one a chunk, on ``servers`` in turn."""

    key: str
    servers: list[int]


class RedisBackend(TransportBackend):
    """Payloads in chunks over all residual servers; `put` waits while the servers are full."""

    name = "redis"
    is_blocking = True

    def __init__(self, servers: ConnectionPool, settings: Settings, device: Device) -> None:
        self._servers = servers
        self._device = device
        self._chunks = ChunkedRedis(servers, settings.residual_ttl_s)
        self._backpressure = Backpressure(servers, settings.residual_timeout_s)
        self._retry = make_retry()
        self._buffers = BufferPool(device)
        self._current = ("", "", 0.0)  # job and step that the last look found current, and when that was

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload:
        """Store the chunks, waiting for space and for servers that restart.

        Raises `StepSuperseded`, `ResidualServersFull` if there is no space in time, and `RedisError`.
        """
        memory = bytes_of(self._device.to_host(payload).wait())
        key = payload_key(request, index, secrets.token_hex(4))

        def store() -> list[int] | None:
            with self._servers.connections() as connections:
                return self._backpressure.store_when_accepted(
                    len(memory),
                    connections,
                    is_wanted=lambda: self._is_current(connections, request),
                    store=lambda: self._chunks.put(connections, key, memory, index=index),
                )

        servers = self._retry.call_with_retry(store, lambda error: None)
        if servers is None:
            raise StepSuperseded
        return StoredPayload(RedisChunks(key=key, servers=servers).model_dump())

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor | None:
        """The chunks in a kept buffer; they are removed from the servers."""
        chunks = RedisChunks.model_validate(location)
        memory = self._buffers.lend(size_bytes)
        for _ in range(2):  # a kept connection may have died in a restart long ago
            try:
                with self._servers.connections() as connections:
                    is_whole = self._chunks.take(connections, chunks.key, chunks.servers, memory)
                return tensor_over(memory) if is_whole else None
            except RedisError as error:
                log.warning("residual not fetched", extra={"error": str(error)})
        return None

    def discard(self, location: Location, size_bytes: int) -> None:
        """Remove the chunks now; if the servers do not answer, they expire."""
        chunks = RedisChunks.model_validate(location)
        try:
            with self._servers.connections() as connections:
                self._chunks.remove(connections, chunks.key, chunks.servers, size_bytes)
        except RedisError as error:
            log.warning("residual not discarded; it stays until it expires", extra={"error": str(error)})

    def sweep(self) -> None:
        """Every key expires by itself."""

    def close(self) -> None:
        """Connections end with the process."""

    def _is_current(self, connections: ConnectionSet, request: StepRequest) -> bool:
        """Whether the job is still at this step."""
        now = time.monotonic()
        job_id, step, asked_at = self._current
        if (job_id, step) == (request.job_id, request.step_prefix) and now - asked_at < CURRENT_STEP_POLL_S:
            return True
        primary = connections[PRIMARY]
        primary.send([(b"GET", step_token_key(request.job_id).encode())])
        step_token = primary.read(REPLY_S)
        if step_token is None or not step_token.startswith(request.step_prefix.encode()):
            return False
        self._current = (request.job_id, request.step_prefix, now)
        return True
