"""Staged uploads: until a file is checked, it has a key of its own, under which no LoRA is looked up.

A checked file is published by one copy inside S3, which writes content and metadata together: of two uploads
of one name, the later replaces the other whole. Workers remove the leftovers of aborted uploads after a day.
"""

import re
import secrets
from collections.abc import Mapping

from shared.errors import NotFound
from shared.storage.lora_names import STAGED, cut_suffix
from shared.storage.object_store import Bucket, ObjectStat, Readable
from shared.storage.s3_errors import translate_errors

OCTETS = "application/octet-stream"
#: How long a signed form is valid.
URL_S = 3600


class Staging:
    """Uploads of one bucket; ``public`` is the same bucket by the address that clients reach it at.

    ``key`` is always that of the LoRA which the file is to become: whose upload it is, is part of it.
    """

    def __init__(self, bucket: Bucket, public: Bucket) -> None:
        self.bucket = bucket
        self._public = public

    def begin(self) -> str:
        """The id of a new upload."""
        return secrets.token_hex(16)

    def store(self, key: str, upload: str, body: Readable) -> None:
        """Store the staged file as its bytes come; nothing is left where ``body.read`` raises."""
        self.bucket.upload(_staged_key(key, upload), body, content_type=OCTETS)

    def form(self, key: str, upload: str, max_bytes: int) -> tuple[str, dict[str, str]]:
        """Where anybody may POST the staged file for `URL_S`, and the form's fields.

        The policy that they are signed with has S3 refuse a file of more than ``max_bytes``.
        """
        kind = {"Content-Type": OCTETS}
        staged_key = _staged_key(key, upload)
        with translate_errors(staged_key):
            made = self._public.client.generate_presigned_post(
                self._public.name,
                staged_key,
                Fields=dict(kind),
                Conditions=[["content-length-range", 1, max_bytes], kind],
                ExpiresIn=URL_S,
            )
        return made["url"], made["fields"]

    def find(self, key: str, upload: str) -> ObjectStat:
        """The staged file as it is now; raises `NotFound`."""
        try:
            return self.bucket.head(_staged_key(key, upload))
        except NotFound:
            raise _not_staged(key, upload) from None

    def publish(self, key: str, staged: ObjectStat, metadata: Mapping[str, str]) -> ObjectStat:
        """Publish exactly this version of a staged file as the object ``key``, and remove it here.

        Raises `ObjectChanged` if another file was uploaded there meanwhile.
        """
        bucket = self.bucket
        with translate_errors(staged.key):
            response = bucket.client.copy_object(
                Bucket=bucket.name,
                Key=key,
                CopySource={"Bucket": bucket.name, "Key": staged.key},
                CopySourceIfMatch=f'"{staged.etag}"',
                MetadataDirective="REPLACE",
                ContentType=OCTETS,
                Metadata=dict(metadata),
            )
        bucket.delete(staged.key)
        made = response["CopyObjectResult"]
        return ObjectStat(key, made["ETag"].strip('"'), staged.size_bytes, made["LastModified"], metadata)

    def discard(self, staged: ObjectStat) -> None:
        """Remove a staged file that was refused."""
        self.bucket.delete(staged.key)


def _staged_key(key: str, upload: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", upload):
        raise _not_staged(key, upload)
    return f"{STAGED}{key}/{upload}"


def _not_staged(key: str, upload: str) -> NotFound:
    name = cut_suffix(key.rpartition("/")[2])
    return NotFound(f"nothing was uploaded as {upload!r} for LoRA {name!r}")
