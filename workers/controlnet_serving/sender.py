"""Sends residuals from a thread of its own: the device computes the next while one travels."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from shared import metrics
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.transport import Transport

log = logging.getLogger(__name__)

#: Residuals that may wait to be sent, about four steps: then computing waits for sending.
WAITING = 64
#: Of them, as many as a step has are looked at together.
TOGETHER = 16


class QueuedResponse(NamedTuple):
    request: StepRequest
    answer: StepResponse
    residual: Tensor | None
    controlnet: str

    @property
    def address(self) -> tuple[str, str, str]:
        """What goes to one address may go together."""
        return self.request.job_id, self.request.step_token, self.controlnet


class ResponseSender:
    """Sends what goes to one address in the order in which it was told."""

    def __init__(self, transport: Transport, pulse: LeaseRenewer) -> None:
        self._transport = transport
        self._pulse = pulse
        self._letters: queue.Queue[QueuedResponse | None] = queue.Queue(WAITING)
        self._thread = threading.Thread()

    def start(self) -> None:
        """Begin to send, also after `stop`."""
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and end."""
        self._letters.put(None)
        self._thread.join()

    def send(
        self, request: StepRequest, answer: StepResponse, residual: Tensor | None, controlnet: str
    ) -> None:
        """Send soon; nobody may change ``residual`` any more. Waits while too much is waiting."""
        self._letters.put(QueuedResponse(request, answer, residual, controlnet))

    def _run(self) -> None:
        last = False
        while not last:
            letters = self._waiting()
            last = letters[-1] is None
            by_address: dict[tuple[str, str, str], deque[QueuedResponse]] = {}
            while letters:
                if (letter := letters.popleft()) is not None:
                    by_address.setdefault(letter.address, deque()).append(letter)
            for group in by_address.values():
                self._send(group)

    def _waiting(self) -> deque[QueuedResponse | None]:
        """What has come while the last ones travelled, at least one; ``None`` is the last of all."""
        letters = deque([self._letters.get()])
        while letters[-1] is not None and len(letters) < TOGETHER and not self._letters.empty():
            letters.append(self._letters.get())
        return letters

    def _send(self, letters: deque[QueuedResponse]) -> None:
        request, controlnet = letters[0].request, letters[0].controlnet
        try:
            with self._pulse:  # the step is not done while it travels
                sent = self._transport.respond(request, _emptied(letters))
            metrics.RESIDUAL_BYTES.labels(controlnet).inc(sent)
        except Exception:  # whoever waits for them asks again
            log.exception("residuals not sent", extra=_about(request, controlnet))


def _emptied(letters: deque[QueuedResponse]) -> Iterator[tuple[StepResponse, Tensor | None]]:
    """What is sent is let go of at once."""
    while letters:
        letter = letters.popleft()
        yield letter.answer, letter.residual


def _about(request: StepRequest, controlnet: str) -> dict[str, object]:
    return {"job": request.job_id, "attempt": request.attempt, "step": request.step, "controlnet": controlnet}
