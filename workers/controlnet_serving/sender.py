"""Sends responses in a thread of its own: the device computes the next residual while one is sent.

On a GPU the thread submits codecs and copies to a side stream, which waits for each residual to be computed
and for nothing else; the thread then waits for the copies.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from redis.exceptions import RedisError
from torch import Tensor

from shared import metrics
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.devices.timer import DeviceSpan
from workers.runtime.device_loss import DeviceLoss
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.transport import ResidualTransport

log = logging.getLogger(__name__)

#: Responses that may wait to be sent before another step is computed, about four steps of a UNet; and bytes
#: of their residuals, which the device holds: less than a step of a transformer.
MAX_QUEUED, MAX_QUEUED_BYTES = 64, 256 << 20
#: How many of them are looked at together: as many as a step has.
MAX_TOGETHER = 16


class QueuedResponse(NamedTuple):
    """A response that waits to be sent."""

    request: StepRequest
    response: StepResponse
    residual: Tensor | None  # not to be changed any more
    controlnet: str
    #: When the device computes the residual, which becomes the times of the response; ``None``: it is there.
    computed: DeviceSpan | None = None

    @property
    def destination(self) -> tuple[str, str, str]:
        """Responses with the same destination are sent together."""
        return self.request.job_id, self.request.step_token, self.controlnet

    @property
    def nbytes(self) -> int:
        """Bytes of the residual."""
        return 0 if self.residual is None else self.residual.nbytes


class ResponseSender:
    """Sends the responses of one destination in the order in which they were queued."""

    def __init__(
        self, transport: ResidualTransport, lease: LeaseRenewer, device_loss: DeviceLoss | None = None
    ) -> None:
        """``device_loss`` is told if the device is lost while it computes or copies what is sent."""
        self._transport = transport
        self._device_loss = device_loss or DeviceLoss(transport.device)
        self._device = transport.device
        self._lease = lease
        self._queue: deque[QueuedResponse] = deque()
        self._queued_bytes = 0  # of its residuals
        self._is_stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread()

    def start(self) -> None:
        """Start sending, also after `stop`."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="response sender", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Send what is queued, and stop; returns whether that is done, after ``timeout_s`` at most."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def waits_for_redis(self) -> bool:
        """Whether it waits for a residual server now, and for no device."""
        return self._transport.redis_waits.includes(self._thread)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another step may be computed: whether little waits to be sent now.

        Called before a step is taken, so that who computes one never waits for sending: a job may wait for
        the device meanwhile.
        """
        with self._changed:
            return self._changed.wait_for(self._has_room, timeout_s)

    def send(self, *responses: QueuedResponse) -> None:
        """Queue responses: those of one call are looked at together. Never waits; see `wait_for_room`."""
        with self._changed:
            self._queue += responses
            self._queued_bytes += sum(response.nbytes for response in responses)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._queue) < MAX_QUEUED and self._queued_bytes < MAX_QUEUED_BYTES

    def _run(self) -> None:
        while queued := self._take_queued():
            by_destination: dict[tuple[str, str, str], deque[QueuedResponse]] = {}
            while queued:
                one = queued.popleft()
                by_destination.setdefault(one.destination, deque()).append(one)
            del one
            for group in by_destination.values():
                self._send(group)

    def _take_queued(self) -> deque[QueuedResponse]:
        """What was queued while the last ones were sent, at least one; none once it stops.

        As long as the acknowledgement of what was sent is missing, that is seen to meanwhile.
        """
        timeout_s: float | None = self._lease.check_every_s
        while not self._wait_for_queued(timeout_s):
            timeout_s = self._lease.check_every_s if self._check_sent() else None
        with self._changed:
            taken = deque(self._queue.popleft() for _ in range(min(len(self._queue), MAX_TOGETHER)))
            self._queued_bytes -= sum(queued.nbytes for queued in taken)
            self._changed.notify_all()
            return taken

    def _wait_for_queued(self, timeout_s: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._queue) or self._is_stopping, timeout_s)

    def _check_sent(self) -> bool:
        try:
            return self._transport.check_responses()
        except RedisError as error:
            log.warning("residual Redis does not answer", extra={"error": str(error)})
            return True

    def _send(self, group: deque[QueuedResponse]) -> None:
        request, controlnet = group[0].request, group[0].controlnet
        computed: dict[tuple[int, ...], DeviceSpan] = {}

        def stamp(response: StepResponse) -> StepResponse:
            span = computed.pop(_key(response), None)
            if span is None:
                return response
            return response.model_copy(update={"start_s": span.start_s, "end_s": span.end_s})

        try:
            # The step is not finished while its residuals are sent.
            with self._device_loss.translate_errors(), self._lease, self._device.on_stream("out"):
                sent_bytes = self._transport.respond(request, self._consume(group, computed), stamp)
            metrics.RESIDUAL_BYTES.labels(controlnet).inc(sent_bytes)
        except Exception:  # the job that waits for them asks again
            fields = {"job": request.job_id, "attempt": request.attempt, "step": request.step}
            log.exception("residuals not sent", extra={**fields, "controlnet": controlnet})

    def _consume(
        self, group: deque[QueuedResponse], computed: dict[tuple[int, ...], DeviceSpan]
    ) -> Iterator[tuple[StepResponse, Tensor | None]]:
        """The responses, each ready for the current stream; ``computed`` grows by when they are computed.

        No reference to one that was sent is kept, so that its memory is free.
        """
        while group:
            queued = group.popleft()
            if queued.computed is not None and queued.residual is not None:
                computed[_key(queued.response)] = queued.computed
                self._device.follow(queued.computed.end)
                self._device.record_stream(queued.residual)
            yield queued.response, queued.residual


def _key(response: StepResponse) -> tuple[int, ...]:
    """Which of a step's residuals a response is about."""
    return response.index, *response.positions
