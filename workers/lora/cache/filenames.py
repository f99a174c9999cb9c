"""What a cached file's name says: ``LORA@BUCKET@ETAG@SHA256.safetensors``. Nothing lies beside the file."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from workers.lora.cache.directory import COMPLETE_SUFFIX


class FileName(NamedTuple):
    """Which version of which object, and what its bytes hashed to when they arrived; None while they do."""

    lora: str
    bucket: str  # its hash, shortened
    etag: str
    sha256: str | None


def parse(path: Path) -> FileName | None:
    """What a file's name says; None for a file of another making."""
    words = path.name.removesuffix(path.suffix).split("@")
    if len(words) != (4 if path.suffix == COMPLETE_SUFFIX else 3):
        return None
    lora, bucket, etag, *sha256 = words
    return FileName(lora, bucket, etag, sha256[0] if sha256 else None)


def sha256_of(path: Path) -> str:
    """What a whole file's bytes hashed to when they arrived."""
    return path.name.removesuffix(COMPLETE_SUFFIX).rpartition("@")[2]


def is_damaged(path: Path) -> bool:
    """Whether a whole file's bytes are no longer what they were when they arrived."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() != sha256_of(path)
