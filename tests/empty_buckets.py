"""Empties the buckets between tests, and asks for their objects only if one was stored meanwhile.

Listing two buckets takes 40 ms, which thousands of tests would wait for.
"""

from contextlib import suppress
from pathlib import Path

from shared.storage.object_store import Bucket

#: Sizes of files by their paths.
Sizes = dict[str, int]


class EmptyBuckets:
    """Knows from SeaweedFS' files whether any process has stored an object since the buckets were empty."""

    def __init__(self, s3_folder: Path) -> None:
        self._logs = s3_folder / "filerldb2"  # of LevelDB, in which each object has an entry
        self._sizes: dict[tuple[str, ...], Sizes] = {}  # when these buckets were empty

    def empty(self, *buckets: Bucket) -> None:
        """Delete every object of ``buckets``."""
        names = tuple(bucket.name for bucket in buckets)
        sizes = self._read_sizes()
        if sizes and sizes == self._sizes.get(names):
            return
        for bucket in buckets:
            for stat in list(bucket.list()):
                bucket.delete(stat.key)
        self._sizes[names] = self._read_sizes()

    def _read_sizes(self) -> Sizes:
        sizes = Sizes()
        for path in self._logs.glob("*/*.log"):
            with suppress(FileNotFoundError):  # another file takes its place
                sizes[str(path)] = path.stat().st_size
        return sizes
