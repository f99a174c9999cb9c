"""Payloads in keys at the residual servers: works between any two machines."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from redis.exceptions import RedisError
from torch import Tensor

from shared.message_base import Message
from shared.redis_clients import make_retry
from shared.settings import Settings
from workers.devices.base import Device
from workers.transport.backends.base import Location, StepSuperseded, StoredPayload, TransportBackend
from workers.transport.backends.chunked_redis import ChunkedRedis
from workers.transport.backends.receive_buffers import KEPT_BYTES, BufferPool
from workers.transport.keys import payload_key, step_token_key
from workers.transport.protocol import StepRequest
from workers.transport.redis_client.backpressure import Backpressure
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool, silent_after_s
from workers.transport.redis_client.resp import Command
from workers.transport.wire import bytes_of, tensor_over

log = logging.getLogger(__name__)


class RedisChunks(Message):
    """Location: keys that begin with ``key``, one a chunk, on ``servers`` in turn."""

    key: str
    servers: list[int]


class _Acknowledgements:
    """Those of servers that have been sent chunks; see `workers.transport.backends.base.Transfer`."""

    is_done = False  # not known before they are read

    def __init__(self, read: Callable[[], None]) -> None:
        self.wait = read


class RedisBackend(TransportBackend):
    """Payloads in chunks over all residual servers; `put` waits while the servers are full.

    It does not wait until they are stored. Chunks for the primary server travel in one message with their
    header, which the server publishes if it has stored them; the other servers' acknowledgements are read
    before the header is sent, and after the next payload's chunks are.
    """

    name = "redis"
    is_blocking = True

    def __init__(
        self, servers: ConnectionPool, settings: Settings, device: Device, step_bytes: int = 0
    ) -> None:
        """``step_bytes``: of the largest step that is received, for which buffers are kept."""
        self._servers = servers
        self._device = device
        self._chunks = ChunkedRedis(servers, settings.residual_ttl_s)
        self._reply_s = silent_after_s(settings.controlnet_lease_s)
        self._backpressure = Backpressure(servers, settings.residual_timeout_s, self._reply_s)
        self._retry = make_retry()
        self._buffers = BufferPool(device, max(KEPT_BYTES, step_bytes))

    def has_space(self, size_bytes: int) -> bool:
        """See `TransportBackend`; a server that does not answer is `put`'s concern."""
        try:
            with self._servers.waits:
                return self._backpressure.has_space(size_bytes)
        except RedisError:
            return True

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload:
        """Send the chunks to all servers but the primary, once there is space.

        Waits for servers that restart. Raises `StepSuperseded`, `ResidualServersFull` if there is no space in
        time, and `RedisError`.
        """
        return self._put(request, index, bytes_of(self._device.to_host(payload).wait()))

    def _put(self, request: StepRequest, index: int, memory: memoryview) -> StoredPayload:
        def put() -> StoredPayload:
            is_wanted = self._backpressure.wait_for_space(
                len(memory), is_wanted=lambda: self._is_current(request)
            )
            if not is_wanted:
                raise StepSuperseded
            key = payload_key(request, index, secrets.token_hex(4))
            servers = self._chunks.spread(index)
            commands = self._chunks.commands(key, memory, servers)
            with_header = commands.pop(PRIMARY, [])
            return StoredPayload(
                RedisChunks(key=key, servers=servers).model_dump(),
                transfer=self._send(commands) if commands else None,
                commands=with_header,
                store_again=lambda: self._put_again(request, index, memory),
            )

        with self._servers.waits:
            return self._retry.call_with_retry(put, lambda error: None)

    def _put_again(self, request: StepRequest, index: int, memory: memoryview) -> StoredPayload:
        with self._servers.waits:
            is_wanted = self._is_current(request)
        if not is_wanted:
            raise StepSuperseded
        self._backpressure.note_full()
        return self._put(request, index, memory)

    def _send(self, commands: Mapping[int, Sequence[Command]]) -> "_Acknowledgements":
        """Send commands to servers; what is returned keeps the connections until it was waited for."""
        with ExitStack() as stack:
            connections = stack.enter_context(self._servers.connections())
            for server in commands:
                with self._servers.noting_failures(server):
                    connections[server].send(commands[server], self._reply_s)
            in_use = stack.pop_all()

        def read() -> None:
            with in_use, self._servers.waits:
                for server in commands:
                    with self._servers.noting_failures(server):
                        connections[server].read_pending(self._reply_s)

        return _Acknowledgements(read)

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

    def _is_current(self, request: StepRequest) -> bool:
        """Whether the job is still at this step."""
        with self._servers.connections() as connections:
            primary = connections[PRIMARY]
            primary.send([(b"GET", step_token_key(request.job_id).encode())], self._reply_s)
            step_token = primary.read(self._reply_s)
        return step_token is not None and step_token.startswith(request.step_prefix.encode())
