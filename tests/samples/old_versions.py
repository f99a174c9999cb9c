"""What version 0.1 wrote: records, messages and images, copied from Redis and S3 after it had run.

``queued_job.json`` is a record and its Celery message, ``queued_replay.json`` a record that replays the
receipt of ``succeeded_job.json``; ``format_1.png`` and ``format_2.png`` carry receipts of formats 1 and 2.
"""

import base64
import json
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from redis import Redis

from shared import keys

FOLDER = Path(__file__).parent / "version_0_1"


def sample(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def old_receipt(version: int) -> dict[str, Any]:
    """The receipt in an image of version 0.1, of format 1 or 2."""
    with Image.open(FOLDER / f"format_{version}.png") as image:
        assert isinstance(image, PngImageFile)
        receipt: dict[str, Any] = json.loads(image.text["receipt"])
    return receipt


def payload(message: str) -> dict[str, Any]:
    """The argument of the task of a Celery message."""
    args, _, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
    found: dict[str, Any] = args[0]
    return found


def restore(control: Redis, record: dict[str, str]) -> str:
    """Put a record back where it was, on the lists of its status; returns the job's id."""
    job_id = record["id"]
    control.hset(keys.job(job_id), mapping=record)
    for index in (keys.JOBS, keys.by_status(record["status"])):
        control.zadd(index, {job_id: float(record["created_at"])})
    return job_id
