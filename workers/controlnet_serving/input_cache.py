"""Inputs that stay the same over a job's steps: fetched once, prepared once, cached while they are used.

What was fetched is in the host's memory, what was prepared in the device's: each has a limit of its own.
"""

import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress

from cachetools import LRUCache
from torch import Tensor

from workers.families.base_controlnet import ControlNet
from workers.transport.pixels import unpack_pixels
from workers.transport.protocol import StepRequest
from workers.transport.transport import ResidualTransport

Tensors = Mapping[str, Tensor]
#: A worker serves a few jobs at a time. What each brings is fetched again if it was let go of: a prompt of a
#: megabyte or two, and a control image of three bytes a pixel, or twelve.
FETCHED_BYTES = 128 << 20
#: What becomes of them, above all the image: twenty megabytes for two rows of SDXL at 1024².
PREPARED_BYTES = 384 << 20


class InputCache:
    """Tensors by key, bounded in bytes, least recently used out first; safe to use from several threads."""

    def __init__(
        self,
        transport: ResidualTransport,
        fetched_bytes: int = FETCHED_BYTES,
        prepared_bytes: int = PREPARED_BYTES,
    ) -> None:
        self._transport = transport
        self.device = transport.device
        self._fetched: LRUCache[Hashable, Tensors] = LRUCache(fetched_bytes, getsizeof=_bytes)
        self._prepared: LRUCache[Hashable, Tensors] = LRUCache(prepared_bytes, getsizeof=_bytes)
        self._lock = threading.Lock()

    def prepared(self, controlnet: ControlNet, request: StepRequest) -> Tensors:
        """The job's prompt as `ControlNet.prepare` returns it; raises `InputsMissing`."""
        key = controlnet.name, controlnet.sha256, *sorted(request.inputs.items())

        def prepare() -> Tensors:
            move = self.device.from_host
            return controlnet.prepare({name: move(self.fetch(key)) for name, key in request.inputs.items()})

        return self._get(self._prepared, key, prepare)

    def embedded(self, controlnet: ControlNet, image: str, rows: int) -> Tensor:
        """The control image ``image`` as `ControlNet.embed` returns it; raises `InputsMissing`."""
        key = controlnet.name, controlnet.sha256, image, rows

        def embed() -> Tensors:
            packed = self.device.from_host(self.fetch(image))
            return {"": controlnet.embed(unpack_pixels(packed, self.device), rows)}

        return self._get(self._prepared, key, embed)[""]

    def fetch(self, key: str) -> Tensor:
        """A tensor from the residual server; raises `InputsMissing`."""
        return self._get(self._fetched, key, lambda: {"": self._transport.get_input(key)})[""]

    def device_bytes(self) -> int:
        """Bytes of what was prepared, which the device holds."""
        return int(self._prepared.currsize)

    def release_device(self) -> None:
        """Let go of what was prepared: it is prepared again when it is needed."""
        with self._lock:
            self._prepared.clear()

    def _get(
        self, cache: LRUCache[Hashable, Tensors], key: Hashable, compute: Callable[[], Tensors]
    ) -> Tensors:
        with self._lock:
            cached = cache.get(key)
        if cached is not None:
            return cached
        computed = compute()  # without the lock, so that no other waits; computed twice is only slower
        with self._lock, suppress(ValueError):  # larger than the whole cache
            cache[key] = computed
        return computed


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
