import time

import pytest
from redis import Redis

from shared import keys
from shared.registry.lora_inventory import (
    LoraInventory,
    list_disk_caches,
    publish_disk_cache,
    publish_inventory,
    read_disk_caches,
    read_inventories,
    remove_inventory,
    renew_disk_cache,
)

FIRST, SECOND = (
    LoraInventory(worker=name, host="a", serves=["m"], loaded=["m"], patched=["m@x"], memory=["m@x", "m@y"])
    for name in ("unet1@a", "unet2@a")
)


@pytest.fixture(autouse=True)
def _empty(control: Redis) -> None:
    control.flushdb()


def test_inventories_are_read_for_the_named_workers(control: Redis) -> None:
    publish_inventory(control, FIRST, 60)
    publish_inventory(control, SECOND, 60)
    assert read_inventories(control, ["unet2@a", "unknown"]) == [SECOND]
    assert read_inventories(control, []) == []
    remove_inventory(control, "unet2@a")
    assert read_inventories(control, ["unet1@a", "unet2@a"]) == [FIRST]


def test_an_inventory_that_is_not_renewed_expires(control: Redis) -> None:
    publish_inventory(control, FIRST, 0.001)
    time.sleep(0.01)
    assert read_inventories(control, ["unet1@a"]) == []


def test_an_unreadable_inventory_hides_no_other(control: Redis) -> None:
    publish_inventory(control, FIRST, 60)
    control.set(keys.lora_inventory("unet2@a"), "garbage")
    assert read_inventories(control, ["unet2@a", "unet1@a"]) == [FIRST]


def test_a_disk_cache_is_asked_for_single_loras_or_listed(control: Redis) -> None:
    publish_disk_cache(control, "a", ["y", "x"], 60)
    assert read_disk_caches(control, ["a", "b"], ["x", "z"]) == {"a": {"x"}, "b": set()}
    assert read_disk_caches(control, ["a"], []) == {"a": set()}
    assert list_disk_caches(control, ["a", "b"]) == {"a": ["x", "y"], "b": []}


def test_publishing_a_disk_cache_replaces_its_list(control: Redis) -> None:
    publish_disk_cache(control, "a", ["x"], 60)
    publish_disk_cache(control, "a", ["y"], 60)
    assert list_disk_caches(control, ["a"]) == {"a": ["y"]}


def test_an_expired_disk_cache_cannot_be_renewed(control: Redis) -> None:
    publish_disk_cache(control, "a", ["x"], 60)
    assert renew_disk_cache(control, "a", 60)
    control.delete(keys.lora_disk_cache("a"))
    assert not renew_disk_cache(control, "a", 60)
