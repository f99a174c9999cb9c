"""Objects in S3: LoRA files, control images, generated images."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from shared.errors import NotFound, SwiftError, Unavailable
from shared.settings import Settings
from shared.storage.head_requests import HeadRequests, metadata_of
from shared.storage.s3_client import make_s3_client
from shared.storage.s3_errors import translate_errors

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES = 1 << 20
#: An upload holds one part in memory. S3 takes no smaller parts but the last, and 10,000 of them.
PART_BYTES = 5 << 20
#: Without threads an upload runs in its caller's, and so do reads of the body: a greenlet's must.
_UPLOAD = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)


class Readable(Protocol):
    """A file that is read from its start to its end."""

    def read(self, count: int, /) -> bytes:
        """``count`` bytes, fewer at the end."""


class ObjectStat(NamedTuple):
    """The metadata of an object."""

    key: str
    etag: str
    size_bytes: int
    modified: datetime
    metadata: Mapping[str, str]


class ByteRange(NamedTuple):
    """A range of an object's bytes as they arrive, and what the response says of the whole object."""

    chunks: Iterator[bytes]
    object_bytes: int
    metadata: Mapping[str, str]
    md5: str | None  # of the object; None where its ETag is something else


class Bucket:
    """One bucket. Raises `NotFound`, `ObjectChanged`, and `Unavailable` when S3 does not answer.

    ``attempts`` of a request bridge a restart of the server; a health check makes one. ``read_timeout_s``
    limits the wait for a response, or for more of it.
    """

    def __init__(
        self, settings: Settings, name: str, *, attempts: int = 5, read_timeout_s: float = 20
    ) -> None:
        self.name = name
        self._settings = settings
        self._attempts = attempts
        self._read_timeout_s = read_timeout_s

    @cached_property
    def client(self) -> "S3Client":
        """A thread-safe client, created on first use; the next use tries again if it finds no credentials."""
        with translate_errors(self.name):
            return make_s3_client(
                self._settings, attempts=self._attempts, read_timeout_s=self._read_timeout_s
            )

    @cached_property
    def _head_requests(self) -> HeadRequests:
        return HeadRequests(self.client)

    def put(
        self,
        key: str,
        body: bytes | IO[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Store an object whole; returns its ETag."""
        with translate_errors(key):
            response = self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType=content_type,
                Metadata=dict(metadata or {}),
            )
        return response["ETag"].strip('"')

    def upload(self, key: str, body: Readable, *, content_type: str) -> None:
        """Store an object of unknown length as its bytes come; it appears whole or not at all.

        ``body.read(n)`` returns fewer than ``n`` bytes at the end only. What it raises aborts the upload and
        is raised here. At most one part is in memory.
        """
        source: Any = _UploadSource(body)  # typed as IO, of which boto3 calls read only
        try:
            with translate_errors(key):
                self.client.upload_fileobj(
                    source, self.name, key, ExtraArgs={"ContentType": content_type}, Config=_UPLOAD
                )
        except SwiftError:
            if source.error is not None:
                raise source.error from None
            raise

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        with translate_errors(key):
            return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def open(self, key: str) -> tuple[int, "StreamingBody"]:
        """The length of an object and its bytes as they arrive; the caller closes the stream."""
        with translate_errors(key):
            response = self.client.get_object(Bucket=self.name, Key=key)
        return response["ContentLength"], response["Body"]

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        """Bytes ``start`` to ``stop`` of exactly the version ``etag``; `ObjectChanged` when it is another.

        The chunks raise `Unavailable`, too, when the connection breaks.
        """
        with translate_errors(key):
            response = self.client.get_object(
                Bucket=self.name, Key=key, IfMatch=f'"{etag}"', Range=f"bytes={start}-{stop - 1}"
            )
        content_range = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.get("ContentRange", ""))
        if content_range is None or (int(content_range[1]), int(content_range[2])) != (start, stop - 1):
            response["Body"].close()
            raise Unavailable(f"S3 sent another range of {key!r} than bytes {start} to {stop - 1}")
        return ByteRange(
            _chunks(key, response["Body"]),
            int(content_range[3]),
            response["Metadata"],
            self._md5(etag, response),
        )

    def head(self, key: str) -> ObjectStat:
        """The metadata of an object."""
        with translate_errors(key):
            headers = self._head_requests.headers(self.name, key)
            if headers is None:
                response = self.client.head_object(Bucket=self.name, Key=key)
                headers = response["ResponseMetadata"]["HTTPHeaders"]
        return ObjectStat(
            key,
            headers["etag"].strip('"'),
            int(headers["content-length"]),
            parsedate_to_datetime(headers["last-modified"]),
            metadata_of(headers),
        )

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectStat]:
        """Every object under ``prefix`` after the key ``after``, by key; their user metadata is left out."""
        with translate_errors(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, StartAfter=after
            ):
                for item in page.get("Contents", []):
                    etag = item["ETag"].strip('"')
                    yield ObjectStat(item["Key"], etag, item["Size"], item["LastModified"], {})

    def delete(self, key: str) -> None:
        """Remove an object; removing none is fine."""
        with translate_errors(key):
            self.client.delete_object(Bucket=self.name, Key=key)

    def ready(self) -> None:
        """Return if the bucket can be reached; create it if the server does not have it."""
        with translate_errors(self.name):
            try:
                self.client.head_bucket(Bucket=self.name)
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                    raise
                self.client.create_bucket(Bucket=self.name)

    def _md5(self, etag: str, response: "GetObjectOutputTypeDef") -> str | None:
        """The MD5 if the ETag is one: of one part, not encrypted with a user's key, not in S3 Express."""
        is_keyed = "SSECustomerAlgorithm" in response or "SSEKMSKeyId" in response
        is_md5 = re.fullmatch(r"[0-9a-f]{32}", etag) and not is_keyed and not self.name.endswith("--x-s3")
        return etag if is_md5 else None


def _chunks(key: str, body: "StreamingBody") -> Iterator[bytes]:
    with translate_errors(key), closing(body):
        yield from body.iter_chunks(_CHUNK_BYTES)


class _UploadSource:
    """What an upload reads from; remembers the error of a body, which is not S3's."""

    def __init__(self, body: Readable) -> None:
        self._body = body
        self.error: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        try:
            return self._body.read(count)
        except Exception as error:
            self.error = error
            raise
