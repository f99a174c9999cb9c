"""An object of unknown length, written as its bytes come; it appears whole or not at all."""

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from shared.errors import SwiftError
from shared.storage.object_store import Bucket, translated

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

#: Held in memory until it is sent; S3 takes no smaller parts but the last, and 10,000 of them.
PART_BYTES = 5 << 20


class ObjectWriter:
    """``with ObjectWriter(…) as writer:`` is a multipart upload, given up unless it was committed."""

    def __init__(self, bucket: Bucket, key: str, *, content_type: str) -> None:
        self._client, self._bucket, self._key = bucket.client, bucket.name, key
        self._content_type = content_type
        self._upload_id = ""
        self._buffer = bytearray()
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> Self:
        with translated(self._key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._key, ContentType=self._content_type
            )
        self._upload_id = answer["UploadId"]
        return self

    def write(self, data: bytes) -> None:
        """Append; sends a part whenever one is full."""
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(memoryview(self._buffer)[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def commit(self) -> str:
        """Let the object appear; returns its ETag."""
        if self._buffer or not self._parts:
            self._send(bytes(self._buffer))
        with translated(self._key):
            answer = self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )
        self._upload_id = ""
        return answer["ETag"].strip('"')

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._upload_id:
            return
        try:
            with translated(self._key):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._upload_id
                )
        except SwiftError as aborting:  # why it is given up is the news
            log.warning("unfinished upload left behind key=%s error=%s", self._key, aborting)

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        with translated(self._key):
            answer = self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=part
            )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
