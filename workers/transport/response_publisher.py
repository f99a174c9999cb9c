"""Publishes response headers at the primary residual server, and stores there what is to lie before them.

A worker that waited for each acknowledgement would give up its core after every residual, and get it back
when others let it. So acknowledgements are read as they come; who has to know the last of them waits once.

A header whose connection broke before it was acknowledged may be lost. It is not sent twice, as a second one
would miss its payload; the claim on its part of the step is given up, so that a job that misses the residual
finds the part lost and asks again. A job that has received it never looks.

A connection may be dead without being closed. It is given up within a lease of the claims on steps: then a
job waits no longer for what was lost with it than for a worker that has died.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.lua_script import read_lua
from shared.redis_clients import make_retry
from workers.transport.backends.base import StoredPayload
from workers.transport.doubtful_claims import unclaim_command
from workers.transport.keys import responses_key, step_token_key
from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool, silent_after_s
from workers.transport.redis_client.resp import Command, Connection
from workers.transport.wire import pack_bytes

log = logging.getLogger(__name__)

#: So many publications that may be lost are remembered.
MAX_DOUBTFUL = 1024
#: Replies of ``lua/publish.lua``.
PUBLISHED, SUPERSEDED = 1, 0


class ResponseEnvelope(NamedTuple):
    """A header, ready to be published, and how its payload was stored; ``None``: it has none."""

    response: StepResponse
    stored: StoredPayload | None = None


class Publication:
    """Headers that are published together."""

    def __init__(
        self, request: StepRequest, envelopes: Sequence[ResponseEnvelope], commands: Sequence[Command]
    ) -> None:
        self.request = request
        self.envelopes = envelopes
        self.commands = commands  # the last one publishes, the others store what lies before the headers
        self.sent_at = 0.0  # time.monotonic()
        self.is_acknowledged = False
        #: Whether the server has not stored a payload: nothing was published.
        self.is_refused = False

    @property
    def stores_payloads(self) -> bool:
        """Whether payloads travel in the same message."""
        return len(self.commands) > 1


class ResponsePublisher:
    """One connection for all headers; safe to use from several threads."""

    def __init__(
        self,
        servers: ConnectionPool,
        ttl_s: int,
        discard: Callable[[Payload], None],
        lease_s: float,
    ) -> None:
        """``discard`` is called for payloads that nobody will read: their job is past the step.

        ``lease_s``: of the claims on the steps that are responded to.
        """
        self._servers = servers
        self._ttl_s = b"%d" % ttl_s
        self._discard = discard
        self._silent_s = silent_after_s(lease_s)
        self._script = read_lua("workers.transport", "publish").encode()
        self._script_sha = hashlib.sha1(self._script).hexdigest().encode()
        self._retry = make_retry()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._unacknowledged: deque[Publication] = deque()
        self._sent = 0  # how many of them were sent over this connection; the others follow
        #: Gives up the claims of what may be lost, once there is a connection.
        self._unclaim_commands: deque[Command] = deque(maxlen=MAX_DOUBTFUL)
        #: Job and request of which an acknowledgement has lately told that they are over. Not the step: a
        #: server that was restarted knows no request, and the next one is for the same step.
        self._superseded = ("", "")

    def publish(self, request: StepRequest, envelopes: Sequence[ResponseEnvelope]) -> Publication:
        """Send responses to one request together; raises `redis.RedisError` if the server stays away.

        A payload that is stored by the same message has that message for itself.
        """
        publication = Publication(request, envelopes, self._commands(request, envelopes))
        with self._lock:
            self._unacknowledged.append(publication)
            self._call(self._send)
        return publication

    def wait(self, publication: Publication) -> None:
        """Return once a publication is acknowledged; raises `redis.RedisError` if the server stays away."""

        def wait() -> None:
            self._send()  # again, if the connection has broken
            while not publication.is_acknowledged:
                self._read_acknowledgement()

        with self._lock:
            self._call(wait)

    def check(self) -> bool:
        """Read what was acknowledged; give up a silent connection, and the claims of what was lost with it.

        Returns whether there is more to find out. Raises `redis.RedisError` if the server stays away.
        """
        with self._lock:
            if self._unacknowledged or self._unclaim_commands:
                self._call(self._send)
            return bool(self._unacknowledged or self._unclaim_commands)

    def is_superseded(self, request: StepRequest) -> bool:
        """Whether an acknowledgement has told that the job is past this step."""
        return self._superseded == (request.job_id, request.step_token)

    def _commands(self, request: StepRequest, envelopes: Sequence[ResponseEnvelope]) -> list[Command]:
        before: list[Command] = []
        frames: list[bytes] = []
        for response, stored in envelopes:
            before += stored.commands if stored else ()
            frames.append(pack_bytes(response.model_dump(), stored.attached if stored else b""))
        keys: list[Any] = [step_token_key(request.job_id).encode(), responses_key(request).encode()]
        keys += [command[1] for command in before]
        args = (request.step_prefix.encode(), self._ttl_s, *frames)
        return [*before, (b"EVALSHA", self._script_sha, b"%d" % len(keys), *keys, *args)]

    def _call(self, function: Callable[[], None]) -> None:
        try:
            with self._servers.waits:
                self._retry.call_with_retry(function, lambda error: None)
        except BaseException:
            for publication in self._unacknowledged:  # they hold memory of callers that are told now
                self._note_lost(publication)
            self._unacknowledged.clear()
            self._sent = 0
            if self._connection is not None:
                self._connection.close()  # its pending replies are nobody's
            raise

    def _send(self) -> None:
        """Send what was not sent yet; over a new connection also what may have been lost with the old one."""
        if self._connection is not None and self._connection.is_open:
            while self._sent and self._connection.has_reply():
                self._read_acknowledgement()
            if self._sent and time.monotonic() - self._unacknowledged[0].sent_at > self._silent_s:
                self._connection.close()
        # Sent to a server that has hung up, they would be lost without an error, and the step with them.
        if self._connection is None or not self._connection.is_alive():
            self._connection = self._connect()
        while self._sent < len(self._unacknowledged):
            publication = self._unacknowledged[self._sent]
            self._connection.send(publication.commands, self._silent_s)
            publication.sent_at = time.monotonic()
            self._sent += 1

    def _connect(self) -> Connection:
        sent, unsent = self._split()
        self._unacknowledged = deque([one for one in sent if one.stores_payloads] + unsent)
        for one in sent:
            if not one.stores_payloads:
                self._note_lost(one)
        self._sent = 0
        connection = self._servers.connect(PRIMARY)
        connection.send([(b"SCRIPT", b"LOAD", self._script), *self._unclaim_commands], self._silent_s)
        connection.read_pending(self._silent_s)
        self._unclaim_commands.clear()
        return connection

    def _note_lost(self, publication: Publication) -> None:
        """Whether it has arrived only its reader knows."""
        publication.is_acknowledged = True
        request = publication.request
        positions = {position for one in publication.envelopes for position in one.response.positions}
        if not positions:
            return
        self._unclaim_commands.append(unclaim_command(request, positions))

    def _split(self) -> tuple[list[Publication], list[Publication]]:
        every = list(self._unacknowledged)
        return every[: self._sent], every[self._sent :]

    def _read_acknowledgement(self) -> None:
        """The replies to the oldest publication that was sent."""
        assert self._connection is not None, "something was sent over it"
        publication = self._unacknowledged[0]
        replies = [_read(self._connection, self._silent_s) for _ in publication.commands]
        self._unacknowledged.popleft()
        self._sent -= 1
        publication.is_acknowledged = True
        if replies[-1] == PUBLISHED:
            return
        if replies[-1] == SUPERSEDED:
            self._superseded = (publication.request.job_id, publication.request.step_token)
        else:
            publication.is_refused = publication.stores_payloads
            log.warning("responses not accepted", extra={"replies": [str(reply) for reply in replies]})
        for envelope in publication.envelopes:
            if envelope.response.payload is not None:
                self._discard(envelope.response.payload)


def _read(connection: Connection, timeout_s: float) -> Any:
    """A reply, or an error in its place."""
    try:
        return connection.read(timeout_s)
    except ResponseError as error:
        return error
