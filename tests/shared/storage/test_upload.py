import io
import os

import pytest

from shared.errors import InvalidLora, NotFound, S3Unavailable
from shared.settings import Settings
from shared.storage.object_store import PART_BYTES, Bucket

OCTETS = "application/octet-stream"
BODY = os.urandom(2 * PART_BYTES + 5)


class Body:
    """The first ``size`` bytes of `BODY`; raises ``error`` at its end, and notes what S3 shows meanwhile."""

    def __init__(self, bucket: Bucket, key: str, size: int, error: Exception | None = None) -> None:
        self._bucket, self._key = bucket, key
        self._left, self._error = memoryview(BODY)[:size], error
        self.exists_meanwhile = False
        self.unfinished_meanwhile: list[str] = []

    def read(self, count: int) -> bytes:
        data, self._left = bytes(self._left[:count]), self._left[count:]
        self.exists_meanwhile |= self._bucket.exists(self._key)
        self.unfinished_meanwhile = unfinished(self._bucket, self._key)
        if self._error is not None and not self._left:
            raise self._error
        return data


@pytest.fixture
def bucket(servers: Settings) -> Bucket:
    return Bucket(servers, servers.lora_bucket)


def unfinished(bucket: Bucket, key: str) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=key)
    return [one["Key"] for one in answer.get("Uploads", [])]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, len(BODY)])
def test_an_uploaded_object_appears_whole_at_the_end(bucket: Bucket, size: int) -> None:
    bucket.delete("uploaded")
    body = Body(bucket, "uploaded", size)
    bucket.upload("uploaded", body, content_type=OCTETS)
    assert not body.exists_meanwhile
    assert bucket.get("uploaded") == BODY[:size]
    assert bucket.client.head_object(Bucket=bucket.name, Key="uploaded")["ContentType"] == OCTETS


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, len(BODY)])
@pytest.mark.parametrize("error", [InvalidLora("cut short"), OSError("the client went away")], ids=repr)
def test_nothing_remains_of_an_upload_whose_body_raises(bucket: Bucket, size: int, error: Exception) -> None:
    body = Body(bucket, "aborted", size, error)
    with pytest.raises(type(error)) as raised:
        bucket.upload("aborted", body, content_type=OCTETS)
    assert raised.value is error
    assert body.unfinished_meanwhile == (["aborted"] if size > PART_BYTES else [])
    with pytest.raises(NotFound):
        bucket.head("aborted")
    assert unfinished(bucket, "aborted") == []


def test_an_upload_that_s3_does_not_take_says_so(servers: Settings) -> None:
    nowhere = servers.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    unreachable = Bucket(nowhere, servers.lora_bucket, attempts=1)
    with pytest.raises(S3Unavailable, match="does not answer"):
        unreachable.upload("uploaded", io.BytesIO(BODY), content_type=OCTETS)
