"""The ControlNet worker's end: store each residual by a transport backend, then publish its header."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

from shared import metrics
from shared.errors import DeviceLost, ResidualServersFull
from workers.transport.backends.base import StepSuperseded, StoredPayload, TransportBackend
from workers.transport.backends.selection import BackendSet
from workers.transport.codecs import encode
from workers.transport.protocol import Payload, StepRequest, StepResponse
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.response_batch import ResponseBatch, Stamp, refusal
from workers.transport.response_publisher import ResponsePublisher
from workers.transport.wire import is_channels_last, name_of

log = logging.getLogger(__name__)


class ResidualSender:
    """Hands residuals over; safe to use from several threads."""

    def __init__(self, servers: ConnectionPool, backends: BackendSet, ttl_s: int, lease_s: float) -> None:
        """``lease_s``: of the claims on the steps that are responded to."""
        self._backends = backends
        self._publisher = ResponsePublisher(servers, ttl_s, backends.discard, lease_s)

    def respond(
        self, request: StepRequest, responses: Iterable[tuple[StepResponse, Tensor | None]], stamp: Stamp
    ) -> int:
        """See `ResidualTransport.respond`."""
        sent_bytes = 0
        batch = ResponseBatch(self._publisher, request, self._backends.discard, stamp)
        for response, residual in responses:
            try:
                sent_bytes += self._send(batch, request, response, residual)
            except (torch.AcceleratorError, DeviceLost):  # nor could the others be sent
                raise
            except Exception:  # it is missed and asked for again; the others are sent all the same
                log.exception("residual not sent", extra={"job": request.job_id, "step": request.step})
        batch.finish()
        return sent_bytes

    def check(self) -> bool:
        """See `ResponsePublisher.check`."""
        return self._publisher.check()

    def _send(
        self, batch: ResponseBatch, request: StepRequest, response: StepResponse, residual: Tensor | None
    ) -> int:
        """One response; returns the bytes of its payload, 0 if the job is past this step."""
        if residual is None:
            batch.add(response)
            return 0
        dtype = name_of(residual.dtype)
        # The codec runs here, before any backend and on the residual's own device: all backends are exact,
        # and a worker that computes a ControlNet itself gets the same bits by applying the codec alone.
        coded = encode(residual.detach(), request.residual_precision)
        try:
            backend, stored = self._store(batch, request, response.index, coded)
        except StepSuperseded:
            return 0
        except ResidualServersFull as error:  # the reader asks again at once instead of waiting
            batch.add(refusal(response, error))
            return 0
        metrics.RESIDUALS.labels(backend.name).inc()
        payload = Payload(
            dtype=dtype,
            shape=list(residual.shape),
            precision=request.residual_precision,
            channels_last=is_channels_last(residual),
            backend=backend.name,
            location=stored.location,
        )
        batch.add(response.model_copy(update={"payload": payload}), stored, size_bytes=coded.nbytes)
        if backend.is_blocking:
            batch.end_message()  # the reader gets this payload while the next one is stored
        return coded.nbytes

    def _store(
        self, batch: ResponseBatch, request: StepRequest, index: int, coded: Tensor
    ) -> tuple[TransportBackend, StoredPayload]:
        """Store a payload in the first backend that has space; raises what `TransportBackend.put` raises."""
        for backend in self._backends.choose(request, coded.nbytes):
            if backend.is_blocking:
                batch.end_message()  # the headers at hand must not wait for this payload
                if self._publisher.is_superseded(request):
                    raise StepSuperseded
            if not backend.has_space(coded.nbytes):
                batch.publish()  # to read these makes space
            stored = backend.put(request, index, coded)
            if stored is not None:
                return backend, stored
            metrics.BACKEND_FULL.labels(backend.name).inc()
        raise ResidualServersFull(f"no transport backend has space for {coded.nbytes} bytes")
