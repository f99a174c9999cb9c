"""A LoRA on its way: in the background, with errors that keep their type."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import InvalidLora, LoraGone, LoraUnavailable
from shared.metrics import LORA_LOOKUPS
from tests.workers.lora.cache.buckets import MemoryBucket, counted, ref_to
from workers.lora.cache.cache import LoraCache
from workers.lora.loader import LoraLoad, LoraParser
from workers.lora.lora_weights import LoraWeights
from workers.lora.memory import LoraMemory
from workers.lora.weight_delta import WeightDelta

BODY = b"tensors"
SHA256 = hashlib.sha256(BODY).hexdigest()
Load = Callable[..., LoraLoad]


def as_name(path: Path, **calls: Any) -> LoraWeights:
    change = WeightDelta({"a": torch.zeros(1, 1), "b": torch.zeros(1, 1)}, torch.Size([1, 1]), 1.0)
    return LoraWeights(hashlib.sha256(path.read_bytes()).hexdigest(), {"unet": {"mid.weight": change}})


def refuse_damage(path: Path, **calls: Any) -> LoraWeights:
    if path.read_bytes() != BODY:
        raise InvalidLora("not a safetensors file")
    return as_name(path)


def nothing(weights: LoraWeights) -> None:
    pass


def refuse(path: Path, **calls: Any) -> LoraWeights:
    raise InvalidLora("keys that match no module of this model: x")


@pytest.fixture
def bucket() -> MemoryBucket:
    bucket = MemoryBucket()
    bucket.put("anime", BODY)
    return bucket


@pytest.fixture
def cache(tmp_path: Path, bucket: MemoryBucket) -> LoraCache:
    return LoraCache(tmp_path, 100, bucket, 60)


@pytest.fixture
def load(cache: LoraCache) -> Iterator[Callable[..., LoraLoad]]:
    """Starts loads, and closes them in the end."""
    with ExitStack() as loads:
        memory = LoraMemory(0)

        def load(name: str, read: LoraParser = as_name, **changes: Any) -> LoraLoad:
            tiers: dict[str, Any] = {"cache": cache, "memory": memory} | changes
            load = LoraLoad(
                ref_to(name, BODY), **tiers, model="tiny", role="leader", read=read, prepare=nothing
            )
            loads.callback(load.close)
            return load

        yield load


def test_a_lora_loads_in_the_background_and_says_when_it_is_done(load: Load, bucket: MemoryBucket) -> None:
    bucket.gate.clear()
    start = time.time()
    anime = load("anime")
    bucket.half_done.wait()
    assert not anime.is_done()
    assert not anime.wait_until_done(0)
    with pytest.raises(LoraUnavailable, match="'anime' did not arrive in time: it is being fetched"):
        anime.wait(0)
    bucket.gate.set()
    assert anime.wait(60).sha256 == SHA256
    assert anime.is_done()
    names, starts, ends, _ = zip(*anime.spans, strict=True)
    assert names == ("lora anime from s3", "lora anime parse", "lora anime prepare")
    times = [time for pair in zip(starts, ends, strict=True) for time in pair]
    assert [start, *times] == sorted([start, *times])


def test_the_error_of_a_load_is_raised_by_wait_only(load: Load) -> None:
    gone, broken = load("nowhere"), load("anime", refuse)
    assert gone.wait_until_done(60)
    assert gone.is_done()
    assert gone.has_failed()
    with pytest.raises(LoraGone):
        gone.wait(0)
    with pytest.raises(InvalidLora):
        broken.wait(60)


def test_the_file_is_pinned_only_while_it_is_read(tmp_path: Path, load: Load, bucket: MemoryBucket) -> None:
    cache = LoraCache(tmp_path, len(BODY), bucket, 60)
    bucket.put("paper", BODY[::-1])
    load("anime", cache=cache).wait(60)
    assert load("paper", cache=cache).wait(60).sha256 == hashlib.sha256(BODY[::-1]).hexdigest()


def test_each_load_tells_the_nearest_place_that_had_the_lora(load: Load) -> None:
    before = counted(LORA_LOOKUPS, role="leader")
    memory = LoraMemory(100)
    found = []
    for tier in ("s3", "disk", "memory"):
        anime = load("anime", memory=LoraMemory(0) if tier == "s3" else memory)
        anime.wait(60)
        anime.close()
        found.append(anime.spans[0].name)
    assert found == [f"lora anime from {tier}" for tier in ("s3", "disk", "memory")]
    assert [span.name for span in anime.spans] == ["lora anime from memory", "lora anime prepare"]
    for tier in ("s3", "disk", "memory"):
        assert counted(LORA_LOOKUPS, role="leader")[tier] == before.get(tier, 0) + 1


def test_a_fetch_tells_the_bytes_that_came_and_the_loras_that_gave_way(
    tmp_path: Path, load: Load, bucket: MemoryBucket
) -> None:
    cache = LoraCache(tmp_path, len(BODY), bucket, 60)
    load("anime", cache=cache).wait(60)
    bucket.put("paper", BODY)
    bucket.cuts = 1
    first, again = [load("paper", cache=cache), load("paper", cache=cache)]
    first.wait(60)
    again.wait(60)
    # One of the two has fetched, the other has waited for that
    counts = [load.spans[0].counts for load in (first, again)]
    assert sorted(counts, key=len) == [{}, {"fetched_bytes": len(BODY), "disk_evictions": 1}]


def test_a_load_tells_the_loras_that_gave_way_in_memory(load: Load, bucket: MemoryBucket) -> None:
    bucket.put("paper", BODY)
    memory = LoraMemory(8)  # room for one
    told = []
    for name in ("anime", "paper", "paper"):
        loading = load(name, memory=memory)
        loading.wait(60)
        told.append([span.counts for span in loading.spans if span.name == f"lora {name} prepare"])
        loading.close()
        for thread in threading.enumerate():
            if thread.name == f"lora {name}":
                thread.join(timeout=60)
    assert told == [[{}], [{"memory_evictions": 1}], [{}]]


def test_a_load_outlasts_any_outage_until_it_is_closed(load: Load, bucket: MemoryBucket) -> None:
    bucket.away = 1_000_000
    anime = load("anime")
    while bucket.away == 1_000_000:
        anime.wait_until_done(0.01)
    anime.close()
    assert anime.wait_until_done(60)
    with pytest.raises(LoraUnavailable, match="'anime' did not arrive in time: S3 does not answer"):
        anime.wait(0)


@pytest.mark.parametrize("read", [as_name, refuse_damage])
def test_a_file_damaged_on_the_disk_is_fetched_again(
    read: LoraParser, load: Load, cache: LoraCache, bucket: MemoryBucket
) -> None:
    # Given a cached file in which a bit has turned
    load("anime").wait(60)
    [entry] = cache.directory.entries()
    entry.path.write_bytes(BODY[:-1] + b"?")
    # When it is read, whether that goes well or not
    again = load("anime", read)
    # Then the job gets what S3 has
    assert again.wait(60).sha256 == SHA256
    assert bucket.downloads == ["anime.safetensors"] * 2
    assert again.spans[0].name == "lora anime from disk"
    assert "lora anime from s3" in [span.name for span in again.spans]


def test_a_whole_file_that_is_no_lora_is_not_fetched_again(load: Load, bucket: MemoryBucket) -> None:
    with pytest.raises(InvalidLora):
        load("anime", refuse).wait(60)
    assert bucket.downloads == ["anime.safetensors"]


def test_a_parse_stops_when_nobody_wants_its_lora_any_more(load: Load) -> None:
    # Given a file that takes for ever to parse
    begun, stopped = threading.Event(), threading.Event()

    def endless(
        path: Path, *, check: Callable[[], None], reserve: Callable[[int], None], **_: Any
    ) -> LoraWeights:
        begun.set()
        try:
            while True:
                check()
        finally:
            stopped.set()

    anime = load("anime", endless)
    assert begun.wait(60)
    # When the job is cancelled, or its time is over
    anime.close()
    # Then the parse ends
    assert stopped.wait(60)
    with pytest.raises(LoraUnavailable):
        anime.wait(60)


def test_memory_hears_of_the_size_before_the_file_is_parsed(load: Load) -> None:
    memory, seen = LoraMemory(100), []

    def read(
        path: Path, *, check: Callable[[], None], reserve: Callable[[int], None], **_: Any
    ) -> LoraWeights:
        reserve(8)
        seen.append(memory.used_bytes())
        return as_name(path)

    load("anime", read, memory=memory).wait(60)
    assert seen == [8]
    assert memory.used_bytes() == 8


def test_a_file_is_hashed_again_unless_it_has_just_arrived(load: Load) -> None:
    # Given a parser that is told whether the bytes were hashed
    told: list[str | None] = []

    def read(path: Path, *, sha256: str | None, **calls: Any) -> LoraWeights:
        told.append(sha256)
        return as_name(path)

    # When a LoRA is fetched, and then found on the disk
    for _ in range(2):
        load("anime", read, memory=LoraMemory(0)).wait(60)
    # Then only the file that may have changed on the disk is hashed again
    assert told == [SHA256, None]
