"""The UNet worker's end of a residual's way: wait for heads, fetch the bytes, clear away."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import ValidationError
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from torch import Tensor

from shared import metrics
from shared.errors import ResidualLost
from shared.settings import Settings
from workers.transport.backends.chunked_redis import ChunkedRedis
from workers.transport.backends.receive_buffers import BufferPool
from workers.transport.backends.shared_memory_reader import SharedMemoryReader
from workers.transport.codecs import coded_bytes, decode
from workers.transport.keys import responses_key
from workers.transport.protocol import Payload, RedisChunks, SharedMemoryBlock, StepRequest, StepResponse
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool, ConnectionSet
from workers.transport.redis_client.resp import Command
from workers.transport.wire import InvalidFrame, dtype_of, tensor_from, unpack_bytes

log = logging.getLogger(__name__)

#: Heads that are taken at once.
MAX_RESPONSES = 64
#: A home server that is silent for so much longer than it was asked to wait is gone.
READ_TIMEOUT_S = 2.0
#: Between two tries to reach a server that is gone.
RETRY_S = 0.1


class ReceivedResponse(NamedTuple):
    """An answer that has come; its bytes follow here, or are elsewhere."""

    answer: StepResponse
    inline: memoryview


class ResidualReceiver:
    """Takes residuals; safe to use from several threads, one for each step of a net."""

    def __init__(
        self, servers: ConnectionPool, mappings: SharedMemoryReader | None, settings: Settings
    ) -> None:
        self._servers = servers
        self._chunked = ChunkedRedis(servers, settings.residual_ttl_s)
        self._reader = mappings
        self._buffers = BufferPool()
        self._lock = threading.Lock()
        #: By job, and by answers key: what was taken from the list and not yet opened.
        self._unopened: dict[str, dict[str, deque[ReceivedResponse]]] = {}

    def forget(self, job_id: str) -> None:
        """The job needs no more residuals."""
        with self._lock:
            old = self._unopened.pop(job_id, {})
        if old:
            try:
                with self._servers.links() as links:
                    links[PRIMARY].send([_take_all(key) for key in old])
                    self._clear(links, old, links[PRIMARY].settle(READ_TIMEOUT_S))
            except RedisError as error:
                log.warning("residuals of a job that is over stay until they expire: %s", error)

    def receive(self, request: StepRequest, timeout_s: float) -> list[tuple[StepResponse, Tensor | None]]:
        """See `Transport.receive`: whatever is there at once, and at most one body from keys."""
        key = responses_key(request)
        with self._lock:
            steps = self._unopened.setdefault(request.job_id, {})
            unopened = steps.setdefault(key, deque())
            old = {other: steps.pop(other) for other in list(steps) if other != key}
        if old or not unopened:
            unopened.extend(self._wait(key, timeout_s, old))
        received: list[tuple[StepResponse, Tensor | None]] = []
        while unopened:
            letter = unopened.popleft()
            try:
                received.append(self._open(letter))
            except InvalidFrame as error:
                _report(error)
            if _is_striped(letter.answer):
                break  # the others may come while the decoder uses this one
        return received

    def _wait(
        self, key: str, timeout_s: float, old: Mapping[str, Sequence[ReceivedResponse]]
    ) -> list[ReceivedResponse]:
        """Wait for answers, and clear away what ``old`` steps of the job left."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0.01)
            where = (b"1", key.encode(), b"LEFT", b"COUNT", b"%d" % MAX_RESPONSES)
            wait = (b"BLMPOP", b"%.3f" % left_s, *where)
            try:
                with self._servers.links() as links:
                    home = links[PRIMARY]
                    home.send([*(_take_all(other) for other in old), wait])
                    left_over = [home.read(READ_TIMEOUT_S) for _ in old]
                    answer = home.read(left_s + READ_TIMEOUT_S)
                    self._clear(links, old, left_over)
                return _read_all(answer[1]) if answer else []
            except (ConnectionError, TimeoutError):
                if time.monotonic() >= deadline:
                    return []  # as if nothing had come: the step will be asked for again
                time.sleep(RETRY_S)

    def _open(self, letter: ReceivedResponse) -> tuple[StepResponse, Tensor | None]:
        answer, body = letter.answer, letter.answer.body
        if body is None:
            return answer, None
        dtype = dtype_of(body.dtype)
        size_bytes = coded_bytes(dtype, body.shape, body.precision)
        memory = self._memory(letter, body, size_bytes)
        if memory is None:
            metrics.RESIDUALS_LOST.inc()
            detail = f"residual {answer.index} is not where it was laid down (any more)"
            return answer.model_copy(update={"error": ResidualLost.code, "detail": detail}), None
        coded = tensor_from(memory, torch.uint8, [size_bytes])
        return answer, decode(coded, dtype, body.shape, body.precision)

    def _memory(self, letter: ReceivedResponse, body: Payload, size_bytes: int) -> memoryview | None:
        match body.place:
            case None:
                return memoryview(bytearray(letter.inline))
            case SharedMemoryBlock():
                return self._reader.open(body.place, size_bytes) if self._reader else None
            case RedisChunks():
                memory = self._buffers.lend(size_bytes)
                return memory if self._fetch(body.place, memory) else None

    def _fetch(self, place: RedisChunks, memory: memoryview) -> bool:
        for _ in range(2):  # a kept connection may have died of a restart long ago
            try:
                with self._servers.links() as links:
                    return self._chunked.fetch(links, place.key, place.servers, memory)
            except RedisError as error:
                log.warning("a residual could not be fetched: %s", error)
        return False

    def _clear(
        self,
        links: ConnectionSet,
        old: Mapping[str, Sequence[ReceivedResponse]],
        left_over: Sequence[list[bytes] | None],
    ) -> None:
        """Remove the bodies of answers that nobody reads any more."""
        for letter in [letter for letters in old.values() for letter in letters]:
            self._discard(links, letter)
        for letter in [letter for values in left_over for letter in _read_all(values or ())]:
            self._discard(links, letter)

    def _discard(self, links: ConnectionSet, letter: ReceivedResponse) -> None:
        body = letter.answer.body
        if body is None or body.place is None:
            return
        try:
            size_bytes = coded_bytes(dtype_of(body.dtype), body.shape, body.precision)
        except InvalidFrame as error:
            _report(error)
            return
        if isinstance(body.place, RedisChunks):
            self._chunked.drop(links, body.place.key, body.place.servers, size_bytes)
        elif self._reader is not None:
            self._reader.open(body.place, size_bytes)  # and drop it: that releases it


def _take_all(key: str) -> Command:
    return (b"LPOP", key.encode(), b"%d" % MAX_RESPONSES)


def _read_all(values: Iterable[bytes]) -> list[ReceivedResponse]:
    """Those that are answers: what else lies in the list, nobody here has sent."""
    letters = []
    for value in values:
        try:
            head, inline = unpack_bytes(value)
            letters.append(ReceivedResponse(StepResponse.model_validate(head), inline))
        except (InvalidFrame, ValidationError) as error:
            _report(error)
    return letters


def _report(error: Exception) -> None:
    log.error("malformed residual dropped", extra={"error": f"{type(error).__name__}: {error}"})


def _is_striped(answer: StepResponse) -> bool:
    return answer.body is not None and isinstance(answer.body.place, RedisChunks)
