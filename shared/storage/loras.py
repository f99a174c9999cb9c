"""The LoRA catalog is the bucket: a file put there by any S3 client is a LoRA by its name.

A tenant sees its own, in its folder of the bucket, and the public ones, at the top.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import NamedTuple

from shared.errors import InvalidLora, NotFound
from shared.keys import LOCAL
from shared.storage.lora_header import LoraInfo, bad_headers_as_invalid_lora, inspect_lora, refuse_pickle
from shared.storage.lora_names import (
    BEHIND_TENANTS,
    PARTS,
    STAGED,
    SUFFIX,
    TENANTS,
    folder_of,
    name_of_key,
    owner_of,
)
from shared.storage.object_store import Bucket, ObjectStat
from shared.storage.safetensors_header import LENGTH_BYTES, header_bytes, parse_header

#: Object metadata (``x-amz-meta-…``): a job may run at most so many steps without this LoRA.
MAX_ASYNC_STEPS = "max-async-steps"


class ListedLora(NamedTuple):
    """An object of the bucket: a LoRA by its name, or by its key with the reason why it is none."""

    name: str
    stat: ObjectStat
    problem: str | None = None


class FoundLora(NamedTuple):
    """The object of a LoRA, and its key where that is not `lora_key` of the name."""

    stat: ObjectStat
    other_key: str | None = None


def lora_key(name: str, tenant: str) -> str:
    """The key of a new LoRA's object."""
    return folder_of(tenant) + name + SUFFIX


def place_of(bucket: str, key: str | None) -> str:
    """The bucket and the folder of an object; ``None``: at the top.

    It is part of whatever identifies the bytes of a LoRA: in two folders one name, and one ETag of a server
    that does not hash contents, may stand for different bytes.
    """
    folder = (key or "").rpartition("/")[0]
    return f"{bucket}/{folder}" if folder else bucket


def version_of(bucket: str, name: str, etag: str, key: str | None = None) -> str:
    """An identifier of exactly these bytes, short and safe as a file name; ``key`` as in `LoraRef`."""
    if not re.fullmatch(r"[\w.-]{1,38}", etag, re.ASCII):  # as long as S3's own, and safe in a file name
        etag = hashlib.sha256(etag.encode()).hexdigest()[:38]
    return f"{name}@{_hash(place_of(bucket, key))}@{etag}"


def is_visible(version: str, bucket: str, tenant: str) -> bool:
    """Whether a tenant sees the LoRA of an identifier: it is public, or the tenant's own."""
    seen = {_hash(place_of(bucket, folder_of(one))) for one in (LOCAL, tenant)}
    return version.rpartition("@")[0].rpartition("@")[2] in seen


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def find_lora(bucket: Bucket, name: str, tenant: str) -> FoundLora:
    """The LoRA of this name that a tenant sees, whatever the case of its suffix; raises `NotFound`."""
    if tenant != LOCAL:
        own = find_own(bucket, name, tenant)
        if own is not None:
            return own
    try:
        return FoundLora(bucket.head(lora_key(name, LOCAL)))
    except NotFound:
        public = _find_by_list(bucket, name, "")
        if public is not None:
            return public
        raise NotFound(f"there is no LoRA {name!r}") from None


def find_own(bucket: Bucket, name: str, tenant: str) -> FoundLora | None:
    """The LoRA of this name that is the tenant's own."""
    if tenant != LOCAL:
        return _find_by_list(bucket, name, folder_of(tenant))
    try:
        return find_lora(bucket, name, tenant)
    except NotFound:
        return None


def _find_by_list(bucket: Bucket, name: str, folder: str) -> FoundLora | None:
    """The object of a name in a folder; of those whose suffix differs in case the one as it should be."""
    keys = [stat.key for stat in bucket.list(f"{folder}{name}.")]
    named = [key for key in keys if name_of_key(key.removeprefix(folder)) == (name, None)]
    if not named:
        return None
    key = next((key for key in named if key == folder + name + SUFFIX), named[0])
    return FoundLora(bucket.head(key), other_key=key)


def own_max_async_steps(stat: ObjectStat) -> int | None:
    """The file's own ``max_async_steps``; raises `InvalidLora` for metadata that is no whole number."""
    value = stat.metadata.get(MAX_ASYNC_STEPS)
    if value is None or re.fullmatch(r"[0-9]{1,6}", value):
        return None if value is None else int(value)
    raise InvalidLora(
        f"the metadata {MAX_ASYNC_STEPS} of object {stat.key!r} is {value!r}, not a number of steps"
    )


def list_loras(
    bucket: Bucket, tenant: str, *, after: str = "", with_foreign: bool = False
) -> Iterator[ListedLora]:
    """The tenant's own objects and the public ones, by key within their folder, from behind ``after``.

    One that is no LoRA has a ``problem``. A LoRA of the tenant's own hides a public one of its name. With
    ``with_foreign`` those of other tenants are there, too, as objects that are no LoRA of this tenant.
    """
    folder = folder_of(tenant)
    own = list(_described(bucket, bucket.list(folder), folder)) if folder else []
    names = {lora.name for lora in own if lora.problem is None}
    stats = bucket.list(after=after) if with_foreign else _list_public(bucket, after)
    others = (stat for stat in stats if not folder or not stat.key.startswith(folder))
    yield from merge(
        (lora for lora in own if lora.stat.key > folder + after),
        (lora for lora in _described(bucket, others) if lora.problem is not None or lora.name not in names),
        key=lambda lora: lora.stat.key.removeprefix(folder),
    )


def _list_public(bucket: Bucket, after: str) -> Iterator[ObjectStat]:
    """Every object that is in no tenant's folder: there may be many there, so that they are not listed."""
    for stat in bucket.list(after=after):
        if stat.key.startswith(TENANTS):
            yield from bucket.list(after=max(after, BEHIND_TENANTS))
            return
        yield stat


def _described(bucket: Bucket, stats: Iterable[ObjectStat], folder: str = "") -> Iterator[ListedLora]:
    """The objects of a folder with their names, or with what is wrong with them."""
    for stat in stats:
        key = stat.key.removeprefix(folder)
        if not folder and key.startswith((STAGED, PARTS)):
            continue
        name, problem = name_of_key(key)
        if problem is None and key != name + SUFFIX and bucket.exists(folder + name + SUFFIX):
            name, problem = key, f"{name + SUFFIX!r} is the LoRA of that name"
        owner = None if folder else owner_of(key)
        yield ListedLora(name, stat, problem if owner is None else f"it is of the tenant {owner!r}")


def read_lora_info(bucket: Bucket, stat: ObjectStat) -> LoraInfo:
    """Inspect exactly this version of an object, by its header alone.

    Raises `InvalidLora`, and `ObjectChanged` when the object was replaced meanwhile.
    """
    first = _read_start(bucket, stat, min(stat.size_bytes, 64 << 10))
    refuse_pickle(first)
    with bad_headers_as_invalid_lora():
        stop = LENGTH_BYTES + header_bytes(first, stat.size_bytes)
        if len(first) < stop:
            first = _read_start(bucket, stat, stop)
        header = parse_header(first[LENGTH_BYTES:stop], stat.size_bytes)
    return inspect_lora(header.tensors, header.metadata)


def _read_start(bucket: Bucket, stat: ObjectStat, count: int) -> bytes:
    if count == 0:
        return b""
    return b"".join(bucket.read_range(stat.key, etag=stat.etag, start=0, stop=count).chunks)
