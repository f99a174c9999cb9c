"""A process that fetches one LoRA: ``python -m tests.workers.lora.cache.fetch_s3 CACHE RANGE_BYTES REF``."""

import sys
from pathlib import Path

from shared.jobs.spec import LoraRef
from shared.settings import read_settings
from shared.storage.object_store import Bucket
from workers.lora.cache.cache import LoraCache


def main(root: str, range_bytes: str, ref: str) -> None:
    settings = read_settings()
    bucket = Bucket(settings, settings.lora_bucket, attempts=1)
    cache = LoraCache(Path(root), 10_000_000, bucket, 60, range_bytes=int(range_bytes))
    with cache.open(LoraRef.model_validate_json(ref)):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
