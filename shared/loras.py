"""The LoRA catalogue is the bucket: a file put there by any S3 client is a LoRA by its name."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.blobs import Blob, Bucket
from shared.errors import InvalidLora, InvalidRequest, NotFound
from shared.safetensors_header import LENGTH_BYTES, TensorInfo, header_bytes, parse_header

SUFFIX = ".safetensors"
#: Safe as a URL segment, an S3 key and a file name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Object metadata (``x-amz-meta-…``): the steps that a job may at most run without this LoRA.
BOUND = "max-async-steps"


class LoraInfo(NamedTuple):
    """What a file's header tells: how many tensors, the largest rank, which parts it trains."""

    tensors: int
    rank: int
    parts: list[str]


def lora_key(name: str) -> str:
    """The object that holds a LoRA; raises `InvalidRequest` for a name that cannot be one."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is no LoRA name: letters, digits, '.', '_', '-'", field="name")
    return name + SUFFIX


def find_lora(bucket: Bucket, name: str) -> Blob:
    """The object of a LoRA; raises `NotFound`."""
    try:
        return bucket.head(lora_key(name))
    except NotFound:
        raise NotFound(f"there is no LoRA {name!r}") from None


def own_bound(blob: Blob) -> int | None:
    """The file's own ``max_async_steps``; raises `InvalidLora` for metadata that is no whole number."""
    told = blob.metadata.get(BOUND)
    if told is None or re.fullmatch(r"[0-9]{1,6}", told):
        return None if told is None else int(told)
    raise InvalidLora(f"the metadata {BOUND} of object {blob.key!r} is {told!r}, not a number of steps")


def list_loras(bucket: Bucket, *, after: str | None = None) -> Iterator[tuple[str, Blob]]:
    """Every object of the bucket whose key is a LoRA's, by key, behind the LoRA ``after``."""
    for blob in bucket.list(after=lora_key(after) if after else ""):
        name = blob.key.removesuffix(SUFFIX)
        if name != blob.key and NAME.fullmatch(name):
            yield name, blob


def inspect_lora(tensors: dict[str, TensorInfo]) -> LoraInfo:
    """Read rank and trained parts off tensor names in diffusers', PEFT's or kohya's form."""
    ranks = [
        info.shape[0]
        for key, info in tensors.items()
        if re.search(r"(lora_A|lora_down|lora\.down)\b", key) and info.shape
    ]
    parts = {"text_encoder" if _is_text(key) else "unet" for key in tensors}
    return LoraInfo(len(tensors), max(ranks, default=0), sorted(parts))


def read_lora_info(bucket: Bucket, blob: Blob) -> LoraInfo:
    """Inspect an object by its header alone; raises `InvalidLora`."""
    first = bucket.head_bytes(blob.key, 64 << 10) if blob.size_bytes else b""
    length = header_bytes(first, blob.size_bytes)
    if len(first) < LENGTH_BYTES + length:
        first = bucket.head_bytes(blob.key, LENGTH_BYTES + length)
    header = first[LENGTH_BYTES : LENGTH_BYTES + length]
    return inspect_lora(parse_header(header, blob.size_bytes)[0])


def _is_text(key: str) -> bool:
    return key.startswith(("text_encoder", "lora_te"))
