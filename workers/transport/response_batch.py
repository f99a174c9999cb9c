"""Headers that are published together: a message costs as much as copying a megabyte."""

import logging
from collections.abc import Callable

from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.response_publisher import ResponseEnvelope, ResponsePublisher

log = logging.getLogger(__name__)

#: A batch is published once its payloads hold so many bytes: headers wait for a millisecond or two of
#: copying.
BATCH_BYTES = 8 << 20


class ResponseBatch:
    """Collects the headers of one request's responses; for one thread."""

    def __init__(
        self, publisher: ResponsePublisher, request: StepRequest, discard: Callable[[Payload], None]
    ) -> None:
        """``discard`` is called for a payload whose bytes could not be stored after all."""
        self._publisher = publisher
        self._request = request
        self._discard = discard
        self._pending: list[tuple[ResponseEnvelope, Callable[[], None] | None]] = []
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
        self._pending.append((ResponseEnvelope(response, attached), wait))
        self._bytes += size_bytes
        if self._bytes >= BATCH_BYTES:
            self.publish()

    def publish(self) -> None:
        """Publish what was added, as soon as its payloads are complete."""
        pending, self._pending, self._bytes = self._pending, [], 0
        complete = [
            envelope for envelope, wait in pending if wait is None or self._is_complete(envelope, wait)
        ]
        if complete:
            self._publisher.publish(self._request, complete)

    def _is_complete(self, envelope: ResponseEnvelope, wait: Callable[[], None]) -> bool:
        try:
            wait()
            return True
        except Exception:  # the residual is missed and asked for again; the others are published
            log.exception("payload not stored", extra={"job": self._request.job_id})
            if envelope.response.payload is not None:
                self._discard(envelope.response.payload)
            return False
