"""Files of many ranges: several at once, each once, whatever breaks in between."""

import hashlib
import math
import os
from pathlib import Path

import pytest

from shared.errors import InvalidLora, LoraGone, LoraUnavailable
from shared.jobs.spec import LoraRef
from tests.workers.lora.cache.buckets import MemoryBucket
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.partial_file import PartialFile
from workers.lora.cache.wait_budget import WaitBudget

BODY = os.urandom(95)
RANGES = [(start, min(start + 10, 95)) for start in range(0, 95, 10)]
ROOM = PartialFile.total_bytes(95, 10)
NOW = 0.0  # seconds to wait


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def ref(bucket: MemoryBucket) -> LoraRef:
    return bucket.put("anime", BODY)


@pytest.fixture
def cache(tmp_path: Path, bucket: MemoryBucket) -> LoraCache:
    """Room for the file and its marks, and for nothing else."""
    return LoraCache(tmp_path, ROOM, bucket, 10, range_bytes=10)


def read(cache: LoraCache, ref: LoraRef, wait_s: float = 10) -> bytes:
    with cache.open(ref, WaitBudget(ref.name, wait_s)) as cached:
        assert cached.sha256 == hashlib.sha256(BODY).hexdigest()
        return cached.path.read_bytes()


def test_every_range_is_fetched_once(cache: LoraCache, bucket: MemoryBucket, ref: LoraRef) -> None:
    assert read(cache, ref) == BODY
    assert sorted(bucket.asked) == RANGES
    assert cache.used_bytes() == len(BODY)  # the marks are gone


def test_a_range_goes_on_where_its_connection_broke(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    bucket.cuts = 3
    assert read(cache, ref) == BODY
    asked = set(bucket.asked)
    assert set(RANGES) <= asked
    assert len(asked - set(RANGES)) == 3
    assert all(stop - start == 5 for start, stop in asked - set(RANGES) if stop != 95)


def test_whoever_comes_next_fetches_only_the_ranges_that_are_missing(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    # Given an attempt at the file that ended while S3 was away, after some ranges had arrived
    bucket.answers = 6
    with pytest.raises(LoraUnavailable, match="S3 does not answer"):
        read(cache, ref, NOW)
    cache.check()
    missing = missing_ranges(cache, ref)
    assert 0 < len(missing) < len(RANGES)
    # When somebody asks again
    bucket.asked.clear()
    bucket.answers = math.inf
    assert read(cache, ref, NOW) == BODY
    # Then what had arrived was not asked for
    assert sorted(bucket.asked) == missing


def test_what_never_began_to_arrive_leaves_nothing(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    bucket.away = 1000
    with pytest.raises(LoraUnavailable):
        read(cache, ref, NOW)
    assert cache.used_bytes() == 0


def test_a_part_of_an_older_version_is_never_completed_with_a_newer_one(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    bucket.answers = 6
    with pytest.raises(LoraUnavailable):
        read(cache, ref, NOW)
    bucket.answers = math.inf
    newer = bucket.put("anime", BODY[::-1], etag="2")
    with pytest.raises(LoraGone):
        read(cache, ref, NOW)
    with cache.open(newer) as cached:
        assert cached.path.read_bytes() == BODY[::-1]


def test_a_part_that_was_complete_is_still_checked_with_s3(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    # Given a part whose process died just before it became a file
    leave_part(cache, ref, BODY)
    # When the object has been replaced meanwhile, then nobody gets it
    bucket.put("anime", BODY[::-1], etag="2")
    with pytest.raises(LoraGone):
        read(cache, ref, NOW)
    # And when it has not, one range is enough to know
    bucket.put("anime", BODY, etag="1")
    leave_part(cache, ref, BODY)
    bucket.asked.clear()
    assert read(cache, ref, NOW) == BODY
    assert bucket.asked == [(0, 10)]


def test_a_file_deleted_while_it_arrives_is_gone(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    bucket.cuts = 1000
    del bucket.objects["anime.safetensors"]
    with pytest.raises(LoraGone, match="'anime' was deleted"):
        read(cache, ref, NOW)
    assert cache.used_bytes() == 0


def test_what_one_range_learns_ends_the_others_too(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    del bucket.objects["anime.safetensors"]
    bucket.answers = 1  # one range hears that the object is gone, the others hear nothing at all
    with pytest.raises(LoraGone):
        read(cache, ref, math.inf)


@pytest.mark.parametrize("told_by", ["uploader", "etag"])
@pytest.mark.parametrize("lies", [1, 10])
def test_bytes_that_arrive_damaged_are_fetched_again(
    told_by: str, lies: int, cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    tell(bucket, told_by)
    bucket.lies = lies
    assert read(cache, ref) == BODY


@pytest.mark.parametrize("told_by", ["uploader", "etag"])
def test_bytes_that_are_damaged_in_s3_are_refused(
    told_by: str, cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    tell(bucket, told_by)
    bucket.lies = 1000
    with pytest.raises(InvalidLora, match=r"'anime\.safetensors' in S3 do not have the checksum"):
        read(cache, ref)
    assert cache.used_bytes() == 0


def test_a_resumed_part_with_damage_is_fetched_again(
    cache: LoraCache, bucket: MemoryBucket, ref: LoraRef
) -> None:
    tell(bucket, "uploader")
    leave_part(cache, ref, bytes(95))
    assert read(cache, ref) == BODY


def test_metadata_that_is_no_sha256_is_not_one(cache: LoraCache, bucket: MemoryBucket, ref: LoraRef) -> None:
    bucket.metadata = {"sha256": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="}
    assert read(cache, ref) == BODY


def test_marks_of_ranges_of_another_size_count_for_nothing(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "x.part", os.O_RDWR | os.O_CREAT)
    old = PartialFile(fd, 11, 6)
    old.mark(0)
    assert PartialFile(fd, 11, 6).missing() == [1]
    assert PartialFile(fd, 11, 7).missing() == [0, 1]
    os.close(fd)


def tell(bucket: MemoryBucket, told_by: str) -> None:
    if told_by == "uploader":
        bucket.metadata = {"sha256": hashlib.sha256(BODY).hexdigest().upper()}
    else:
        bucket.md5 = hashlib.md5(BODY).hexdigest()


def missing_ranges(cache: LoraCache, ref: LoraRef) -> list[tuple[int, int]]:
    """What the part of a file does not have: with six answers for four at once, some ranges did arrive."""
    claim = cache.directory.claim(cache.version(ref))
    assert claim is not None
    part = PartialFile(claim, len(BODY), 10)
    missing = [tuple(part.ranges[index]) for index in part.missing()]
    cache.directory.release(claim)
    return missing


def leave_part(cache: LoraCache, ref: LoraRef, body: bytes) -> None:
    """What a process leaves that is killed when every range has been marked."""
    claim = cache.directory.claim(cache.version(ref))
    assert claim is not None
    assert cache.directory.reserve(claim, ROOM) is not None
    part = PartialFile(claim, len(body), 10)
    part.write(0, body)
    for index in range(len(part.ranges)):
        part.mark(index)
    cache.directory.release(claim)
