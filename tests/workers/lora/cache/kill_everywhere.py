"""Kills real processes that use a cache, each one call of the operating system later than the one before.

``python -m tests.workers.lora.cache.kill_everywhere CACHE fresh|inherited``. A child opens two LoRAs, of
which the cache has space for one, and is killed (SIGKILL, by itself) right before its n-th call; then the
folder is looked at. ``inherited``: each child finds what the one before it left. Prints how many died.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.workers.lora.cache.buckets import MemoryBucket
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.filenames import parse
from workers.lora.cache.partial_file import PartialFile

BODIES = {"anime": bytes(range(40)), "paper": bytes(range(100, 140))}
ROOM = PartialFile.total_bytes(40, 10)


def main(root: Path, mode: str) -> int:
    """Returns how many children were killed before one came through."""
    bucket = MemoryBucket()
    cache = LoraCache(root, ROOM, bucket, 10, range_bytes=10)
    refs = [bucket.put(name, body) for name, body in BODIES.items()]

    def use() -> None:
        for ref in refs:
            with cache.open(ref) as cached:
                assert cached.path.read_bytes() == BODIES[ref.name]

    calls = 0
    while True:
        calls += 1
        child = os.fork()
        if child == 0:
            _die_before(calls)
            use()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _look(cache)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return calls - 1
        assert os.WTERMSIG(status) == signal.SIGKILL
        if mode == "fresh":
            use()
            _look(cache)
            shutil.rmtree(root)


def _die_before(calls: int) -> None:
    """Count this process's calls of the operating system in all its threads."""
    left = [calls]

    def count(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__module__ in ("posix", "fcntl"):
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)


def _look(cache: LoraCache) -> None:
    """The bound holds, and what looks whole is whole."""
    cache.check()
    for entry in cache.directory.entries():
        said = parse(entry.path)
        assert said is not None
        if said.sha256 is not None:
            assert entry.path.read_bytes() == BODIES[said.lora]


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
