"""A directory of which UNet worker holds which LoRA, and how near; it lives in Redis and expires.

A LoRA is called by its version (`shared.storage.loras.version_of`): exactly these bytes. What is on a host's
disk is one set that all its workers keep up; what a worker has in memory or in its weights is its own,
and is called MODEL@VERSION: it fits that model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from shared import keys
from shared.messaging.base_model import Message, read_all

if TYPE_CHECKING:
    from redis import Redis

#: Where a LoRA is, from near to far.
Tier = Literal["patched", "memory", "disk", "none"]


class LoraInventory(Message):
    """What one UNet worker has at hand."""

    worker: str
    host: str
    serves: list[str]  # models it takes jobs for
    loaded: list[str]  # those whose weights are in memory
    patched: list[str]  # LoRAs in the weights of an idle worker
    memory: list[str]  # parsed LoRAs


def publish_inventory(redis: "Redis", holdings: LoraInventory, ttl_s: float) -> None:
    """Tell what a worker holds; it lasts ``ttl_s`` seconds."""
    redis.set(keys.holdings(holdings.worker), holdings.model_dump_json(), px=int(ttl_s * 1000))


def publish_disk(redis: "Redis", host: str, loras: Sequence[str], ttl_s: float) -> None:
    """Tell what lies on the disk of a host; it lasts ``ttl_s`` seconds."""
    pipe = redis.pipeline()
    pipe.delete(keys.disk(host))
    if loras:
        pipe.sadd(keys.disk(host), *loras)
        pipe.pexpire(keys.disk(host), int(ttl_s * 1000))
    pipe.execute()


def keep_disk(redis: "Redis", host: str, ttl_s: float) -> bool:
    """Say that nothing has changed there: what was told lasts again; False if it is forgotten."""
    return bool(redis.pexpire(keys.disk(host), int(ttl_s * 1000)))


def withdraw_inventory(redis: "Redis", worker: str) -> None:
    """A worker that stops holds nothing; its host's disk stays."""
    redis.delete(keys.holdings(worker))


def read_inventory(redis: "Redis", workers: Sequence[str]) -> list[LoraInventory]:
    """What these workers hold, as far as they have told lately."""
    told = redis.mget([keys.holdings(worker) for worker in workers]) if workers else []
    return read_all(LoraInventory, told)


def read_disks(redis: "Redis", hosts: Sequence[str], loras: Sequence[str]) -> dict[str, set[str]]:
    """Which of ``loras`` lie on the disk of each host."""
    if not loras:
        return {host: set() for host in hosts}
    pipe = redis.pipeline(transaction=False)
    for host in hosts:
        pipe.smismember(keys.disk(host), list(loras))
    answers = pipe.execute()
    return {
        host: {lora for lora, is_there in zip(loras, answer, strict=True) if is_there}
        for host, answer in zip(hosts, answers, strict=True)
    }


def list_disks(redis: "Redis", hosts: Sequence[str]) -> dict[str, list[str]]:
    """All LoRAs on the disk of each host."""
    pipe = redis.pipeline(transaction=False)
    for host in hosts:
        pipe.smembers(keys.disk(host))
    return {host: sorted(found) for host, found in zip(hosts, pipe.execute(), strict=True)}
