"""Which free UNet workers serve ControlNets of other workers' jobs right now: dispatch prefers idle ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.message_base import read_all
from shared.registry.lora_inventory import LoraInventory

if TYPE_CHECKING:
    from redis import Redis

#: A worker that has served no step for this long is idle.
SERVING_S = 2.0


def note_serving(redis: "Redis", worker: str) -> None:
    """The worker has just served a step."""
    redis.set(keys.serving(worker), 1, px=int(SERVING_S * 1000))


def read_candidates(redis: "Redis", workers: Sequence[str]) -> tuple[list[LoraInventory], set[str]]:
    """The unexpired inventories of ``workers``, and which of them serve: one round trip."""
    if not workers:
        return [], set()
    inventories = [keys.lora_inventory(worker) for worker in workers]
    found: Any = redis.mget([*inventories, *map(keys.serving, workers)])
    signs = zip(workers, found[len(workers) :], strict=True)
    return read_all(LoraInventory, found[: len(workers)]), {worker for worker, sign in signs if sign}
