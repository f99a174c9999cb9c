"""Sends responses in a thread of its own: the device computes the next residual while one is sent.

On a GPU the thread submits codecs and copies to a side stream, which waits for each residual to be computed
and for nothing else; the thread then waits for the copies.
"""

import logging
import queue
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

#: Responses that may wait to be sent before another step is computed, about four steps.
MAX_QUEUED = 64
#: How many of them are looked at together: as many as a step has.
MAX_TOGETHER = 16


class QueuedResponse(NamedTuple):
    """A response that waits to be sent."""

    request: StepRequest
    response: StepResponse
    residual: Tensor | None
    controlnet: str
    computed: DeviceSpan | None  # when the device computes the residual; ``None``: it is there

    @property
    def destination(self) -> tuple[str, str, str]:
        """Responses with the same destination are sent together."""
        return self.request.job_id, self.request.step_token, self.controlnet


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
        self._queue: queue.Queue[QueuedResponse | None] = queue.Queue()
        self._was_taken = threading.Condition()
        self._thread = threading.Thread()

    def start(self) -> None:
        """Start sending, also after `stop`."""
        self._thread = threading.Thread(target=self._run, name="response sender", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Send what is queued, and stop; returns whether that is done, after ``timeout_s`` at most."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def waits_for_redis(self) -> bool:
        """Whether it waits for a residual server now, and for no device."""
        return self._transport.redis_waits.includes(self._thread)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another step may be computed: whether fewer than `MAX_QUEUED` responses wait now.

        Called before a step is taken, so that who computes one never waits for sending: a job may wait for
        the device meanwhile.
        """
        with self._was_taken:
            return self._was_taken.wait_for(lambda: self._queue.qsize() < MAX_QUEUED, timeout_s)

    def send(
        self,
        request: StepRequest,
        response: StepResponse,
        residual: Tensor | None,
        controlnet: str,
        computed: DeviceSpan | None = None,
    ) -> None:
        """Queue a response; ``residual`` must not be changed any more. Never waits; see `wait_for_room`.

        ``computed``: when the device computes the residual, which becomes the times of the response.
        """
        self._queue.put(QueuedResponse(request, response, residual, controlnet, computed))

    def _run(self) -> None:
        is_last = False
        while not is_last:
            queued = self._take_queued()
            is_last = queued[-1] is None
            by_destination: dict[tuple[str, str, str], deque[QueuedResponse]] = {}
            while queued:
                if (one := queued.popleft()) is not None:
                    by_destination.setdefault(one.destination, deque()).append(one)
            for group in by_destination.values():
                self._send(group)

    def _take_queued(self) -> deque[QueuedResponse | None]:
        """What was queued while the last ones were sent, at least one; ``None`` comes last of all."""
        taken = deque([self._wait_for_queued()])
        while taken[-1] is not None and len(taken) < MAX_TOGETHER and not self._queue.empty():
            taken.append(self._queue.get())
        with self._was_taken:
            self._was_taken.notify_all()
        return taken

    def _wait_for_queued(self) -> QueuedResponse | None:
        """The next one; meanwhile what was sent is seen to, as long as its acknowledgement is missing."""
        timeout_s: float | None = self._lease.check_every_s
        while True:
            try:
                return self._queue.get(timeout=timeout_s)
            except queue.Empty:
                timeout_s = self._lease.check_every_s if self._check_sent() else None

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
