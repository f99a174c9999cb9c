"""Sends residuals from a thread of its own: the device computes the next while one travels."""

import logging
import queue
import threading
from typing import NamedTuple

from torch import Tensor

from shared import metrics
from workers.controlnet.pulse import Pulse
from workers.residuals.messages import Answer, StepRequest
from workers.residuals.transport import Transport

log = logging.getLogger(__name__)

#: Residuals that may wait to be sent, about four steps: then computing waits for sending.
WAITING = 64


class _Letter(NamedTuple):
    request: StepRequest
    answer: Answer
    residual: Tensor | None
    net: str


class Sender:
    """Sends in the order in which it was told."""

    def __init__(self, transport: Transport, pulse: Pulse) -> None:
        self._transport = transport
        self._pulse = pulse
        self._letters: queue.Queue[_Letter | None] = queue.Queue(WAITING)
        self._thread = threading.Thread()

    def start(self) -> None:
        """Begin to send, also after `stop`."""
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and end."""
        self._letters.put(None)
        self._thread.join()

    def send(self, request: StepRequest, answer: Answer, residual: Tensor | None, net: str) -> None:
        """Send soon; nobody may change ``residual`` any more. Waits while too much is waiting."""
        self._letters.put(_Letter(request, answer, residual, net))

    def _run(self) -> None:
        while (letter := self._letters.get()) is not None:
            try:
                with self._pulse:  # the step is not done while it travels
                    sent = self._transport.answer(letter.request, letter.answer, letter.residual)
                metrics.RESIDUAL_BYTES.labels(letter.net).inc(sent)
            except Exception:  # whoever waits for it asks again
                log.exception("residual not sent net=%s step=%d", letter.net, letter.request.step)
