"""Heads of answers on their way home. Nobody waits for acknowledgements: the next head takes them along.

A worker that waited would give its core away after every residual, and get it back when others let it.
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
from workers.transport.protocol import SharedMemoryBlock, StepRequest, StepResponse
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool
from workers.transport.redis_client.resp import Connection
from workers.transport.wire import pack_bytes

log = logging.getLogger(__name__)

PUSH_SCRIPT = read_lua("workers.transport", "publish")
#: One reply of the home server.
REPLY_S = 10.0
_PUSH_SHA = hashlib.sha1(PUSH_SCRIPT.encode()).hexdigest().encode()


class ResponseEnvelope(NamedTuple):
    """One answer, ready to go."""

    answer: StepResponse
    inline: bytes | memoryview = b""  # follows the head

    @property
    def block(self) -> SharedMemoryBlock | None:
        """Where the residual lies in shared memory."""
        place = self.answer.body.place if self.answer.body else None
        return place if isinstance(place, SharedMemoryBlock) else None


class ResponsePublisher:
    """One connection for all heads; safe to use from several threads."""

    def __init__(
        self, servers: ConnectionPool, ttl_s: int, take_back: Callable[[SharedMemoryBlock], None]
    ) -> None:
        """``take_back`` is told of blocks that nobody will read: their job is past the step."""
        self._servers = servers
        self._ttl_s = b"%d" % ttl_s
        self._take_back = take_back
        self._retry = make_retry()
        self._lock = threading.Lock()
        self._link: Connection | None = None
        self._sent: deque[list[SharedMemoryBlock]] = deque()  # not acknowledged yet

    def post(self, request: StepRequest, letters: Sequence[ResponseEnvelope]) -> None:
        """Send answers to a request together; raises `redis.RedisError` if the server stays away."""
        frames = [pack_bytes(letter.answer.model_dump(), letter.inline) for letter in letters]
        blocks = [letter.block for letter in letters if letter.block is not None]
        keys = (step_token_key(request.job_id).encode(), responses_key(request).encode())
        command = (b"EVALSHA", _PUSH_SHA, b"2", *keys, request.step_prefix.encode(), self._ttl_s, *frames)

        def send() -> None:
            if self._link is not None and self._link.is_open:
                self._read_acknowledgements(self._link)
            # What goes to a server that has hung up is lost without an error, and its step waits for a lease.
            if self._link is None or not self._link.is_alive():
                self._sent.clear()  # whether those came, only their readers know
                self._link = self._servers.connect(PRIMARY)
            self._link.send([command])
            self._sent.append(blocks)

        with self._lock:
            self._retry.call_with_retry(send, lambda error: None)

    def _read_acknowledgements(self, link: Connection) -> None:
        while self._sent:
            try:
                is_taken = bool(link.read(REPLY_S))
            except ResponseError as error:
                log.warning("residuals were not taken: %s", error)
                is_taken = False
            blocks = self._sent.popleft()
            if not is_taken:
                for block in blocks:
                    self._take_back(block)
