"""Headers that are published together: a message costs as much as copying a megabyte."""

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch

from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.response_publisher import ResponseEnvelope, ResponsePublisher

log = logging.getLogger(__name__)

#: A batch is published once its payloads hold so many bytes: headers wait for a millisecond or two of
#: copying.
BATCH_BYTES = 8 << 20
#: Completes a response once its payload is complete.
Stamp = Callable[[StepResponse], StepResponse]


class PendingResponse(NamedTuple):
    """A response whose payload is complete once ``wait`` has returned; ``None``: it is."""

    envelope: ResponseEnvelope
    wait: Callable[[], None] | None


class ResponseBatch:
    """Collects the headers of one request's responses; for one thread.

    Where payloads are copied by the device, batches are published one behind: while this thread waits for
    one, the device has the copies of the next to do.
    """

    def __init__(
        self,
        publisher: ResponsePublisher,
        request: StepRequest,
        discard: Callable[[Payload], None],
        stamp: Stamp,
    ) -> None:
        """``discard`` is called for a payload whose bytes could not be stored after all."""
        self._publisher = publisher
        self._request = request
        self._discard = discard
        self._stamp = stamp
        self._full: deque[list[PendingResponse]] = deque()
        self._pending: list[PendingResponse] = []
        self._bytes = 0

    def add(
        self,
        response: StepResponse,
        *,
        attached: bytes | memoryview = b"",
        size_bytes: int = 0,
        wait: Callable[[], None] | None = None,
    ) -> None:
        """Add a response whose payload of ``size_bytes`` is complete once ``wait`` has returned."""
        self._pending.append(PendingResponse(ResponseEnvelope(response, attached), wait))
        self._bytes += size_bytes
        if self._bytes >= BATCH_BYTES:
            self._close_batch()
            while len(self._full) > 1 or (self._full and _is_complete(self._full[0])):
                self._publish(self._full.popleft())

    def publish(self) -> None:
        """Publish what was added, as soon as its payloads are complete."""
        self._close_batch()
        while self._full:
            self._publish(self._full.popleft())

    def _close_batch(self) -> None:
        if self._pending:
            self._full.append(self._pending)
        self._pending, self._bytes = [], 0

    def _publish(self, batch: list[PendingResponse]) -> None:
        complete = [envelope for one in batch if (envelope := self._complete(one)) is not None]
        if complete:
            self._publisher.publish(self._request, complete)

    def _complete(self, pending: PendingResponse) -> ResponseEnvelope | None:
        envelope, wait = pending
        try:
            if wait is not None:
                wait()
            return envelope._replace(response=self._stamp(envelope.response))
        except torch.AcceleratorError:  # no other copy will end either
            raise
        except Exception:  # the residual is missed and asked for again; the others are published
            log.exception("payload not stored", extra={"job": self._request.job_id})
            if envelope.response.payload is not None:
                self._discard(envelope.response.payload)
            return None


def unchanged(response: StepResponse) -> StepResponse:
    """Completes nothing."""
    return response


def _is_complete(batch: list[PendingResponse]) -> bool:
    return all(pending.wait is None for pending in batch)
