"""Disks smaller than the cache's bound: a real file system of 64 KiB, and a real limit of the kernel."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import LoraUnavailable
from shared.jobs.spec import LoraRef
from tests.workers.lora.cache.buckets import MemoryBucket
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.wait_budget import WaitBudget

BODY = bytes(range(256)) * 64  # 16 KiB
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for three of the files."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "swift-test", str(place)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"only root may mount a small disk: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def refs(bucket: MemoryBucket) -> dict[str, LoraRef]:
    return {name: bucket.put(name, BODY) for name in NAMES}


def read(cache: LoraCache, ref: LoraRef) -> bytes:
    with cache.open(ref, WaitBudget(ref.name, 0)) as cached:
        return cached.path.read_bytes()


def test_on_a_full_disk_idle_files_give_way_as_at_the_bound(
    disk: Path, bucket: MemoryBucket, refs: dict[str, LoraRef]
) -> None:
    cache = LoraCache(disk / "loras", 1 << 20, bucket, 0)
    (disk / "other").write_bytes(bytes(12 << 10))
    for name in ("a", "b", "c", "a", "d"):
        assert read(cache, refs[name]) == BODY
    names = sorted(entry.path.name[0] for entry in cache.directory.entries())
    assert names == ["a", "c", "d"]  # b was the least recently used


def test_a_disk_full_of_other_files_is_waited_for_and_named(
    disk: Path, bucket: MemoryBucket, refs: dict[str, LoraRef]
) -> None:
    cache = LoraCache(disk / "loras", 1 << 20, bucket, 0)
    other = disk / "other"
    other.write_bytes(bytes(40 << 10))
    with cache.open(refs["a"], WaitBudget("a", 0)) as pinned:
        with pytest.raises(LoraUnavailable, match="'b' did not arrive in time: the disk is full"):
            read(cache, refs["b"])
        assert pinned.path.read_bytes() == BODY
        assert cache.used_bytes() == len(BODY)
        other.unlink()
        assert read(cache, refs["b"]) == BODY
    assert bucket.downloads == ["a.safetensors", "b.safetensors"]


def test_another_error_of_the_disk_is_raised_at_once(
    tmp_path: Path, bucket: MemoryBucket, refs: dict[str, LoraRef]
) -> None:
    cache = LoraCache(tmp_path, 1 << 20, bucket, 60)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) - 1, hard))
    try:
        with (
            pytest.raises(LoraUnavailable, match=r"'a': no space on the disk: .*File too large"),
            cache.open(refs["a"]),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.used_bytes() == 0
    assert read(cache, refs["a"]) == BODY
