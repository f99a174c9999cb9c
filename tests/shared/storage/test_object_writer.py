import os

import pytest

from shared.errors import NotFound
from shared.settings import Settings
from shared.storage.object_store import Bucket
from shared.storage.object_writer import PART_BYTES, ObjectWriter

OCTETS = "application/octet-stream"
BODY = os.urandom(2 * PART_BYTES + 5)


@pytest.fixture
def bucket(servers: Settings) -> Bucket:
    return Bucket(servers, servers.lora_bucket)


def unfinished(bucket: Bucket, key: str) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=key)
    return [one["Key"] for one in answer.get("Uploads", [])]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, len(BODY)])
def test_an_object_is_what_was_written_and_appears_with_the_commit(bucket: Bucket, size: int) -> None:
    bucket.delete("written")
    with ObjectWriter(bucket, "written", content_type=OCTETS) as writer:
        for start in range(0, size, 1 << 20):
            writer.write(BODY[start : min(start + (1 << 20), size)])
        assert not bucket.exists("written")
        etag = writer.commit()
    assert bucket.head("written").etag == etag
    assert bucket.get("written") == BODY[:size]


def write_and_fail(bucket: Bucket) -> None:
    with ObjectWriter(bucket, "given-up", content_type=OCTETS) as writer:
        writer.write(BODY)
        assert unfinished(bucket, "given-up") == ["given-up"]
        raise RuntimeError


def test_nothing_stays_of_an_object_that_was_given_up(bucket: Bucket) -> None:
    with pytest.raises(RuntimeError):
        write_and_fail(bucket)
    with pytest.raises(NotFound):
        bucket.head("given-up")
    assert unfinished(bucket, "given-up") == []
