"""Buckets that workers of many tests share."""

from functools import cache

from shared.settings import Settings
from shared.storage.object_store import Bucket


@cache
def shared_bucket(settings: Settings, name: str) -> Bucket:
    """Kept for all tests with equal settings: each S3 client takes 40 ms to make."""
    return Bucket(settings, name)
