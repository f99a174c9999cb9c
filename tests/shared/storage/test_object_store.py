"""Objects against a real S3 server."""

import hashlib
import os

import pytest

from shared.errors import NotFound, Unavailable
from shared.settings import Settings
from shared.storage.head_requests import HeadRequests
from shared.storage.object_store import Bucket
from shared.storage.s3_errors import ObjectChanged

BODY = os.urandom(3 << 20)
OCTETS = "application/octet-stream"


@pytest.fixture
def bucket(servers: Settings) -> Bucket:
    return Bucket(servers, servers.lora_bucket)


def test_a_range_comes_with_what_is_known_of_the_whole(bucket: Bucket) -> None:
    etag = bucket.put("range", BODY, content_type=OCTETS, metadata={"sha256": "0f"})
    answer = bucket.read_range("range", etag=etag, start=5, stop=2_000_000)
    assert b"".join(answer.chunks) == BODY[5:2_000_000]
    assert answer.object_bytes == len(BODY)
    assert answer.metadata == {"sha256": "0f"}
    assert answer.md5 == etag == hashlib.md5(BODY).hexdigest()


def test_a_range_is_of_the_version_that_was_asked_for(bucket: Bucket) -> None:
    etag = bucket.put("changing", BODY, content_type=OCTETS)
    bucket.put("changing", BODY[::-1], content_type=OCTETS)
    with pytest.raises(ObjectChanged, match="'changing'"):
        bucket.read_range("changing", etag=etag, start=0, stop=5)
    bucket.delete("changing")
    with pytest.raises(NotFound):
        bucket.read_range("changing", etag=etag, start=0, stop=5)


def test_a_range_the_object_does_not_have_is_refused(bucket: Bucket) -> None:
    etag = bucket.put("short", b"0123456789", content_type=OCTETS)
    for start, stop in ((0, 11), (10, 20)):
        with pytest.raises(Unavailable):
            bucket.read_range("short", etag=etag, start=start, stop=stop)


def test_the_etag_of_an_upload_in_parts_is_no_md5(bucket: Bucket) -> None:
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="parts")["UploadId"]
    half = 5 << 20
    whole = os.urandom(half + 1000)
    parts = []
    for number, piece in ((1, whole[:half]), (2, whole[half:])):
        told = bucket.client.upload_part(
            Bucket=bucket.name, Key="parts", UploadId=upload, PartNumber=number, Body=piece
        )
        parts.append({"PartNumber": number, "ETag": told["ETag"]})
    bucket.client.complete_multipart_upload(
        Bucket=bucket.name, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    etag = bucket.head("parts").etag
    answer = bucket.read_range("parts", etag=etag, start=half - 10, stop=half + 10)
    assert b"".join(answer.chunks) == whole[half - 10 : half + 10]
    assert answer.md5 is None


def test_the_short_way_to_ask_tells_what_boto3_tells(
    bucket: Bucket, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = bucket.put("asked", BODY, content_type=OCTETS, metadata={"max-async-steps": "3"})
    short = bucket.head("asked")
    assert (short.etag, short.size_bytes, short.metadata) == (etag, len(BODY), {"max-async-steps": "3"})
    monkeypatch.setattr(HeadRequests, "headers", lambda *_: None)
    assert Bucket(servers, bucket.name).head("asked") == short


def test_an_object_that_is_not_there_is_not_found_and_one_that_comes_is(bucket: Bucket) -> None:
    bucket.delete("coming")
    with pytest.raises(NotFound, match="'coming'"):
        bucket.head("coming")
    bucket.put("coming", b"1", content_type=OCTETS)
    first = bucket.head("coming").etag
    bucket.put("coming", b"2", content_type=OCTETS)
    assert bucket.head("coming").etag != first
