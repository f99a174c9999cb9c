"""Small payloads: the bytes follow the header in the same frame, so they need no second round trip."""

from torch import Tensor

from workers.devices.base import Device
from workers.transport.backends.base import Location, StoredPayload, TransportBackend
from workers.transport.protocol import StepRequest
from workers.transport.wire import InvalidFrame, bytes_of, tensor_over

#: Beyond this the copies through the frame cost more than another round trip.
INLINE_BYTES = 32 << 10


class InlineBackend(TransportBackend):
    """Payloads of up to `INLINE_BYTES`, attached to their headers."""

    name = "inline"
    max_bytes = INLINE_BYTES

    def __init__(self, device: Device) -> None:
        self._device = device

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload:
        """The payload's bytes, to be attached once they have arrived on the host."""
        copy = self._device.to_host(payload)
        return StoredPayload({}, bytes_of(copy.target), copy)

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor:
        """A copy of the attached bytes; raises `InvalidFrame` if they are not ``size_bytes`` bytes."""
        if len(attached) != size_bytes:
            raise InvalidFrame(f"{len(attached)} bytes are attached instead of {size_bytes}")
        return tensor_over(memoryview(bytearray(attached)))

    def discard(self, location: Location, size_bytes: int) -> None:
        """The bytes went with the frame."""

    def sweep(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""
