"""The cache within one process: what it serves, what it keeps, what it refuses."""

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import InvalidLora, LoraGone, LoraUnavailable
from shared.jobs.spec import LoraRef
from shared.metrics import LORA_EVICTIONS
from tests.workers.lora.cache.buckets import MemoryBucket, counted, ref_to
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.wait_budget import WaitBudget

TEN = b"0123456789"


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def make_cache(tmp_path: Path, bucket: MemoryBucket) -> Callable[..., LoraCache]:
    def make(capacity_bytes: int, *, wait_s: float = 60) -> LoraCache:
        return LoraCache(tmp_path, capacity_bytes, bucket, wait_s)

    return make


def read(cache: LoraCache, ref: LoraRef) -> bytes:
    with cache.open(ref) as cached:
        return cached.path.read_bytes()


def test_a_file_is_fetched_once_and_then_served_without_asking_s3(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    with cache.open(ref) as first:
        assert (first.path.read_bytes(), first.tier) == (TEN, "s3")
    bucket.away = 1000
    with cache.open(ref) as again:
        assert (again.path.read_bytes(), again.tier) == (TEN, "disk")
    assert bucket.downloads == ["anime.safetensors"]
    assert first.sha256 == again.sha256 == hashlib.sha256(TEN).hexdigest()


def test_two_tenants_files_of_one_name_and_etag_are_two_files(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    # Given a server whose ETags say nothing of contents
    cache, bodies = make_cache(1000), {"": b"public....", "tenants/a/": b"of tenant a", "tenants/b/": TEN}
    refs = {}
    for folder, body in bodies.items():
        ref = bucket.put(f"{folder}anime", body)
        refs[folder] = ref.model_copy(update={"name": "anime", "key": f"{folder}anime.safetensors"})
    for _ in range(2):
        assert {folder: read(cache, ref) for folder, ref in refs.items()} == bodies
    assert len(bucket.downloads) == len(cache.versions()) == 3
    # And the public one is the file that an older version has cached
    assert cache.version(refs[""]) == cache.version(ref_to("anime", bodies[""]))


def test_no_file_of_the_cache_can_be_executed(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(100)
    read(cache, bucket.put("anime", TEN))
    modes = [path.stat().st_mode for path in cache.directory.root.iterdir()]
    assert len(modes) == 2  # the LoRA and the guard
    assert not any(mode & 0o111 for mode in modes)


def test_a_pinned_lora_outlives_eviction(make_cache: Callable[..., LoraCache], bucket: MemoryBucket) -> None:
    # Given room for two files, and the older one in use
    cache = make_cache(20)
    anime, paper, photo = (bucket.put(name, TEN) for name in ("anime", "paper", "photo"))
    with cache.open(anime) as pinned, cache.open(paper) as idle:
        pass
    with cache.open(anime) as pinned:
        # When a third file needs room
        with cache.open(photo):
            # Then the file in use stays and the idle one goes
            assert pinned.path.exists()
            assert not idle.path.exists()
        assert cache.used_bytes() == 20


def test_the_least_recently_used_file_goes_first(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(30)
    refs = {name: bucket.put(name, TEN) for name in ("a", "b", "c", "d")}
    evicted = counted(LORA_EVICTIONS).get("disk", 0)
    for name in ("a", "b", "c", "a", "d"):
        read(cache, refs[name])
    assert counted(LORA_EVICTIONS)["disk"] == evicted + 1
    before = len(bucket.downloads)
    for name in ("a", "c", "d"):
        read(cache, refs[name])
    assert len(bucket.downloads) == before
    read(cache, refs["b"])
    assert bucket.downloads[-1] == "b.safetensors"


def test_a_bound_that_was_lowered_holds_from_the_start_for_all_that_is_idle(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    # Given a cache of four files, one of them in use
    before = make_cache(40)
    refs = [bucket.put(name, TEN) for name in ("a", "b", "c", "d")]
    for ref in refs:
        read(before, ref)
    with before.open(refs[1]) as pinned:
        # When it is opened with room for two
        evicted = counted(LORA_EVICTIONS).get("disk", 0)
        after = make_cache(20)
        after.trim()
        # Then the one in use and the last used remain
        names = sorted(entry.path.name[0] for entry in after.directory.entries())
        assert names == ["b", "d"]
        assert counted(LORA_EVICTIONS)["disk"] == evicted + 2
        # And with room for none, the one in use
        make_cache(1).trim()
        assert [entry.path for entry in after.directory.entries()] == [pinned.path]


def test_nothing_is_evicted_for_a_file_that_will_not_fit_anyway(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(30, wait_s=0)
    small, pinned, big = (bucket.put(*file) for file in (("s", TEN), ("p", TEN), ("b", TEN * 3)))
    read(cache, small)
    with cache.open(pinned):
        with pytest.raises(LoraUnavailable, match="full of files in use"), cache.open(big):
            pass
        assert cache.used_bytes() == 20
    assert read(cache, big) == TEN * 3


def test_whoever_waits_for_room_gets_it_when_a_pin_is_released(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(10)
    first, second = bucket.put("first", TEN), bucket.put("second", TEN[::-1])
    with ThreadPoolExecutor() as pool:
        with cache.open(first):
            waiting = pool.submit(read, cache, second)
        assert waiting.result() == TEN[::-1]


def test_many_threads_share_one_download(make_cache: Callable[..., LoraCache], bucket: MemoryBucket) -> None:
    cache, ref = make_cache(10), bucket.put("anime", TEN)
    bucket.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read, cache, ref) for _ in range(8)]
        bucket.half_done.wait()
        bucket.gate.set()
        assert [reader.result() for reader in readers] == [TEN] * 8
    assert len(bucket.downloads) == 1
    cache.check()


def test_room_is_taken_before_the_first_byte_arrives(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(10, wait_s=0)
    slow, other = bucket.put("slow", TEN), bucket.put("other", TEN)
    bucket.gate.clear()
    with ThreadPoolExecutor() as pool:
        arriving = pool.submit(read, cache, slow)
        bucket.half_done.wait()
        try:
            assert cache.used_bytes() == 10
            cache.check()
            with pytest.raises(LoraUnavailable), cache.open(other):
                pass
        finally:
            bucket.gate.set()
        assert arriving.result() == TEN


def test_a_new_version_is_another_file(make_cache: Callable[..., LoraCache], bucket: MemoryBucket) -> None:
    cache = make_cache(100)
    old = bucket.put("anime", b"old", etag="1")
    assert read(cache, old) == b"old"
    new = bucket.put("anime", b"newer", etag="2")
    assert read(cache, new) == b"newer"
    assert read(cache, old) == b"old"


@pytest.mark.parametrize("etag", ["2", None])
def test_a_lora_replaced_or_deleted_after_submit_is_gone(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket, etag: str | None
) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    del bucket.objects["anime.safetensors"]
    if etag:
        bucket.put("anime", TEN, etag=etag)
    with pytest.raises(LoraGone, match="after the job was accepted; submit it again"), cache.open(ref):
        pass
    assert cache.used_bytes() == 0
    cache.check()


def test_s3_may_be_away_for_a_moment(make_cache: Callable[..., LoraCache], bucket: MemoryBucket) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    bucket.away = 2
    assert read(cache, ref) == TEN


def test_s3_away_for_long_is_a_typed_error_and_is_not_remembered(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    bucket.away = 1
    with pytest.raises(LoraUnavailable, match="S3 does not answer"), cache.open(ref, WaitBudget("anime", 0)):
        pass
    assert cache.used_bytes() == 0
    assert read(cache, ref) == TEN


def test_a_file_larger_than_the_cache_is_refused_at_once(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(9)
    with (
        pytest.raises(InvalidLora, match=r"'anime' has 10 bytes.* takes 1 to 9"),
        cache.open(bucket.put("anime", TEN)),
    ):
        pass
    with pytest.raises(InvalidLora), cache.open(bucket.put("empty", b"")):
        pass
    assert bucket.downloads == []


def test_fewer_bytes_than_announced_never_become_a_file(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(100)
    bucket.put("anime", TEN)
    with pytest.raises(LoraUnavailable), cache.open(ref_to("anime", TEN + b"!"), WaitBudget("anime", 0)):
        pass
    assert cache.used_bytes() == 0


def test_a_cached_file_of_the_wrong_size_is_fetched_again(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    with cache.open(ref) as cached:
        pass
    os.truncate(cached.path, 3)
    assert read(cache, ref) == TEN
    assert len(bucket.downloads) == 2


def test_a_removed_folder_is_made_again(make_cache: Callable[..., LoraCache], bucket: MemoryBucket) -> None:
    cache, ref = make_cache(100), bucket.put("anime", TEN)
    with cache.open(ref) as cached:
        pass
    shutil.rmtree(cached.path.parent)
    assert read(cache, ref) == TEN


def test_a_crowd_on_a_cache_too_small_for_it_reads_only_whole_files(
    make_cache: Callable[..., LoraCache], bucket: MemoryBucket
) -> None:
    cache = make_cache(20, wait_s=30)
    bodies = {name: name.encode() * 10 for name in "abcd"}
    refs = {name: bucket.put(name, body) for name, body in bodies.items()}

    def rush(start: int) -> None:
        for step_token in range(40):
            name = "abcd"[(start + step_token) % 4]
            with cache.open(refs[name]) as cached:
                assert cached.path.read_bytes() == bodies[name]
                cache.check()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rush, range(8)))
    cache.check()
