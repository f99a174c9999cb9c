"""The UNet worker's end: wait for headers, get the payloads, discard what nobody reads."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import NamedTuple

from pydantic import ValidationError
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from shared import metrics
from shared.errors import ResidualLost
from workers.devices.base import Device, DeviceCopy
from workers.transport.backends.base import Arriving
from workers.transport.backends.selection import BackendSet
from workers.transport.codecs import decode
from workers.transport.doubtful_claims import unclaim_command
from workers.transport.keys import responses_key
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.received_counts import ReceivedCounts
from workers.transport.redis_client.pool import PRIMARY, ConnectionPool
from workers.transport.redis_client.resp import Command
from workers.transport.wire import InvalidFrame, dtype_of, unpack_bytes

log = logging.getLogger(__name__)

#: Responses that are taken from the list at once.
MAX_RESPONSES = 64
#: The primary server is taken for dead if it is silent for so much longer than it was asked to wait.
READ_TIMEOUT_S = 2.0
#: Between two tries to reach a server that is down.
RETRY_S = 0.1


class ReceivedResponse(NamedTuple):
    """A header that was taken from the list, and the bytes that follow it."""

    response: StepResponse
    attached: memoryview


def _nothing_to_confirm() -> bool:
    return True


def ignore_wait() -> None:
    """Whether it had to be waited for is of no interest."""


class _Opened(NamedTuple):
    """A response whose residual is on its way to the device; ``None``: it has none, or it was lost."""

    response: StepResponse
    residual: DeviceCopy | None = None
    confirm: Callable[[], bool] = _nothing_to_confirm


class ResidualReceiver:
    """Receives residuals; safe to use from several threads, one for each job."""

    def __init__(
        self, servers: ConnectionPool, backends: BackendSet, device: Device, max_held_bytes: float = math.inf
    ) -> None:
        """``max_held_bytes``: of a step's residuals on the device that wait to be added; one may be more."""
        self._servers = servers
        self._backends = backends
        self._device = device
        self._max_held_bytes = max_held_bytes
        self.counts = ReceivedCounts()
        self._lock = threading.Lock()
        #: By job: the list whose head may have been lost with a connection.
        self._interrupted: dict[str, str] = {}
        #: By job, and by the key of the step's list: what was taken from the list and not opened yet.
        self._unopened: dict[str, dict[str, deque[ReceivedResponse]]] = {}

    def receive(
        self,
        request: StepRequest,
        timeout_s: float,
        on_wait: Callable[[], None] = ignore_wait,
        *,
        held_bytes: int = 0,
    ) -> list[tuple[StepResponse, DeviceCopy | None]]:
        """See `ResidualTransport.receive`: all that has arrived, but one payload of a blocking backend.

        And no more than fit beside those that the caller holds, but one: the others stay where they are.
        """
        self._device.collect()  # what the step before was copied from is free for this one
        key = responses_key(request)
        with self._lock:
            steps = self._unopened.setdefault(request.job_id, {})
            unopened = steps.setdefault(key, deque())
            old_steps = {other: steps.pop(other) for other in list(steps) if other != key}
        if old_steps or not unopened:
            unopened.extend(self._wait(request, timeout_s, old_steps, on_wait))
            self._discard(response for old in old_steps.values() for response in old)
        opened: list[_Opened] = []
        try:
            while unopened:
                held_bytes += _size_bytes(unopened[0].response)
                if opened and held_bytes > self._max_held_bytes:
                    break
                response, attached = unopened.popleft()
                try:
                    opened.append(self._open(response, attached))
                except (InvalidFrame, ValueError) as error:
                    _report_malformed(error)
                if response.payload is not None and self._backends.is_blocking(response.payload):
                    break  # the others may travel while the decoder uses this one
        finally:
            # The last first: when it is there the device has made all copies, and none is waited for.
            is_right = [one.confirm() for one in reversed(opened)][::-1]
        return [self._received(one, is_ok) for one, is_ok in zip(opened, is_right, strict=True)]

    def forget(self, job_id: str) -> None:
        """See `Transport.forget`."""
        with self._lock:
            self._interrupted.pop(job_id, None)
            old_steps = self._unopened.pop(job_id, {})
        if not old_steps:
            return
        self._discard(response for old in old_steps.values() for response in old)
        try:
            with self._servers.connections() as connections:
                connections[PRIMARY].send([_take_all(key) for key in old_steps])
                lists = connections[PRIMARY].read_pending(READ_TIMEOUT_S)
        except RedisError as error:
            log.warning(
                "residuals of an ended job stay until they expire", extra={"job": job_id, "error": str(error)}
            )
            return
        self._discard(response for frames in lists for response in _parse(frames or ()))

    def _wait(
        self,
        request: StepRequest,
        timeout_s: float,
        old_keys: Iterable[str],
        on_wait: Callable[[], None],
    ) -> list[ReceivedResponse]:
        """Wait for responses to a step; discard those that lie in the lists of ``old_keys``.

        What the server sent over a connection that broke is in no list any more. So the claims on the step
        are given up, and who waits for what is missing finds it lost, and asks again.
        """
        key, deadline = responses_key(request), time.monotonic() + timeout_s
        old = [_take_all(old_key) for old_key in old_keys]
        while True:
            is_interrupted = self._interrupted.get(request.job_id) == key
            positions = [part.position for part in request.parts]
            before = [unclaim_command(request, positions)] if is_interrupted and positions else []
            left_s = max(deadline - time.monotonic(), 0.01)
            where = (b"1", key.encode(), b"LEFT", b"COUNT", b"%d" % MAX_RESPONSES)
            count, wait = (b"LLEN", key.encode()), (b"BLMPOP", b"%.3f" % left_s, *where)
            try:
                with self._servers.connections() as connections:
                    primary = connections[PRIMARY]
                    primary.send([*before, *old, count, wait])
                    for _ in before:
                        primary.read(READ_TIMEOUT_S)
                    left_over = [primary.read(READ_TIMEOUT_S) for _ in old]
                    if not primary.read(READ_TIMEOUT_S):
                        on_wait()
                    reply = primary.read(left_s + READ_TIMEOUT_S)
            except (ConnectionError, TimeoutError):
                self._interrupted[request.job_id] = key
                if time.monotonic() >= deadline:
                    return []  # as if nothing had come: the step will be asked for again
                time.sleep(RETRY_S)
                continue
            self._interrupted.pop(request.job_id, None)
            self._discard(response for frames in left_over for response in _parse(frames or ()))
            return _parse(reply[1]) if reply else []

    def _received(self, opened: "_Opened", is_right: bool) -> tuple[StepResponse, DeviceCopy | None]:
        """A response with its residual; if that was lost, with an error in its place."""
        response, payload = opened.response, opened.response.payload
        if payload is None:
            return response, None
        if opened.residual is None or not is_right:
            metrics.RESIDUALS_LOST.inc()
            detail = (
                f"residual {response.index} is not where backend {payload.backend!r} stored it (any more)"
            )
            return response.model_copy(update={"error": ResidualLost.code, "detail": detail}), None
        self.counts.add(response.worker, payload.backend)
        return response, opened.residual

    def _open(self, response: StepResponse, attached: memoryview) -> "_Opened":
        """Bring a residual to the device, beside the computation: that may begin with an earlier one.

        Raises `InvalidFrame` or `ValueError` for what no worker of this version wrote.
        """
        payload = response.payload
        if payload is None:
            return _Opened(response)
        device, dtype = self._device, dtype_of(payload.dtype)
        with device.on_stream("in"):
            coded = self._backends.get(payload, attached)
            if coded is None:
                return _Opened(response)
            confirm = _nothing_to_confirm
            if isinstance(coded, Arriving):
                coded, confirm = coded
            with ExitStack() as unused:
                unused.callback(confirm)  # it is to be called also for what cannot be decoded
                residual = decode(
                    device.from_host(coded),
                    dtype,
                    payload.shape,
                    payload.precision,
                    channels_last=payload.channels_last,
                )
                unused.pop_all()
            return _Opened(response, DeviceCopy(device, residual, device.record()), confirm)

    def _discard(self, received: Iterable[ReceivedResponse]) -> None:
        """Free the payloads of responses that nobody reads any more."""
        for response, _ in received:
            if response.payload is not None:
                try:
                    self._backends.discard(response.payload)
                except (InvalidFrame, ValueError) as error:
                    _report_malformed(error)


def _size_bytes(response: StepResponse) -> int:
    """Of its residual on the device; 0 of what no worker of this version wrote."""
    payload = response.payload
    try:
        return 0 if payload is None else math.prod(payload.shape) * dtype_of(payload.dtype).itemsize
    except (InvalidFrame, ValueError):
        return 0


def _take_all(key: str) -> Command:
    return (b"LPOP", key.encode(), b"%d" % MAX_RESPONSES)


def _parse(frames: Iterable[bytes]) -> list[ReceivedResponse]:
    """The frames that are responses; others are reported, and hide none."""
    received = []
    for frame in frames:
        try:
            header, attached = unpack_bytes(frame)
            received.append(ReceivedResponse(StepResponse.model_validate(header), attached))
        except (InvalidFrame, ValidationError) as error:
            _report_malformed(error)
    return received


def _report_malformed(error: Exception) -> None:
    log.error("malformed residual dropped", extra={"error": f"{type(error).__name__}: {error}"})
