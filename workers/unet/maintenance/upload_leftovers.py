"""Removes what uploads that never completed have left in the LoRA bucket."""

from datetime import datetime, timedelta

from shared.storage.lora_names import STAGED
from shared.storage.object_store import Bucket
from shared.storage.s3_errors import translate_errors

#: Upload URLs are valid for an hour: whatever is older than this will never be completed.
LEFTOVER_AGE = timedelta(days=1)


def remove_leftovers(bucket: Bucket, before: datetime) -> tuple[int, int]:
    """Remove staged files and multipart uploads older than ``before``; returns how many of each."""
    old = [stat.key for stat in bucket.list(STAGED) if stat.modified < before]
    for key in old:
        bucket.delete(key)
    client, aborted = bucket.client, 0
    with translate_errors(STAGED):
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket.name, Prefix=STAGED)
        for one in [one for page in pages for one in page.get("Uploads", [])]:
            if one["Initiated"] < before:
                client.abort_multipart_upload(Bucket=bucket.name, Key=one["Key"], UploadId=one["UploadId"])
                aborted += 1
    return len(old), aborted
