"""Which transport backends there are, and which of them carries a residual."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from shared.settings import Settings
from workers.devices.base import Device
from workers.runtime.budgets.transport_memory import gpu_shared_bytes, shared_memory_bytes
from workers.transport.backends.base import Arriving, TransportBackend
from workers.transport.backends.cuda_ipc.backend import CUDAIPCBackend
from workers.transport.backends.host_memory import find_host_memory
from workers.transport.backends.inline import InlineBackend
from workers.transport.backends.redis import RedisBackend
from workers.transport.backends.shared_memory import SharedMemoryBackend
from workers.transport.codecs import coded_bytes
from workers.transport.protocol import Payload, StepRequest
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.wire import InvalidFrame, dtype_of


def build_backends(
    servers: ConnectionPool, settings: Settings, device: Device, step_bytes: int = 0
) -> list[TransportBackend]:
    """Every backend that a worker which computes on ``device`` can use, the preferred first.

    ``step_bytes``: of the largest step that is sent, which decides the memory that settings leave open.
    """
    backends: list[TransportBackend] = [InlineBackend(device)]
    slabs = device.slabs() if settings.gpu_shared == "auto" else None
    is_shared = settings.shared_memory == "auto"
    host, lease_s = find_host_memory() if is_shared or slabs else None, settings.residual_ttl_s
    if host is not None and slabs is not None:
        limit_bytes = gpu_shared_bytes(settings, step_bytes)
        backends.append(CUDAIPCBackend(host, slabs, device, limit_bytes, lease_s))
    if host is not None and is_shared:
        limit_bytes = shared_memory_bytes(settings, step_bytes)
        backends.append(SharedMemoryBackend(host, limit_bytes, lease_s, device))
    return [*backends, RedisBackend(servers, settings, device, step_bytes)]


class BackendSet:
    """The backends of one process: chosen for what is sent, found by name for what is received."""

    def __init__(self, backends: Sequence[TransportBackend]) -> None:
        """``backends``: the preferred first."""
        self._backends = list(backends)
        self._by_name = {backend.name: backend for backend in backends}

    def announce(self) -> dict[str, str]:
        """What a step request says of the ways to reach this worker, by the backend's name."""
        return {backend.name: backend.announce() for backend in self._backends}

    def choose(self, request: StepRequest, size_bytes: int) -> Iterator[TransportBackend]:
        """The backends that may carry a payload of ``size_bytes`` to the worker that asks, preferred first.

        A backend qualifies if the payload is not too large for it, the asking worker has announced a backend
        of that name, and this worker's one can reach it. Of these the first that has space carries the
        payload: whether it has, only its `put` can tell.
        """
        for backend in self._backends:
            peer = request.reachable_by.get(backend.name)
            if peer is not None and size_bytes <= backend.max_bytes and backend.can_reach(peer):
                yield backend

    def get(self, payload: Payload, attached: memoryview) -> Tensor | Arriving | None:
        """The bytes of a payload, as `TransportBackend.get`; ``None`` also for a backend not used here."""
        backend = self._by_name.get(payload.backend)
        return backend.get(payload.location, payload_bytes(payload), attached) if backend else None

    def discard(self, payload: Payload) -> None:
        """Free a payload that nobody will get."""
        if backend := self._by_name.get(payload.backend):
            backend.discard(payload.location, payload_bytes(payload))

    def is_blocking(self, payload: Payload) -> bool:
        """Whether to get it takes as long as its bytes travel."""
        backend = self._by_name.get(payload.backend)
        return backend is not None and backend.is_blocking

    def sweep(self) -> None:
        """Free what dead readers and writers have left."""
        for backend in self._backends:
            backend.sweep()

    def warnings(self) -> list[str]:
        """What makes residuals travel more slowly than they could, in sentences."""
        return [warning for backend in self._backends for warning in backend.warnings()]

    def close(self) -> None:
        """Free everything at the end of the process."""
        for backend in self._backends:
            backend.close()


def payload_bytes(payload: Payload) -> int:
    """The size of a payload, which is never taken from a location; raises `InvalidFrame`."""
    if payload.precision == "int8" and (len(payload.shape) < 2 or 0 in payload.shape[:2]):
        raise InvalidFrame(f"an int8 payload has rows and channels, not the shape {payload.shape}")
    return coded_bytes(dtype_of(payload.dtype), payload.shape, payload.precision)
