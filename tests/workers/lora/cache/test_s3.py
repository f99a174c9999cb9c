"""The cache against a real S3 server, over a line that breaks."""

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import LoraGone, LoraUnavailable
from shared.jobs.spec import LoraRef
from shared.metrics import LORA_FETCHED_BYTES
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.proxy import Proxy, proxied
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.partial_file import PartialFile, Range
from workers.lora.cache.wait_budget import WaitBudget

BODY = os.urandom(3_000_000)
RANGE_BYTES = 256 << 10
RANGES = 12
OCTETS = "application/octet-stream"


@pytest.fixture
def line(servers: Settings) -> Iterator[Proxy]:
    with proxied(servers.s3_port) as proxy:
        yield proxy


@pytest.fixture
def direct(servers: Settings) -> Bucket:
    return Bucket(servers, servers.lora_bucket)


@pytest.fixture
def cache(tmp_path: Path, servers: Settings, line: Proxy) -> LoraCache:
    settings = servers.model_copy(update={"s3_endpoint_url": line.url})
    bucket = Bucket(settings, settings.lora_bucket, attempts=1)
    return LoraCache(tmp_path, 10_000_000, bucket, 60, range_bytes=RANGE_BYTES)


def upload(bucket: Bucket, body: bytes = BODY) -> LoraRef:
    name = f"line-{uuid.uuid4().hex[:6]}"
    metadata = {"sha256": hashlib.sha256(body).hexdigest()}
    etag = bucket.put(f"{name}.safetensors", body, content_type=OCTETS, metadata=metadata)
    return LoraRef(name=name, etag=etag, size_bytes=len(body), scale=1.0)


def read(cache: LoraCache, ref: LoraRef) -> bytes:
    with cache.open(ref) as cached:
        return cached.path.read_bytes()


def missing_of(part: Path) -> list[Range]:
    """What a ``.part`` lacks; looked at from outside."""
    with part.open("rb") as file:
        marks = PartialFile(file.fileno(), len(BODY), RANGE_BYTES)
        return [marks.ranges[index] for index in marks.missing()]


def fetched_bytes() -> float:
    return next(iter(LORA_FETCHED_BYTES.collect())).samples[0].value


def test_a_line_that_breaks_in_the_middle_of_answers_costs_only_what_was_on_its_way(
    cache: LoraCache, line: Proxy, direct: Bucket
) -> None:
    ref, before = upload(direct), fetched_bytes()
    line.cuts, line.cut_after_bytes = 5, 100_000
    assert read(cache, ref) == BODY
    assert line.cuts == 0
    assert fetched_bytes() - before == len(BODY)  # nothing that had arrived came twice
    cache.check()


def test_a_server_that_is_down_for_a_while_is_waited_for(
    cache: LoraCache, line: Proxy, direct: Bucket
) -> None:
    ref = upload(direct)
    line.is_down = True
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read, cache, ref)
        line.wait_for_connections(3)
        line.is_down = False
        assert reader.result() == BODY


def test_the_error_of_a_server_that_stays_down_is_named(
    cache: LoraCache, line: Proxy, direct: Bucket
) -> None:
    ref = upload(direct)
    line.is_down = True
    told = pytest.raises(LoraUnavailable, match=f"{ref.name}.* S3 does not answer: \\w*Connection")
    with told, cache.open(ref, WaitBudget(ref.name, 0)):
        pass
    assert cache.used_bytes() == 0


def test_an_object_overwritten_while_it_arrives_is_never_mixed(
    cache: LoraCache, line: Proxy, direct: Bucket
) -> None:
    ref = upload(direct)
    line.cuts, line.cut_after_bytes = 1, 100_000  # the first range has to be asked for again
    line.gate.clear()
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read, cache, ref)
        line.wait_for_connections(1)
        etag = direct.put(f"{ref.name}.safetensors", BODY[::-1], content_type=OCTETS)
        line.gate.set()
        outcome = reader.exception()
    # Whatever had been sent when it was replaced: it is the old version whole, or none.
    assert isinstance(outcome, LoraGone)
    assert cache.used_bytes() == 0
    assert read(cache, ref.model_copy(update={"etag": etag})) == BODY[::-1]


def test_what_a_killed_process_had_fetched_is_not_fetched_again(
    tmp_path: Path, servers: Settings, cache: LoraCache, line: Proxy, direct: Bucket
) -> None:
    # Given a process that dies while the line is held: all it had begun but its last four ranges is there
    ref = upload(direct)
    line.hold_after_bytes = 6 * RANGE_BYTES
    words = [sys.executable, "-m", "tests.workers.lora.cache.fetch_s3", str(tmp_path), str(RANGE_BYTES)]
    environ = {**os.environ, "SWIFT_S3_ENDPOINT_URL": line.url}
    with subprocess.Popen([*words, ref.model_dump_json()], env=environ, stderr=subprocess.PIPE) as process:
        try:
            line.wait_until_held()
            part = cache.directory.root / f"{cache.version(ref)}.part"
            while len(missing_of(part)) > RANGES - 2:
                assert process.poll() is None, process.communicate()[1].decode()
        finally:
            process.kill()
    line.gate.set()
    missing, before = missing_of(part), fetched_bytes()
    # When another one wants the file
    assert read(cache, ref) == BODY
    # Then it asks for the rest
    assert fetched_bytes() - before == sum(stop - start for start, stop in missing)
