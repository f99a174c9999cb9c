"""A LoRA on its way: in the background, with errors that keep their type."""

import time
from pathlib import Path

import pytest

from shared.errors import InvalidLora, LoraGone, LoraUnavailable
from tests.workers.lora.buckets import MemoryBucket, ref_to
from workers.lora.cache import LoraCache
from workers.lora.files import LoraWeights
from workers.lora.loading import LoraLoad

BODY = b"tensors"


def as_name(path: Path) -> LoraWeights:
    return LoraWeights(path.read_text(), {}, {})


def refuse(path: Path) -> LoraWeights:
    raise InvalidLora("keys that match no module of this model: x")


@pytest.fixture
def bucket() -> MemoryBucket:
    bucket = MemoryBucket()
    bucket.put("anime", BODY)
    return bucket


@pytest.fixture
def cache(tmp_path: Path, bucket: MemoryBucket) -> LoraCache:
    return LoraCache(tmp_path, 100, bucket, 10)


def test_it_loads_in_the_background_and_tells_when_it_is_ready(
    cache: LoraCache, bucket: MemoryBucket
) -> None:
    bucket.gate.clear()
    start = time.time()
    load = LoraLoad(ref_to("anime", BODY), cache, as_name)
    bucket.half_done.wait()
    assert not load.ready()
    assert not load.settle(0)
    with pytest.raises(LoraUnavailable, match="'anime' did not arrive"):
        load.wait(0)
    bucket.gate.set()
    assert load.wait(10).sha256 == BODY.decode()
    assert load.ready()
    names, starts, ends = zip(*load.spans, strict=True)
    assert names == ("lora anime fetch", "lora anime parse")
    assert start <= starts[0] <= ends[0] <= starts[1] <= ends[1] <= time.time()


def test_its_errors_come_out_of_wait_and_not_out_of_ready(cache: LoraCache) -> None:
    gone = LoraLoad(ref_to("nowhere", BODY), cache, as_name)
    broken = LoraLoad(ref_to("anime", BODY), cache, refuse)
    assert gone.settle(10)
    assert gone.ready()
    with pytest.raises(LoraGone):
        gone.wait(0)
    with pytest.raises(InvalidLora):
        broken.wait(10)


def test_the_file_is_pinned_only_while_it_is_read(tmp_path: Path, bucket: MemoryBucket) -> None:
    cache = LoraCache(tmp_path, len(BODY), bucket, 10)
    bucket.put("paper", BODY[::-1])
    load = LoraLoad(ref_to("anime", BODY), cache, as_name)
    load.wait(10)
    assert LoraLoad(ref_to("paper", BODY), cache, as_name).wait(10).sha256 == BODY[::-1].decode()
