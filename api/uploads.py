"""Uploads over REST: a LoRA comes through the API, or straight to S3 and is then taken into the catalogue."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field
from werkzeug.exceptions import UnsupportedMediaType

from api.answers import LoraDetail, answer
from api.openapi import Query
from api.problems import refusals
from api.receiving import Body, Received, inspect_staged, receive
from api.services import Services
from api.staging import OCTETS, URL_S, Staging
from shared import keys
from shared.blobs import Bucket
from shared.errors import Conflict, NotFound, Unavailable
from shared.lora_inspection import LoraInfo
from shared.loras import BOUND, lora_key, own_bound
from shared.requests import LoraName

BODY = {"required": True, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}
#: Files taken in at once by one process: each holds up to two parts of 5 MiB in memory.
UPLOADS = 32
#: A repeat of a completion is answered for this long.
COMPLETED_S = 86_400
#: S3 answers a copy when it is done, and some copy slowly.
COPY_S = 300


class LoraPath(BaseModel):
    """Which LoRA."""

    name: LoraName


class UploadQuery(Query):
    """What a file cannot tell of itself."""

    max_async_steps: int | None = Field(
        None, ge=0, le=999_999, description="steps a job may at most run without it; unset: as the job says"
    )


class CompleteQuery(UploadQuery):
    """Which upload has ended."""

    upload: str = Field(description="`upload` of the answer that gave the URL")


class UploadAnswer(BaseModel):
    """Where to POST a file as ``multipart/form-data``, and what to call then.

    ``fields`` come first, each as a part of the form, then the file as the part ``file``.
    """

    upload: str
    method: str = "POST"
    url: str
    fields: dict[str, str]
    max_bytes: int = Field(description="S3 refuses a larger file")
    expires_at: datetime
    complete: str = Field(description="POST here once the file is there; until then it is no LoRA")


def add_uploads(api: APIBlueprint, services: Services) -> None:
    """The routes by which LoRAs come: a document keeps the routes of one path together."""
    settings = services.settings
    public = settings.model_copy(
        update={"s3_endpoint_url": settings.s3_public_url or settings.s3_endpoint_url}
    )
    staging = Staging(
        Bucket(settings, settings.lora_bucket, read_timeout_s=COPY_S), Bucket(public, settings.lora_bucket)
    )
    slots = threading.BoundedSemaphore(UPLOADS)

    @api.put(
        "/v1/loras/<name>",
        summary="Upload or replace a LoRA",
        request_body=BODY,
        responses={200: LoraDetail, 201: LoraDetail, **refusals(400, 408, 413, 415, 422, 503)},
    )
    def upload_lora(path: LoraPath, query: UploadQuery) -> Response:
        """201: new. 200: replaced; jobs that were accepted with the old file fail with `lora_gone`."""
        lora_key(path.name)
        if request.mimetype not in (OCTETS, ""):
            raise UnsupportedMediaType(f"the body must be a safetensors file, sent as {OCTETS}")
        request.max_content_length = limit = settings.max_lora_bytes
        body = Body(request.stream, length=request.content_length, limit=limit)
        with _slot(slots):
            return _publish(path.name, receive(path.name, body, staging), query)

    @api.post(
        "/v1/loras/<name>/upload",
        summary="Get a URL to upload a LoRA straight to S3",
        responses={201: UploadAnswer, **refusals(422, 503)},
    )
    def begin_upload(path: LoraPath) -> Response:
        """The URL takes a form with the whole file, without a detour through the API.

        `curl -F KEY=VALUE … -F file=@style.safetensors URL`, with every one of `fields` as `KEY=VALUE`.
        """
        upload = staging.begin(path.name)
        url, fields = staging.form(path.name, upload, settings.max_lora_bytes)
        begun = UploadAnswer(
            upload=upload,
            url=url,
            fields=fields,
            max_bytes=settings.max_lora_bytes,
            expires_at=datetime.now(UTC) + timedelta(seconds=URL_S),
            complete=f"/v1/loras/{quote(path.name)}/complete?upload={upload}",
        )
        return answer(begun, 201)

    @api.post(
        "/v1/loras/<name>/complete",
        summary="Take a file that was uploaded to S3 into the catalogue",
        responses={200: LoraDetail, 201: LoraDetail, **refusals(404, 409, 413, 422, 503)},
    )
    def complete_upload(path: LoraPath, query: CompleteQuery) -> Response:
        """The file is inspected; one that is refused is removed, and the answer says why.

        Asked again, it answers as before, unless the LoRA has been replaced since.
        """
        done = _completed(path.name, query.upload)
        if done is not None:
            return answer(done)
        with _slot(slots):
            received = inspect_staged(path.name, query.upload, staging, settings.max_lora_bytes)
            return _publish(path.name, received, query, upload=query.upload)

    def _completed(name: str, upload: str) -> LoraDetail | None:
        """The LoRA that an upload has become; raises `Conflict` if it has been replaced or deleted since."""
        etag = services.control.get(keys.upload(name, upload))
        if etag is None:
            return None
        try:
            blob, found = services.inspections.look(name)
        except NotFound:
            blob = None
        if blob is None or blob.etag != etag:
            raise Conflict(f"upload {upload!r} is complete, and LoRA {name!r} was replaced or deleted since")
        return LoraDetail.of(name, blob, found.told(), own_bound(blob))

    def _publish(name: str, received: Received, query: UploadQuery, upload: str = "") -> Response:
        is_new = not services.loras.exists(lora_key(name))
        blob = staging.publish(name, received.staged, _metadata(received, query.max_async_steps))
        services.inspections.note(blob, received.info)
        if upload:
            services.control.set(keys.upload(name, upload), blob.etag, ex=COMPLETED_S)
        return answer(LoraDetail.of(name, blob, received.info, query.max_async_steps), 201 if is_new else 200)


@contextmanager
def _slot(slots: threading.BoundedSemaphore) -> Iterator[None]:
    if not slots.acquire(blocking=False):
        raise Unavailable(f"{UPLOADS} LoRAs are being taken in right now")
    try:
        yield
    finally:
        slots.release()


def _metadata(received: Received, bound: int | None) -> dict[str, str]:
    """The object's metadata: for people and other tools, and the bound for every job."""
    info: LoraInfo = received.info
    told = {
        "sha256": received.sha256,
        "rank": str(info.rank),
        "parts": ",".join(info.parts),
        "family": info.family or "unknown",
    }
    return told if bound is None else told | {BOUND: str(bound)}
