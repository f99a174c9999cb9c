"""Headers that are published together: a message costs as much as copying a megabyte."""

import logging
from collections import deque
from collections.abc import Callable

import torch
from redis.exceptions import RedisError

from shared.errors import ResidualServersFull
from workers.transport.backends.base import StepSuperseded, StoredPayload
from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.response_publisher import Publication, ResponseEnvelope, ResponsePublisher

log = logging.getLogger(__name__)

#: A batch is published once its payloads hold so many bytes: headers wait for a millisecond or two of
#: copying.
BATCH_BYTES = 8 << 20
#: How often a payload is stored that servers refuse although they have said that they have space for it.
STORE_TRIES = 5
#: Completes a response once its payload is complete.
Stamp = Callable[[StepResponse], StepResponse]


class ResponseBatch:
    """Collects the headers of one request's responses; for one thread.

    Copies of the device are all submitted before any is waited for, and what has arrived by the time that the
    first has goes into one message with it: a device that is behind brings a step's residuals within one
    millisecond. Payloads that other servers acknowledge are published one behind: while this thread waits for
    one, the next is on its way.
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
        self._full: deque[list[ResponseEnvelope]] = deque()
        self._pending: list[ResponseEnvelope] = []
        self._bytes = 0
        self._published: list[Publication] = []  # those that the server may refuse
        self._refused: list[ResponseEnvelope] = []

    def add(
        self, response: StepResponse, stored: StoredPayload | None = None, *, size_bytes: int = 0
    ) -> None:
        """Add a response whose payload of ``size_bytes`` is complete once ``stored.wait`` has returned."""
        self._pending.append(ResponseEnvelope(response, stored))
        self._bytes += size_bytes
        if self._bytes >= BATCH_BYTES:
            self._close_message()
            while self._full and _is_complete(self._full[0]):
                self._publish_next()

    def end_message(self) -> None:
        """What is added next goes into another message; publish what is complete, and all but the last."""
        self._close_message()
        while len(self._full) > 1 or (self._full and _is_complete(self._full[0])):
            self._publish_next()

    def publish(self) -> None:
        """Publish what was added, as soon as its payloads are complete."""
        self._close_message()
        while self._full:
            self._publish_next()

    def finish(self) -> None:
        """Publish everything, and store once more what servers have refused: others had filled them."""
        self.publish()
        for publication in self._published:
            self._publisher.wait(publication)
            if publication.is_refused:
                self._refused += publication.envelopes
        self._published.clear()
        for envelope in self._refused:
            self._store_again(envelope)

    def _close_message(self) -> None:
        if self._pending:
            self._full.append(self._pending)
        self._pending, self._bytes = [], 0

    def _publish_next(self) -> None:
        """Publish the oldest message once its payloads are complete, and with it what is complete then."""
        message = self._full.popleft()
        complete = [envelope for one in message if (envelope := self._complete(one)) is not None]
        while self._full and _can_join(message, self._full[0]):
            message = self._full.popleft()
            complete += [envelope for one in message if (envelope := self._complete(one)) is not None]
        if complete:
            publication = self._publisher.publish(self._request, complete)
            if publication.stores_payloads:
                self._published.append(publication)

    def _complete(self, envelope: ResponseEnvelope) -> ResponseEnvelope | None:
        stored = envelope.stored
        try:
            if stored is not None:
                stored.wait()
            return envelope._replace(response=self._stamp(envelope.response))
        except torch.AcceleratorError:  # no other copy will end either
            raise
        except Exception as error:  # the others are published
            if envelope.response.payload is not None:
                self._discard(envelope.response.payload)
            if stored is not None and stored.store_again is not None and isinstance(error, RedisError):
                self._refused.append(envelope)
            else:  # it is missed and asked for again
                log.exception("payload not stored", extra={"job": self._request.job_id})
            return None

    def _store_again(self, envelope: ResponseEnvelope) -> None:
        """Until servers take it; if they stay full, the reader gets an error and asks again at once."""
        response, stored = self._stamp(envelope.response), envelope.stored
        try:
            for _ in range(STORE_TRIES):
                assert stored is not None
                assert stored.store_again is not None
                assert response.payload is not None, "what is refused has a payload"
                stored = stored.store_again()
                payload = response.payload.model_copy(update={"location": stored.location})
                response = response.model_copy(update={"payload": payload})
                if self._is_accepted(ResponseEnvelope(response, stored)):
                    return
            raise ResidualServersFull("the residual servers have refused a residual again and again")
        except StepSuperseded:
            return
        except ResidualServersFull as error:
            self._publisher.publish(self._request, [ResponseEnvelope(refusal(response, error))])

    def _is_accepted(self, envelope: ResponseEnvelope) -> bool:
        assert envelope.stored is not None
        try:
            envelope.stored.wait()
        except RedisError as error:
            log.warning("payload not stored", extra={"job": self._request.job_id, "error": str(error)})
            return False
        publication = self._publisher.publish(self._request, [envelope])
        self._publisher.wait(publication)
        return not publication.is_refused


def refusal(response: StepResponse, error: ResidualServersFull) -> StepResponse:
    """What is sent in the place of a residual for which there is no space."""
    return response.model_copy(update={"payload": None, "error": error.code, "detail": str(error)})


def unchanged(response: StepResponse) -> StepResponse:
    """Completes nothing."""
    return response


def _is_complete(message: list[ResponseEnvelope]) -> bool:
    return all(stored is None or stored.is_complete for _, stored in message)


def _can_join(message: list[ResponseEnvelope], following: list[ResponseEnvelope]) -> bool:
    """Whether two are one message: a payload that a message stores has that message for itself."""
    has_commands = any(stored is not None and stored.commands for _, stored in (*message, *following))
    return not has_commands and _is_complete(following)
