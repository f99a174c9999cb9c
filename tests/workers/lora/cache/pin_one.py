"""A process of its own that opens one LoRA and holds it until its input ends.

``python -m tests.workers.lora.cache.pin_one CACHE CAPACITY BUCKET NAME SIZE``
"""

import hashlib
import sys
from pathlib import Path

from shared.jobs.spec import LoraRef
from tests.workers.lora.cache.buckets import FolderBucket
from workers.lora.cache.cache import LoraCache


def main(cache: str, capacity: str, bucket: str, name: str, size: str) -> None:
    ref = LoraRef(name=name, etag="1", size_bytes=int(size), scale=1.0)
    print("asking", flush=True)
    with LoraCache(Path(cache), int(capacity), FolderBucket(Path(bucket)), 20).open(ref) as cached:
        print(hashlib.sha256(cached.path.read_bytes()).hexdigest(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
