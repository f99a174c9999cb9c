"""What a cached file's name says: ``LORA@BUCKET@ETAG@SHA256.safetensors``. Nothing lies beside the file."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from shared.loras import lora_key
from shared.specs import LoraRef
from workers.lora.folder import WHOLE

#: As long as S3's own ETags get, and safe in a file name.
_ETAG = re.compile(r"[\w.-]{1,38}", re.ASCII)


class FileName(NamedTuple):
    """Which version of which object, and what its bytes hashed to when they arrived; None while they do."""

    lora: str
    bucket: str  # its hash, shortened
    etag: str
    sha256: str | None


def stem_of(bucket: str, ref: LoraRef) -> str:
    """All of the name that is known before the file is: it stands for exactly these bytes."""
    shortened = hashlib.sha256(bucket.encode()).hexdigest()[:8]
    etag = ref.etag if _ETAG.fullmatch(ref.etag) else hashlib.sha256(ref.etag.encode()).hexdigest()[:38]
    return f"{lora_key(ref.name).removesuffix(WHOLE)}@{shortened}@{etag}"


def parse(path: Path) -> FileName | None:
    """What a file's name says; None for a file of another making."""
    words = path.name.removesuffix(path.suffix).split("@")
    if len(words) != (4 if path.suffix == WHOLE else 3):
        return None
    lora, bucket, etag, *sha256 = words
    return FileName(lora, bucket, etag, sha256[0] if sha256 else None)


def sha256_of(path: Path) -> str:
    """What a whole file's bytes hashed to when they arrived."""
    return path.name.removesuffix(WHOLE).rpartition("@")[2]


def is_damaged(path: Path) -> bool:
    """Whether a whole file's bytes are no longer what they were when they arrived."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() != sha256_of(path)
