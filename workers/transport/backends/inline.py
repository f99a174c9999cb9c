"""Small payloads: the bytes follow the header in the same frame, so they need no second round trip."""

import torch
from torch import Tensor

from workers.transport.backends.base import Location, StoredPayload, TransportBackend
from workers.transport.protocol import StepRequest
from workers.transport.wire import bytes_of, tensor_from

#: Beyond this the copies through the frame cost more than another round trip.
INLINE_BYTES = 32 << 10


class InlineBackend(TransportBackend):
    """Payloads of up to `INLINE_BYTES`, attached to their headers."""

    name = "inline"
    max_bytes = INLINE_BYTES

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload:
        """The payload's bytes, to be attached."""
        return StoredPayload({}, bytes_of(payload.to("cpu").contiguous()))

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor:
        """A copy of the attached bytes; raises `InvalidFrame` if they are not ``size_bytes`` bytes."""
        return tensor_from(memoryview(bytearray(attached)), torch.uint8, [size_bytes])

    def discard(self, location: Location, size_bytes: int) -> None:
        """The bytes went with the frame."""

    def sweep(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""
