"""Publishes response headers at the primary residual server, without waiting for acknowledgements.

A worker that waited for each acknowledgement would give up its core after every residual, and get it back
when others let it. So acknowledgements are read before the next headers are sent.
"""

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from redis.exceptions import ResponseError

from shared.lua_script import read_lua
from shared.redis_clients import make_retry
from workers.transport.keys import responses_key, step_token_key
from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool
from workers.transport.redis_client.resp import Connection
from workers.transport.wire import pack_bytes

log = logging.getLogger(__name__)

#: One reply of the primary server.
REPLY_S = 10.0


class ResponseEnvelope(NamedTuple):
    """A header, ready to be published, and what is attached to it."""

    response: StepResponse
    attached: bytes | memoryview = b""


class ResponsePublisher:
    """One connection for all headers; safe to use from several threads."""

    def __init__(self, servers: ConnectionPool, ttl_s: int, discard: Callable[[Payload], None]) -> None:
        """``discard`` is called for payloads that nobody will read: their job is past the step."""
        self._servers = servers
        self._ttl_s = b"%d" % ttl_s
        self._discard = discard
        self._script = read_lua("workers.transport", "publish").encode()
        self._script_sha = hashlib.sha1(self._script).hexdigest().encode()
        self._retry = make_retry()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._unacknowledged: deque[list[Payload]] = deque()  # of each command that was sent

    def publish(self, request: StepRequest, envelopes: Sequence[ResponseEnvelope]) -> None:
        """Send responses to one request together; raises `redis.RedisError` if the server stays away."""
        frames = [pack_bytes(envelope.response.model_dump(), envelope.attached) for envelope in envelopes]
        payloads = [envelope.response.payload for envelope in envelopes if envelope.response.payload]
        keys = (step_token_key(request.job_id).encode(), responses_key(request).encode())
        args = (request.step_prefix.encode(), self._ttl_s, *frames)
        command = (b"EVALSHA", self._script_sha, b"2", *keys, *args)

        def send() -> None:
            if self._connection is not None and self._connection.is_open:
                self._read_acknowledgements(self._connection)
            # Sent to a server that has hung up, they would be lost without an error, and the step with them.
            if self._connection is None or not self._connection.is_alive():
                self._connection = self._connect()
            self._connection.send([command])
            self._unacknowledged.append(payloads)

        with self._lock:
            self._retry.call_with_retry(send, lambda error: None)

    def _connect(self) -> Connection:
        self._unacknowledged.clear()  # only their readers know whether those arrived
        connection = self._servers.connect(PRIMARY)
        connection.send([(b"SCRIPT", b"LOAD", self._script)])
        connection.read_pending(REPLY_S)
        return connection

    def _read_acknowledgements(self, connection: Connection) -> None:
        while self._unacknowledged:
            try:
                is_accepted = bool(connection.read(REPLY_S))
            except ResponseError as error:
                log.warning("responses not accepted", extra={"error": str(error)})
                is_accepted = False
            payloads = self._unacknowledged.popleft()
            if not is_accepted:
                for payload in payloads:
                    self._discard(payload)
