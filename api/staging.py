"""Files on their way into the catalogue: each under a key of its own, no LoRA's, until it is checked.

The last act is one copy inside S3, which puts content and metadata in place together: of two uploads
of one name, one wins whole. What an upload leaves behind when it dies is swept away a day later.
"""

import logging
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from shared.blob_writer import BlobWriter
from shared.blobs import Blob, Bucket, translated
from shared.errors import NotFound, SwiftError
from shared.loras import lora_key

log = logging.getLogger(__name__)

#: No LoRA's key has a slash. (SeaweedFS keeps parts under `.uploads/` and lists nothing there.)
PREFIX = "uploads/"
OCTETS = "application/octet-stream"
#: A presigned URL is good for this long; what is older than a day is nobody's.
URL_S = 3600
LEFTOVER = timedelta(days=1)


class Staging:
    """Uploads of one bucket; ``public`` is the same bucket by the address that clients reach it at."""

    def __init__(self, bucket: Bucket, public: Bucket) -> None:
        self.bucket = bucket
        self._public = public
        self._swept_at = datetime.fromtimestamp(0, UTC)

    def begin(self, name: str) -> str:
        """The id of a new upload for a LoRA; raises `InvalidRequest` for a name that cannot be one."""
        lora_key(name)
        self._sweep()
        return secrets.token_hex(16)

    def writer(self, name: str, upload: str) -> BlobWriter:
        """Writes the staged file as its bytes come."""
        return BlobWriter(self.bucket, _key(name, upload), content_type=OCTETS)

    def form(self, name: str, upload: str, max_bytes: int) -> tuple[str, dict[str, str]]:
        """Where anybody may POST the staged file for `URL_S`, and the form's fields.

        The policy that they are signed with has S3 refuse a file of more than ``max_bytes``.
        """
        kind = {"Content-Type": OCTETS}
        key = _key(name, upload)
        with translated(key):
            made = self._public.client.generate_presigned_post(
                self._public.name,
                key,
                Fields=dict(kind),
                Conditions=[["content-length-range", 1, max_bytes], kind],
                ExpiresIn=URL_S,
            )
        return made["url"], made["fields"]

    def find(self, name: str, upload: str) -> Blob:
        """The staged file as it is now; raises `NotFound`."""
        try:
            return self.bucket.head(_key(name, upload))
        except NotFound:
            raise NotFound(f"nothing was uploaded as {upload!r} for LoRA {name!r}") from None

    def publish(self, name: str, staged: Blob, metadata: Mapping[str, str]) -> Blob:
        """Let exactly this version of a staged file appear as the LoRA ``name``, and drop it here.

        Raises `BlobChanged` when somebody has uploaded another one there meanwhile.
        """
        bucket, key = self.bucket, lora_key(name)
        with translated(staged.key):
            answer = bucket.client.copy_object(
                Bucket=bucket.name,
                Key=key,
                CopySource={"Bucket": bucket.name, "Key": staged.key},
                CopySourceIfMatch=f'"{staged.etag}"',
                MetadataDirective="REPLACE",
                ContentType=OCTETS,
                Metadata=dict(metadata),
            )
        bucket.delete(staged.key)
        made = answer["CopyObjectResult"]
        return Blob(key, made["ETag"].strip('"'), staged.size_bytes, made["LastModified"], metadata)

    def discard(self, staged: Blob) -> None:
        """Remove a staged file that was refused."""
        self.bucket.delete(staged.key)

    def _sweep(self) -> None:
        """Remove what dead uploads have left; at most once an hour, it asks S3 for two lists."""
        now = datetime.now(UTC)
        if now - self._swept_at < timedelta(hours=1):
            return
        self._swept_at = now
        try:
            files, parts = self._remove(now - LEFTOVER)
        except SwiftError as error:  # no reason to refuse the upload that comes now
            log.warning("uploads that never ended are not swept error=%s", error)
        else:
            log.info("swept uploads that never ended files=%d parts=%d", files, parts)

    def _remove(self, before: datetime) -> tuple[int, int]:
        """Remove staged files and unfinished uploads of ``before``; returns how many of each."""
        old = [blob.key for blob in self.bucket.list(PREFIX) if blob.modified < before]
        for key in old:
            self.bucket.delete(key)
        client, bucket = self.bucket.client, self.bucket.name
        with translated(PREFIX):
            uploads = client.list_multipart_uploads(Bucket=bucket, Prefix=PREFIX).get("Uploads", [])
            unfinished = [one for one in uploads if one["Initiated"] < before]
            for one in unfinished:
                client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
        return len(old), len(unfinished)


def _key(name: str, upload: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", upload):
        raise NotFound(f"nothing was uploaded as {upload!r} for LoRA {name!r}")
    return f"{PREFIX}{lora_key(name)}/{upload}"
