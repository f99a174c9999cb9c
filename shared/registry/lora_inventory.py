"""Which UNet worker holds which LoRA, and where: in weights, memory or on disk. Lives in Redis and expires.

A LoRA is identified by its version (`shared.storage.loras.version_of`), which stands for exactly these bytes.
The disk cache belongs to a host and is reported by all its workers; memory and weights belong to one worker,
and their LoRAs are called MODEL@VERSION, because they were converted for that model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared import keys
from shared.message_base import Message, read_all

if TYPE_CHECKING:
    from redis import Redis

#: Where a worker has a LoRA, fastest first.
LoraTier = Literal["patched", "memory", "disk", "none"]


class LoraInventory(Message):
    """The LoRAs that one UNet worker holds, and the models and ControlNets in its memory."""

    worker: str
    host: str
    serves: list[str] = Field(description="models that it takes jobs for")
    loaded: list[str] = Field(description="those of them whose weights are in memory")
    patched: list[str] = Field(description="LoRAs in the weights of its models, as MODEL@VERSION")
    memory: list[str] = Field(description="LoRAs parsed and in memory, as MODEL@VERSION")
    controlnets: list[str] = Field([], description="ControlNets in memory that it may compute itself")


def publish_inventory(redis: "Redis", inventory: LoraInventory, ttl_s: float) -> None:
    """Store a worker's inventory for ``ttl_s`` seconds."""
    redis.set(keys.lora_inventory(inventory.worker), inventory.model_dump_json(), px=int(ttl_s * 1000))


def publish_disk_cache(redis: "Redis", host: str, loras: Sequence[str], ttl_s: float) -> None:
    """Store which LoRAs the disk cache of a host holds, for ``ttl_s`` seconds."""
    pipe = redis.pipeline()
    pipe.delete(keys.lora_disk_cache(host))
    if loras:
        pipe.sadd(keys.lora_disk_cache(host), *loras)
        pipe.pexpire(keys.lora_disk_cache(host), int(ttl_s * 1000))
    pipe.execute()


def renew_disk_cache(redis: "Redis", host: str, ttl_s: float) -> bool:
    """Keep the unchanged list of a host for another ``ttl_s`` seconds; returns False if it has expired."""
    return bool(redis.pexpire(keys.lora_disk_cache(host), int(ttl_s * 1000)))


def remove_inventory(redis: "Redis", worker: str) -> None:
    """Remove the inventory of a worker that stops; its host's disk cache stays listed."""
    redis.delete(keys.lora_inventory(worker))


def read_inventories(redis: "Redis", workers: Sequence[str]) -> list[LoraInventory]:
    """The unexpired inventories of ``workers``."""
    stored = redis.mget([keys.lora_inventory(worker) for worker in workers]) if workers else []
    return read_all(LoraInventory, stored)


def read_disk_caches(redis: "Redis", hosts: Sequence[str], loras: Sequence[str]) -> dict[str, set[str]]:
    """Which of ``loras`` the disk cache of each host holds."""
    if not loras:
        return {host: set() for host in hosts}
    pipe = redis.pipeline(transaction=False)
    for host in hosts:
        pipe.smismember(keys.lora_disk_cache(host), list(loras))
    return {
        host: {lora for lora, is_cached in zip(loras, flags, strict=True) if is_cached}
        for host, flags in zip(hosts, pipe.execute(), strict=True)
    }


def list_disk_caches(redis: "Redis", hosts: Sequence[str]) -> dict[str, list[str]]:
    """All LoRAs in the disk cache of each host."""
    pipe = redis.pipeline(transaction=False)
    for host in hosts:
        pipe.smembers(keys.lora_disk_cache(host))
    return {host: sorted(found) for host, found in zip(hosts, pipe.execute(), strict=True)}
