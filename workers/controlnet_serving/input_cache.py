"""Inputs that stay the same over a job's steps: fetched once, prepared once, cached while they are used."""

import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress

from cachetools import LRUCache
from torch import Tensor

from workers.families.base_controlnet import ControlNet
from workers.transport.protocol import StepRequest
from workers.transport.transport import ResidualTransport

Tensors = Mapping[str, Tensor]
#: A worker serves a few jobs at a time; each has two or three inputs of up to some ten megabytes.
CAPACITY_BYTES = 512 << 20


class InputCache:
    """Tensors by key, bounded in bytes, least recently used out first; safe to use from several threads."""

    def __init__(self, transport: ResidualTransport, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._transport = transport
        self._cached: LRUCache[Hashable, Tensors] = LRUCache(capacity_bytes, getsizeof=_bytes)
        self._lock = threading.Lock()

    def prepared(self, controlnet: ControlNet, request: StepRequest) -> Tensors:
        """The job's prompt as `ControlNet.prepare` returns it; raises `InputsMissing`."""
        key = controlnet.name, controlnet.sha256, *sorted(request.inputs.items())

        def prepare() -> Tensors:
            return controlnet.prepare({name: self.fetch(key) for name, key in request.inputs.items()})

        return self._get(key, prepare)

    def embedded(self, controlnet: ControlNet, image: str, rows: int) -> Tensor:
        """The control image ``image`` as `ControlNet.embed` returns it; raises `InputsMissing`."""
        key = controlnet.name, controlnet.sha256, image, rows
        return self._get(key, lambda: {"": controlnet.embed(self.fetch(image), rows)})[""]

    def fetch(self, key: str) -> Tensor:
        """A tensor from the residual server; raises `InputsMissing`."""
        return self._get(key, lambda: {"": self._transport.get_input(key)})[""]

    def _get(self, key: Hashable, compute: Callable[[], Tensors]) -> Tensors:
        with self._lock:
            cached = self._cached.get(key)
        if cached is not None:
            return cached
        computed = compute()  # without the lock, so that no other waits; computed twice is only slower
        with self._lock, suppress(ValueError):  # larger than the whole cache
            self._cached[key] = computed
        return computed


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
