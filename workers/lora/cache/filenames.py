"""Names of cached files: ``LORA@BUCKET@ETAG@SHA256.safetensors``. There are no other records of a file."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from workers.lora.cache.directory import COMPLETE_SUFFIX


class FileName(NamedTuple):
    """Which version of which object, and the sha256 of its bytes; None while they arrive."""

    lora: str
    bucket: str  # its hash, shortened
    etag: str
    sha256: str | None


def parse(path: Path) -> FileName | None:
    """The parts of a file's name; None for a file that is not the cache's."""
    words = path.name.removesuffix(path.suffix).split("@")
    if len(words) != (4 if path.suffix == COMPLETE_SUFFIX else 3):
        return None
    lora, bucket, etag, *sha256 = words
    return FileName(lora, bucket, etag, sha256[0] if sha256 else None)


def sha256_of(path: Path) -> str:
    """The sha256 that a complete file's bytes had when they arrived."""
    return path.name.removesuffix(COMPLETE_SUFFIX).rpartition("@")[2]


def is_damaged(path: Path) -> bool:
    """Whether a complete file's bytes have changed since they arrived."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() != sha256_of(path)
