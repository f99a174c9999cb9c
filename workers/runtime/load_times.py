"""How long models take to load: as measured last, and before that by their bytes."""

import threading
from collections.abc import Hashable

#: Assumed before the first load of any model: reading and hashing from a disk.
BYTES_PER_S = 500e6
#: A load takes no less: files are opened, modules are built.
MIN_LOAD_S = 0.5
#: Expected of a model whose size nobody knows yet.
UNKNOWN_LOAD_S = 10.0


class LoadTimes:
    """The loads of one process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[Hashable, float] = {}  # of a model's last load
        self._sum_bytes, self._sum_s = 0, 0.0

    def record(self, key: Hashable, size_bytes: int, seconds: float) -> None:
        """A model of so many bytes was loaded in so long."""
        with self._lock:
            self._seconds[key] = seconds
            self._sum_bytes += size_bytes
            self._sum_s += seconds

    def expected_s(self, key: Hashable, size_bytes: int) -> float:
        """Seconds that a load will take; ``size_bytes`` is 0 if nobody knows them."""
        with self._lock:
            if key in self._seconds:
                return self._seconds[key]
            bytes_per_s = self._sum_bytes / self._sum_s if self._sum_bytes and self._sum_s else BYTES_PER_S
        return max(size_bytes / bytes_per_s, MIN_LOAD_S) if size_bytes else UNKNOWN_LOAD_S
