"""Embeddings that this worker has used lately, in the host's memory."""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

Texts = Mapping[str, Tensor]


class EmbeddingMemory:
    """Tensors by key within ``capacity_bytes``; the least recently used are dropped. Thread-safe."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._entries: OrderedDict[str, Texts] = OrderedDict()  # least recently used first
        self._used_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Texts | None:
        """The tensors; nobody may write to them."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: str, texts: Texts) -> None:
        """Keep tensors, unless they alone are too large."""
        with self._lock:
            self._drop(key)
            if _size_bytes(texts) <= self._capacity_bytes:
                self._entries[key] = texts
                self._used_bytes += _size_bytes(texts)
            while self._used_bytes > self._capacity_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self._used_bytes -= _size_bytes(dropped)


def _size_bytes(texts: Texts) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in texts.values())
